"""vhdfast check"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, VhdfastError
from ._options import Parser, add_progress_option, add_source_options, read_options
from ._output import Console, make_monitor

if TYPE_CHECKING:
    from ..checks import CheckedImage

HELP = "whether Azure will take an image, and what to do where it will not"
MORE = """\
A fixed VHD is judged as it is; every other image as a source of convert, which cures most of what
Azure refuses: that is noted, with the command. Exit status 0 means that nothing speaks against it,
1 that something does, 3 that something could not be judged. Many files:
find . -name '*.vhd' -print0 | vhdfast check --null -"""
EXAMPLES = (
    "vhdfast check disk.vhd",
    "vhdfast check --as-is --strict disk.vhd",
    "vhdfast check --select=footer-* --all disk.vhd",
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "images", metavar="IMAGE", nargs="*",
        help="image file, block device or URL; - reads names from stdin, one a line",
    )  # fmt: skip
    parser.add_argument(
        "--null", action="store_true", help="names on stdin end in a NUL, as find -print0 has them"
    )
    parser.add_argument(
        "--only", choices=("container",), help="only the checks of the image itself"
    )
    parser.add_argument(
        "--as-is", action="store_true",
        help="judge every image as what will be uploaded, not as a source of convert",
    )  # fmt: skip
    parser.add_argument(
        "--as-source", action="store_true",
        help="judge a fixed VHD as a source of convert too",
    )  # fmt: skip
    parser.add_argument(
        "--role", choices=("os", "data", "auto"), default="auto",
        help="what the disk is to be in Azure (default: auto, judged as an OS disk)",
    )  # fmt: skip
    parser.add_argument(
        "--generation", choices=("1", "2", "auto"), default="auto",
        help="of the virtual machine (default: auto)",
    )  # fmt: skip
    parser.add_argument(
        "--select", action="append", default=[], metavar="ID",
        help="only this check, group of checks, or pattern such as footer-*; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="ID", help="not these checks"
    )
    parser.add_argument("--strict", action="store_true", help="warnings fail the check too")
    parser.add_argument(
        "--all",
        dest="show_all",
        action="store_true",
        help="show also what passed or does not apply",
    )
    parser.add_argument("--list", action="store_true", help="list the checks, and check nothing")
    add_source_options(parser)
    add_progress_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    from ..checks import CheckOptions, Selection

    selection = Selection(args.select, args.ignore)
    if args.list:
        return _list(selection, console)
    if args.as_is and args.as_source:
        raise UsageError("--as-is and --as-source contradict each other")
    names = _names(args)
    as_is = True if args.as_is else False if args.as_source else None
    options = CheckOptions(as_is, args.role, args.generation)
    selection.checks()  # a misspelt name is told before hours of work
    images, errors = _check_all(names, args, options, selection)
    _print(images, errors, args, console)
    return _status([image.exit_code(args.strict) for image in images], errors)


def _names(args: argparse.Namespace) -> list[str]:
    names: list[str] = []
    for name in args.images:
        if name != "-":
            names.append(name)
            continue
        text = sys.stdin.buffer.read()
        parts = text.split(b"\0" if args.null else b"\n")
        names += [os.fsdecode(part) for part in parts if part]
    if not names:
        raise UsageError("no image is named", hint="vhdfast check IMAGE, or names on stdin and -")
    return names


def _check_all(
    names: list[str], args: argparse.Namespace, options: Any, selection: Any
) -> tuple[list[CheckedImage], list[VhdfastError]]:
    """What was found about each; one that cannot be read does not keep the others from it."""
    from .. import api

    images: list[CheckedImage] = []
    errors: list[VhdfastError] = []
    for name in names:
        try:
            images.append(
                api.check(
                    name,
                    from_format=args.from_format,
                    options=options,
                    selection=selection,
                    monitor=make_monitor(args.progress, args.quiet),
                    **read_options(args),
                )
            )
        except VhdfastError as error:
            if len(names) == 1:
                raise
            errors.append(error)
    return images, errors


def _print(
    images: list[CheckedImage], errors: list[VhdfastError], args: argparse.Namespace,
    console: Console,
) -> None:  # fmt: skip
    from ..report import document, text

    for line in text.lines(images, args.show_all):
        console.text(line)
    for error in errors:
        console.warn(str(error))
    console.json("check", document.document(images, errors, args.strict))


def _status(statuses: list[int], errors: list[VhdfastError]) -> int:
    """The worst of them; an obstacle outranks what could not be judged."""
    if errors:
        return max(error.exit_code for error in errors)
    return 1 if 1 in statuses else max(statuses, default=0)


def _list(selection: Any, console: Console) -> int:
    checks = selection.checks()
    width = max(len(check.id) for check in checks)
    for check in checks:
        console.text(f"{check.id:<{width}}  {check.severity.value:<7}  {check.title}")
    console.json(
        "checks",
        {
            "checks": [
                {
                    "id": check.id,
                    "group": check.group(),
                    "severity": check.severity.value,
                    "title": check.title,
                }
                for check in checks
            ]
        },
    )
    return 0
