"""convert --in-place: what it takes of convert's options, and how it prints."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..units import format_bytes
from ._in_place import print_steps, step_documents
from ._output import Console, columns

if TYPE_CHECKING:
    from ..converting_in_place import ConvertInPlacePlan
    from ..in_place import InPlaceResult

__all__ = ["refuse_without", "run_in_place"]

# Options of convert that ask for a copy, or speak of other files than the one that is changed.
_OTHERS = (
    ("target", "DST"), ("verify", "--verify"), ("allocate", "--allocate"), ("rate", "--rate"),
    ("disk", "--disk"), ("snapshot", "--snapshot"), ("parents", "--parent"),
    ("backing_format", "--backing-format"), ("chs_size", "--chs-size"),
    ("temporary", "--temporary"), ("allow_references", "--allow-reference"),
    ("allow_all_references", "--allow-references"),
)  # fmt: skip


def refuse_without(args: argparse.Namespace) -> None:
    """Options that mean nothing where a new file is made."""
    for name in ("keep_name", "keep_undo"):
        if getattr(args, name):
            raise UsageError(f"--{name.replace('_', '-')} is for --in-place alone")


def run_in_place(args: argparse.Namespace, to: str, console: Console) -> int:
    from .. import api

    for name, option in _OTHERS:
        if getattr(args, name):
            raise UsageError(
                f"--in-place changes the file itself, {option} does not go with it",
                hint="leave out --in-place: plain vhdfast convert makes a new file",
            )
    options: dict[str, Any] = {
        "to": to,
        "from_format": args.from_format,
        "align": args.align,
        "size": args.size,
        "unique_id": args.uuid,
        "force": args.force,
        "keep_name": args.keep_name,
        "allow_4kn": args.allow_4kn,
        "relocate_gpt": args.relocate_gpt,
    }
    if args.dry_run:
        _print_plan(api.plan_conversion_in_place(args.source, **options), console)
        return 0
    result = api.convert_in_place(args.source, keep_undo=args.keep_undo, **options)
    _print_result(result, console)
    if result.plan is None and not _is_as_asked(result, to):
        console.warn("the conversion now asked for was not made; run it again, if that is needed")
    return 0


def _is_as_asked(result: InPlaceResult, to: str) -> bool:
    """Whether the end of what was interrupted leaves the format that is asked for now."""
    if result.action == "undone":
        return result.title.startswith(f"convert {to} to ")
    return result.title.endswith(f" to {to}")


def _warn(plan: ConvertInPlacePlan, console: Console) -> None:
    for notice in plan.notices:
        # Those of the format have an explanation, by their code.
        own = notice.code in ("gpt-backup", "nested-footer")
        console.warn(notice.message if own else str(notice))


def _document(plan: ConvertInPlacePlan) -> dict[str, Any]:
    """The plan as JSON has it; the change itself holds bytes."""
    fields = {
        field.name: getattr(plan, field.name)
        for field in dataclasses.fields(plan)
        if field.name != "change"
    }
    return {**fields, "steps": step_documents(plan.steps)}


def _changes(plan: ConvertInPlacePlan) -> list[tuple[str, str]]:
    return [
        ("file", _arrow(plan.path, plan.new_path)),
        ("format", _arrow(_format(plan.source_format), plan.target_format)),
        ("virtual size", _arrow(*map(format_bytes, (plan.source_size, plan.target_size)))),
        ("file size", _arrow(*map(format_bytes, (plan.old_file_size, plan.file_size)))),
        ("GPT backup", "moved to the end" if plan.gpt_moved else ""),
    ]


def _format(source_format: str) -> str:
    return "fixed-vhd" if source_format == "vhd" else source_format


def _arrow(old: str, new: str) -> str:
    return f"{old}, unchanged" if old == new else f"{old} -> {new}"


def _note(plan: ConvertInPlacePlan) -> str:
    """What `--to raw` does without an undo file."""
    if plan.restores:
        return "as the undo file says, the raw disk gets its size and name back"
    if plan.source_format == "vhd" and plan.target_format == "raw":
        return "there is no undo file of a conversion, so the disk keeps the size of the VHD"
    return ""


def _print_plan(plan: ConvertInPlacePlan, console: Console) -> None:
    _warn(plan, console)
    console.json("convert-in-place-plan", {"plan": _document(plan)})
    for line in columns([*_changes(plan), ("note", _note(plan))]):
        console.text(line)
    if plan.restores:
        console.text("would take back:")
        print_steps(plan.steps, console)
    elif plan.steps:
        console.text("would write, each stage durable before the next:")
        print_steps(plan.steps, console)
    elif plan.change is None:
        console.text("nothing to do")
        return
    console.text("nothing was written")


def _print_result(result: InPlaceResult, console: Console) -> None:
    plan: Any = result.plan
    if plan is not None:
        _warn(plan, console)
    undo = _undo_command(result)
    console.json(
        "convert-in-place",
        {
            "path": result.path,
            "renamed_to": result.renamed_to,
            "action": result.action,
            "title": result.title,
            "steps": step_documents(result.steps),
            "written": result.written,
            "undo_file": result.undo_file,
            "undo_command": undo,
            "seconds": None if result.seconds is None else round(result.seconds, 3),
            "plan": None if plan is None else _document(plan),
        },
    )
    if result.action == "unchanged":
        console.text("nothing to do")
        return
    if result.action == "completed":
        console.text(f"completed what was interrupted: {result.title}")
    elif result.action == "undone":
        console.text(f"took back: {result.title}")
    lines = [("file", _arrow(result.path, result.renamed_to or result.path))]
    if plan is not None:
        lines = [*_changes(plan), ("note", _note(plan))]
    verb = "taken back" if result.action == "undone" else "wrote"
    lines += [
        (verb, format_bytes(result.written) if result.written else "nothing but size or name"),
        ("undo", _undo(result, undo)),
        ("undo file", result.undo_file or ""),
        ("time", f"{result.seconds or 0:.2f} s"),
    ]
    for line in columns(lines):
        console.text(line)


def _undo_command(result: InPlaceResult) -> str | None:
    """What takes it back, exactly or to the aligned disk; None where nothing does."""
    if result.action not in ("changed", "completed"):
        return None
    name = shlex.quote(result.renamed_to or result.path)
    if result.title == "convert raw to fixed-vhd":
        return f"vhdfast convert --to raw --in-place {name}"
    if result.undo_file is not None:
        return f"vhdfast repair --undo {name}"
    if not result.steps and result.renamed_to is not None:
        return f"mv -n {name} {shlex.quote(result.path)}"
    return None


def _undo(result: InPlaceResult, command: str | None) -> str:
    if result.action not in ("changed", "completed"):
        return ""
    if command is None:
        return "not possible (--keep-undo keeps what it takes)"
    plan: Any = result.plan
    grew = plan is None or plan.source_size != plan.target_size
    if result.undo_file is None and result.title == "convert raw to fixed-vhd" and grew:
        return f"{command} (leaves the aligned size; --keep-undo keeps the one before)"
    return command
