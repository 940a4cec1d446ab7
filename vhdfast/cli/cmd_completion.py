"""vhdfast completion"""

from __future__ import annotations

import argparse

from ._options import Parser, load, verbs
from ._output import Console

HELP = "print a completion script for bash, zsh or fish"
EXAMPLES = (
    "vhdfast completion bash > ~/.local/share/bash-completion/completions/vhdfast",
    "vhdfast completion zsh > ~/.zfunc/_vhdfast",
    "vhdfast completion fish > ~/.config/fish/completions/vhdfast.fish",
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell to write for")


def run(args: argparse.Namespace, console: Console) -> int:
    import shtab

    print(shtab.complete(whole_parser(), args.shell))
    return 0


def whole_parser() -> argparse.ArgumentParser:
    """All verbs in one parser: what completion is generated from."""
    import shtab

    from ._options import build_parser

    parser = argparse.ArgumentParser(prog="vhdfast", allow_abbrev=False)
    parser.add_argument("-V", "--version", action="store_true", help="print the version")
    commands = parser.add_subparsers()
    for verb in sorted(verbs()):
        own = build_parser(verb)
        for action in own._actions:
            if action.metavar in ("SRC", "DST", "IMAGE", "A", "B", "FILE"):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        commands.add_parser(verb, help=load(verb).HELP, parents=[own], add_help=False)
    return parser
