"""vhdfast resize"""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import UsageError
from ..units import format_bytes, parse_size
from ._in_place import add_in_place_options, print_result, print_steps, step_documents, undo
from ._options import Parser, size
from ._output import Console

HELP = "give a raw disk or fixed VHD another size in place; shows what it would do until --apply"
MORE = """\
SIZE is the new size, +SIZE so much more, and --align rounds up to whole MiB. A disk gets smaller
only with --shrink, and only where its end is proven to be unused. --undo takes the change back. A
file that another program may write to (a running machine) is not touched."""
EXAMPLES = (
    "vhdfast resize disk.vhd 64G",
    "vhdfast resize --apply --relocate-gpt disk.vhd +10G",
    "vhdfast resize --apply --align disk.raw",
    "vhdfast resize --undo disk.vhd",
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a raw disk or a fixed VHD")
    parser.add_argument(
        "size", metavar="SIZE|+SIZE", nargs="?", help="the new size, or what is added"
    )
    add_in_place_options(parser)
    parser.add_optional_value(
        "--align", "1M", type=size, metavar="SIZE",
        help="round the new size up to a multiple of SIZE, given as --align=SIZE (--align alone: "
        "1M)",
    )  # fmt: skip
    parser.add_argument(
        "--shrink", action="store_true", help="allow a smaller size, where the end is proven unused"
    )
    parser.add_argument(
        "--relocate-gpt", action="store_true", help="move the backup of a GPT to the disk's end"
    )
    parser.add_argument(
        "-f", "--from", dest="from_format", choices=("raw", "vhd"),
        help="format of the file (default: detected)",
    )  # fmt: skip


def run(args: argparse.Namespace, console: Console) -> int:
    from .. import api

    if args.undo:
        if args.size is not None:
            raise UsageError("--undo takes no size")
        return undo(args, console)
    if args.size is None and args.align is None:
        raise UsageError("no size", hint="give SIZE, +SIZE or --align; see vhdfast resize --help")
    is_more = args.size is not None and args.size.startswith("+")
    amount = None if args.size is None else parse_size(args.size.removeprefix("+"))
    options: Any = {
        "size": None if is_more else amount,
        "by": amount if is_more else 0,
        "align": args.align,
        "shrink": args.shrink,
        "relocate_gpt": args.relocate_gpt,
        "from_format": args.from_format,
        "undo_file": args.undo_file,
    }
    if args.apply:
        result = api.resize(args.file, **options)
        print_result(result, console)
        if result.action in ("completed", "undone"):
            console.warn("the size now asked for was not set; run it again, if that is needed")
        return 0
    plan = api.plan_resize(args.file, **options)
    steps = () if plan.change is None else plan.change.steps
    for notice in plan.notices:
        console.warn(notice.message)
    console.json(
        "resize-plan",
        {
            "path": plan.path,
            "format": plan.format,
            "old_size": plan.old_size,
            "new_size": plan.new_size,
            "steps": step_documents(steps),
            "notices": plan.notices,
        },
    )
    console.text(f"virtual size: {format_bytes(plan.old_size)} -> {format_bytes(plan.new_size)}")
    if steps:
        console.text("would write, each stage durable before the next:")
        print_steps(steps, console)
        console.text("nothing was written; --apply does it")
    else:
        console.text("nothing to do")
    return 0
