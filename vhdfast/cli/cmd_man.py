"""vhdfast man"""

from __future__ import annotations

import argparse

from .. import __version__
from ._options import Parser, build_parser, load, verbs
from ._output import Console

HELP = "print the manual page (vhdfast man | man -l -)"
EXAMPLES = ("vhdfast man | man -l -", "vhdfast man > /usr/local/share/man/man1/vhdfast.1")

EXIT_CODES = (
    ("0", "done"),
    ("1", "the answer is no (compare found a difference, check an obstacle)"),
    ("2", "the command line is wrong"),
    ("3", "undecided: check could not judge something that matters"),
    ("4", "the source cannot be used: unknown, unsupported, corrupt, not readable"),
    ("5", "reading or writing failed, no space, the source changed"),
    ("6", "the target exists, is the source, or cannot be made"),
    ("70", "a defect of vhdfast"),
    ("129, 130, 143", "stopped by SIGHUP, SIGINT (Ctrl-C) or SIGTERM"),
)


def add_arguments(parser: Parser) -> None:
    """None of its own."""


def run(args: argparse.Namespace, console: Console) -> int:
    print(manual_page(), end="")
    return 0


def manual_page() -> str:
    """The page in roff, from the same parsers as --help."""
    out = [
        f'.TH VHDFAST 1 "" "vhdfast {__version__}" "User Commands"',
        ".SH NAME",
        "vhdfast \\- turn disk images into fixed VHDs that Azure accepts",
        ".SH SYNOPSIS",
    ]
    parsers = {verb: build_parser(verb) for verb in sorted(verbs())}
    for parser in parsers.values():
        usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
        out += [_escape(usage), ".br"]
    out.append(".SH COMMANDS")
    for verb, parser in parsers.items():
        out += [f".SS vhdfast {verb}", _escape(parser.description or "")]
        for action in parser._actions:
            if action.help == argparse.SUPPRESS or action.dest == "help":
                continue
            name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            if action.option_strings and action.nargs != 0:
                value = action.metavar or "|".join(str(choice) for choice in action.choices or ())
                name += f" {value}"
            out += [".TP", f".B {_escape(name)}", _escape(action.help or "")]
        out += [".PP", "Examples:", ".nf"]
        out += [_escape(f"  {line}") for line in load(verb).EXAMPLES]
        out.append(".fi")
    out.append(".SH EXIT STATUS")
    for code, meaning in EXIT_CODES:
        out += [".TP", f".B {code}", meaning]
    out += [
        ".SH ENVIRONMENT",
        ".TP",
        ".B SOURCE_DATE_EPOCH",
        "The time in the footer, in seconds since 1970. With \\-\\-uuid, two runs write the same "
        "bytes.",
        ".SH SEE ALSO",
        ".BR qemu-img (1)",
    ]
    return "\n".join(out) + "\n"


def _escape(text: str) -> str:
    lines = text.replace("\\", "\\e").replace("-", "\\-").split("\n")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)
