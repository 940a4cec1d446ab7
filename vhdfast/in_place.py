"""Changing an image in place: repairing it, giving it another size, and undoing either."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import edits
from .edits import Completed, Record, Step
from .repairs import RepairKeywords, RepairOptions, RepairPlan
from .repairs import plan_repair as plan_repair_with
from .resizing import ResizePlan, plan_resize
from .shrinking import check_undone

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .converting_in_place import ConvertInPlacePlan

__all__ = [
    "InPlaceResult",
    "RepairPlan",
    "ResizePlan",
    "completed",
    "plan_repair",
    "plan_resize",
    "repair",
    "resize",
    "undo",
    "undone",
]

Path = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class InPlaceResult:
    """What was done to a file in place (docs/json.md)."""

    path: str
    action: str  # "changed", "unchanged", "completed" (what was interrupted), "undone"
    title: str  # of the change: "repair", "resize", "convert raw to fixed-vhd" …
    steps: tuple[Step, ...]  # what was written; for "undone" what was taken back
    undo_file: str | None  # for `undo`; None where there is none
    plan: RepairPlan | ResizePlan | ConvertInPlacePlan | None  # where one was made
    renamed_to: str | None = None  # the path that it has now, where its name was changed
    seconds: float | None = None  # of a conversion, until all was durable

    @property
    def written(self) -> int:
        """Bytes that were written to the file, or taken back where the change was undone."""
        return sum(step.length for step in self.steps if step.offset is not None)


def plan_repair(
    path: Path, *, undo_file: Path | None = None, **options: Unpack[RepairKeywords]
) -> RepairPlan:
    """What is wrong with a VHD and what `repair` would write; writes nothing.

    options: the fields of RepairOptions. Raises UnsupportedImageError (no VHD), UnprovenError (a
    repair that might lose something), other ImageErrors, UsageError, ReadError, UndoError (a change
    of the file was interrupted).
    """
    return plan_repair_with(path, RepairOptions(**options), undo_file=undo_file)


def repair(
    path: Path, *, undo_file: Path | None = None, **options: Unpack[RepairKeywords]
) -> InPlaceResult:
    """Repair a VHD in place, and keep an undo file for `undo`.

    A change of the file that was interrupted is completed, and nothing else is done then. Raises
    what `plan_repair` does, InUseError (a running machine), SourceChangedError, TargetError,
    UndoError, NoSpaceError, WriteError; the file is then as it was, unless the error says other.
    """
    done = _complete(path, undo_file)
    if done is not None:
        return done
    return _apply(plan_repair(path, undo_file=undo_file, **options), "repair", undo_file)


def resize(
    path: Path,
    size: int | None = None,
    *,
    by: int = 0,
    align: int | None = None,
    shrink: bool = False,
    relocate_gpt: bool = False,
    from_format: str | None = None,
    undo_file: Path | None = None,
) -> InPlaceResult:
    """Give a raw disk or a fixed VHD another virtual size in place, and keep an undo file.

    Arguments as for `plan_resize`; as for `repair`, what was interrupted is completed instead.
    Raises what `plan_resize` does, and what `repair` does when it writes.
    """
    done = _complete(path, undo_file)
    if done is not None:
        return done
    plan = plan_resize(
        path,
        size,
        by=by,
        align=align,
        shrink=shrink,
        relocate_gpt=relocate_gpt,
        from_format=from_format,
        undo_file=undo_file,
    )
    return _apply(plan, "resize", undo_file)


def undo(path: Path, *, undo_file: Path | None = None) -> InPlaceResult:
    """Take the last change of a file in place back, complete or not: its bytes and its size.

    Raises UndoError where there is no undo file, or where something else wrote to the file since;
    UnprovenError where a partition or file system was enlarged since and would lose its end;
    InUseError, TargetError, WriteError.
    """
    check = functools.partial(check_undone, os.fspath(path))
    return undone(path, edits.undo(path, undo_file, check_cut=check))


def undone(path: Path, record: Record) -> InPlaceResult:
    """What undoing a change did."""
    return InPlaceResult(
        os.fspath(path), "undone", record.title, record.steps, None, None, _name(path, record, 0)
    )


def _name(path: Path, record: Record, which: int) -> str | None:
    """The path of a file that has its old name again (0), or its new one (1).

    None where it keeps its name, a third one that someone gave it too.
    """
    name = os.path.realpath(path) if os.path.islink(path) else os.fspath(path)
    if os.path.basename(name) not in record.names:
        return None
    return os.path.join(os.path.dirname(name), record.names[which])


def _complete(path: Path, undo_file: Path | None) -> InPlaceResult | None:
    if edits.interrupted(path, undo_file) is None:
        return None
    return completed(path, edits.complete(path, undo_file))


def completed(path: Path, done: Completed) -> InPlaceResult:
    """What completing a change, or the undoing of one, did."""
    record = done.record
    if record.state == edits.UNDOING:
        return undone(path, record)
    return InPlaceResult(
        os.fspath(path),
        "completed",
        record.title,
        record.steps,
        done.undo_file,
        None,
        _name(path, record, 1),
    )


def _apply(plan: RepairPlan | ResizePlan, title: str, undo_file: Path | None) -> InPlaceResult:
    if plan.change is None:
        return InPlaceResult(plan.path, "unchanged", title, (), None, plan)
    kept = edits.apply(plan.change, undo_file)
    return InPlaceResult(plan.path, "changed", title, plan.change.steps, kept, plan)
