"""vhdfast compare"""

from __future__ import annotations

import argparse
import dataclasses

from ..units import format_bytes, format_size
from ._options import Parser, add_reference_options, add_work_options, reference_options
from ._output import Console, make_monitor

HELP = "whether two images hold the same disk, or where they first differ"
MORE = """\
Formats may differ. Sizes may too, where the longer disk ends in zeros, unless --strict. Exit status
0 means equal, 1 means different."""
EXAMPLES = ("vhdfast compare disk.vhdx disk.vhd", "vhdfast compare --strict a.raw b.raw")


def add_arguments(parser: Parser) -> None:
    parser.add_argument("left", metavar="A", help="image file, block device or URL")
    parser.add_argument("right", metavar="B", help="image file, block device or URL")
    parser.add_argument("--strict", action="store_true", help="sizes must be equal too")
    parser.add_argument(
        "-f", "--from", dest="left_format", metavar="FORMAT", help="format of A (default: detected)"
    )
    parser.add_argument(
        "-F", "--from-b", dest="right_format", metavar="FORMAT",
        help="format of B (default: detected)",
    )  # fmt: skip
    add_reference_options(parser)
    add_work_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    from .. import api

    answer = api.compare(
        args.left,
        args.right,
        left_format=args.left_format,
        right_format=args.right_format,
        strict=args.strict,
        **reference_options(args),
        jobs=args.jobs,
        monitor=make_monitor(args.progress, args.quiet),
    )
    console.json("compare", dataclasses.asdict(answer))
    if answer.same:
        console.text(f"equal ({format_size(answer.compared)} read of each)")
        if answer.sizes[0] != answer.sizes[1]:
            one, other = (format_bytes(size) for size in answer.sizes)
            console.text(f"sizes: {one} and {other}, the longer one ends in zeros")
        return 0
    where = answer.first_difference
    one, other = (format_bytes(size) for size in answer.sizes)
    if where is None:
        console.text(f"different: sizes are {one} and {other}")
    elif answer.reason == "size":
        console.text(f"different: {one} and {other}, from offset {where:#x} on only one has data")
    else:
        console.text(f"different: from offset {where:#x} ({where}) on")
    return 1
