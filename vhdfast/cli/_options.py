"""Parsers: what all verbs share, and options whose value is given only after `=`."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import UsageError
from ..units import parse_size

if TYPE_CHECKING:
    from ..formats import ReadOptions

__all__ = ["Parser", "build_parser", "expand_optional_values", "verbs"]


class Parser(argparse.ArgumentParser):
    """Raises UsageError instead of exiting."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs["allow_abbrev"] = False
        kwargs["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(**kwargs)
        self.optional_values: dict[str, str] = {}

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"see {self.prog} --help")

    def add_optional_value(self, name: str, default: str, **kwargs: Any) -> None:
        """An option that may stand alone (`--align`) or with `=VALUE`, never with a next word."""
        self.optional_values[name] = default
        self.add_argument(name, **kwargs)


def verbs() -> dict[str, str]:
    """{verb: module} of every cmd_<verb>.py, without importing any."""
    package = importlib.import_module(__package__ or "vhdfast.cli")
    return {
        module.name.removeprefix("cmd_"): f"{package.__name__}.{module.name}"
        for module in pkgutil.iter_modules(package.__path__)
        if module.name.startswith("cmd_")
    }


def load(verb: str) -> ModuleType:
    """The module of a verb: HELP, EXAMPLES, add_arguments(parser), run(args, console)."""
    return importlib.import_module(verbs()[verb])


def build_parser(verb: str) -> Parser:
    """A verb's own parser: shared by parsing, --help, completion and the man page."""
    module = load(verb)
    examples = "\n".join(f"  {line}" for line in module.EXAMPLES)
    parser = Parser(
        prog=f"vhdfast {verb}",
        description=module.HELP + ("\n\n" + module.MORE if hasattr(module, "MORE") else ""),
        epilog=f"examples:\n{examples}",
    )
    module.add_arguments(parser)
    shared = parser.add_argument_group("common options")
    shared.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")
    shared.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    shared.add_argument(
        "-v", "--verbose", action="store_true", help="print the traceback of a defect of vhdfast"
    )
    shared.add_argument("--log", metavar="FILE", help="append what is printed to FILE as well")
    return parser


def expand_optional_values(parser: Parser, argv: list[str]) -> list[str]:
    """`--align` alone becomes `--align=1M`, so that it never takes the word behind it."""
    out: list[str] = []
    for index, word in enumerate(argv):
        if word == "--":
            return out + argv[index:]
        default = parser.optional_values.get(word)
        out.append(word if default is None else f"{word}={default}")
    return out


def size(text: str) -> int:
    """An argparse type."""
    try:
        return parse_size(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def count(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def add_source_options(parser: Parser) -> None:
    """How sources are read; `read_options` turns the answers into what the library takes."""
    parser.add_argument(
        "-f", "--from", dest="from_format", metavar="FORMAT",
        help=f"format of the source: {', '.join(format_names())} (default: detected)",
    )  # fmt: skip
    parser.add_argument(
        "--disk", metavar="NAME|N", help="which disk of a container that holds several (OVA, VMX)"
    )
    parser.add_argument(
        "--snapshot", metavar="NAME|ID", help="the disk as an internal snapshot kept it (qcow2)"
    )
    parser.add_argument(
        "--parent", dest="parents", action="append", default=[], metavar="FILE",
        help="the parent of a differencing image, where the image does not lead to it; once more "
        "for the parent's own",
    )  # fmt: skip
    parser.add_argument(
        "--backing-format", metavar="FORMAT",
        help="format of a backing file where the image does not give it; auto guesses",
    )  # fmt: skip
    add_reference_options(parser)
    parser.add_argument(
        "--chs-size", action="store_true",
        help="take the size of a VHD from its geometry, as Virtual PC and qemu before 10 may do",
    )  # fmt: skip


def add_reference_options(parser: Parser) -> None:
    """What concerns every image that is read, of however many."""
    parser.add_argument(
        "--allow-reference", dest="allow_references", action="append", default=[], metavar="PATH",
        help="the image may name this file, or files below this directory, besides those in its "
        "own directory (as parent, extent or data file)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-references", dest="allow_all_references", action="store_true",
        help="the image may name any file: only for images that you trust",
    )  # fmt: skip
    parser.add_argument(
        "--no-holes", dest="ask_holes", action="store_false",
        help="do not ask the file system for holes (where that is slow); read everything",
    )  # fmt: skip
    parser.add_argument(
        "--temporary", metavar="DIR",
        help="where compressed images are unpacked to (default: beside the target for convert, "
        "else TMPDIR or /var/tmp)",
    )  # fmt: skip


def format_names() -> list[str]:
    """The formats by their files' names: importing them would make --help slow."""
    folder = os.path.join(os.path.dirname(__file__), os.pardir, "formats")
    names = (module.name for module in pkgutil.iter_modules([folder]))
    return sorted(name for name in names if name not in ("base", "info", "known", "options"))


def output_names() -> list[str]:
    """The outputs by their files' names: importing them would make --help slow."""
    folder = os.path.join(os.path.dirname(__file__), os.pardir, "outputs")
    names = (module.name for module in pkgutil.iter_modules([folder]) if module.name != "base")
    return sorted(name.replace("_", "-") for name in names)


def read_options(args: argparse.Namespace) -> ReadOptions:
    """ReadOptions of a parsed command line."""
    options: ReadOptions = {
        "chs_size": args.chs_size,
        "snapshot": args.snapshot,
        "parents": args.parents,
        "backing_format": args.backing_format,
        "disk": args.disk,
        **reference_options(args),
    }
    return options


def reference_options(args: argparse.Namespace) -> ReadOptions:
    """The part of ReadOptions that `add_reference_options` asks for."""
    return {
        "ask_holes": args.ask_holes,
        "allow_references": args.allow_references,
        "allow_all_references": args.allow_all_references,
        "temporary": args.temporary,
    }


def add_work_options(parser: Parser) -> None:
    """How long work runs."""
    parser.add_argument(
        "--jobs", type=count, metavar="N", help="worker threads (default: 4 to 8)"
    )
    add_progress_option(parser)


def add_progress_option(parser: Parser) -> None:
    """How progress is shown: `make_monitor` takes the answer."""
    parser.add_argument(
        "--progress", choices=("auto", "plain", "json", "none"), default="auto",
        help="how progress is shown on stderr: a bar on a terminal, a line every 30 s elsewhere "
        "(auto), lines (plain), JSON lines (json) or not at all (none)",
    )  # fmt: skip
