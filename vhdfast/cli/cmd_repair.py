"""vhdfast repair"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from ..units import format_bytes
from ._in_place import add_in_place_options, print_result, print_steps, step_documents, undo
from ._options import Parser, size
from ._output import Console

HELP = "repair a damaged or misaligned VHD in place; shows what it would do until --apply"
MORE = """\
Writes only what is proven to lose nothing, and saves what it replaces first: --undo brings that
back. Another format, or a damage that cannot be proven away, is refused and left as it is. A file
that another program may write to (a running machine) is not touched."""
EXAMPLES = (
    "vhdfast repair disk.vhd",
    "vhdfast repair --apply disk.vhd",
    "vhdfast repair --undo disk.vhd",
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a VHD, fixed or dynamic")
    add_in_place_options(parser)
    parser.add_optional_value(
        "--align", "1M", type=size, metavar="SIZE",
        help="a fixed disk's size becomes a multiple of SIZE, given as --align=SIZE (default: 1M)",
    )  # fmt: skip
    parser.add_argument(
        "--shrink", action="store_true",
        help="make a misaligned disk smaller rather than larger, where its end is proven unused",
    )  # fmt: skip
    parser.add_argument(
        "--relocate-gpt", action="store_true", help="move the backup of a GPT to the disk's end"
    )
    parser.add_argument(
        "--cut-trailing", action="store_true",
        help="remove what lies behind the footer, though it is not all zeros",
    )  # fmt: skip
    parser.add_argument(
        "--clear-saved-state", action="store_true",
        help="remove the mark that the machine was saved, not shut down",
    )  # fmt: skip
    parser.add_argument(
        "--uuid", metavar="UUID", help="for a disk without a unique id (default: random)"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    from .. import api

    if args.undo:
        return undo(args, console)
    options: Any = {
        "undo_file": args.undo_file,
        **({} if args.align is None else {"align": args.align}),
        "shrink": args.shrink,
        "relocate_gpt": args.relocate_gpt,
        "cut_trailing": args.cut_trailing,
        "clear_saved_state": args.clear_saved_state,
        "unique_id": args.uuid,
    }
    if args.apply:
        result = api.repair(args.file, **options)
        print_result(result, console)
        if result.action in ("completed", "undone"):
            console.warn("run it again to see what else there is to repair")
        return 0
    plan = api.plan_repair(args.file, **options)
    steps = () if plan.change is None else plan.change.steps
    console.json(
        "repair-plan",
        {
            "path": plan.path,
            "subformat": plan.subformat,
            "old_size": plan.old_size,
            "new_size": plan.new_size,
            "findings": [dataclasses.asdict(finding) for finding in plan.findings],
            "steps": step_documents(steps),
        },
    )
    for finding in plan.findings:
        outcome = "would repair" if finding.repaired else "left as it is"
        console.text(f"{outcome}: {finding.message}")
    if plan.new_size != plan.old_size:
        console.text(
            f"virtual size: {format_bytes(plan.old_size)} -> {format_bytes(plan.new_size)}"
        )
    if steps:
        console.text("would write, each stage durable before the next:")
        print_steps(steps, console)
        console.text("nothing was written; --apply does it")
    else:
        console.text("nothing to repair")
    return 0
