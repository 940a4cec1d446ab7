"""What the verbs that change a file in place share: their options, and how they print."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ._options import Parser
from ._output import Console

if TYPE_CHECKING:
    from ..edits import Step
    from ..in_place import InPlaceResult

__all__ = ["add_in_place_options", "print_result", "print_steps", "step_documents", "undo"]


def add_in_place_options(parser: Parser) -> None:
    """--apply, --undo, --undo-file."""
    parser.add_argument(
        "--apply", action="store_true",
        help="do it, after saving an undo file; complete what was interrupted",
    )  # fmt: skip
    parser.add_argument(
        "--undo", action="store_true", help="take the last change in place back, also half of one"
    )
    parser.add_argument(
        "--undo-file", metavar="FILE",
        help="where the undo file is (default: .NAME.vhdfast-undo beside the file)",
    )  # fmt: skip


def undo(args: argparse.Namespace, console: Console) -> int:
    """--undo, whatever verb it is said to."""
    from .. import api

    if args.apply:
        raise UsageError("--apply and --undo contradict each other")
    print_result(api.undo(args.file, undo_file=args.undo_file), console)
    return 0


def print_result(result: InPlaceResult, console: Console) -> None:
    """What was done, and the JSON document of it."""
    console.json(
        "in-place",
        {
            "path": result.path,
            "renamed_to": result.renamed_to,
            "action": result.action,
            "title": result.title,
            "steps": step_documents(result.steps),
            "undo_file": result.undo_file,
        },
    )
    if result.action == "unchanged":
        console.text("nothing to do")
        return
    done = {
        "changed": f"{result.title}: done",
        "completed": f"completed a {result.title} that was interrupted; nothing else was done",
        "undone": f"took back: {result.title}",
    }
    console.text(done[result.action])
    if result.renamed_to is not None:
        console.text(f"the file is now {result.renamed_to}")
    if result.undo_file is not None:
        console.text(f"undo file: {result.undo_file} (--undo; remove it when you need it no more)")


def print_steps(steps: tuple[Step, ...], console: Console) -> None:
    """What would be written, one line each."""
    for step in steps:
        meaning = f": {step.meaning}" if step.meaning else ""
        if step.offset is None:
            console.text(f"  stage {step.stage}  file size{meaning}")
        else:
            console.text(
                f"  stage {step.stage}  at {step.offset:#x}, {step.length} bytes: {step.what}"
                f"{meaning}"
            )


def step_documents(steps: tuple[Step, ...]) -> list[dict[str, Any]]:
    """Steps as JSON has them."""
    return [dataclasses.asdict(step) for step in steps]
