"""Repairs of a VHD in place: one module for each kind, registered by existing.

A repair looks at the draft of the file that is to be, says what it found, and changes the draft
where the change is proven to lose nothing. What the draft then differs in from the file becomes the
stages of one `edits.Change`.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from dataclasses import dataclass

from .. import edits
from ..edits import Change
from ..files import SourceFile
from ..resizing import check_not_split
from .base import REPAIRS, Finding, Repair, RepairKeywords, RepairOptions
from .opening import open_draft
from .writing import stages

__all__ = [
    "REPAIRS",
    "Finding",
    "Repair",
    "RepairKeywords",
    "RepairOptions",
    "RepairPlan",
    "plan_repair",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What is wrong with a VHD, and what a repair will do about it; sizes in bytes."""

    path: str
    subformat: str  # "fixed", "dynamic", "differencing"
    old_size: int  # virtual, as the present footer has it
    new_size: int
    findings: tuple[Finding, ...]
    change: Change | None  # None where nothing is repaired


def plan_repair(
    path: str | os.PathLike[str],
    options: RepairOptions | None = None,
    *,
    undo_file: str | os.PathLike[str] | None = None,
) -> RepairPlan:
    """Plan the repair of a VHD. Writes nothing.

    Raises UnsupportedImageError (no VHD: `convert` is named), UnprovenError (what would have to be
    done is not proven to lose nothing), ImageError, UsageError, UndoError (a change was
    interrupted), PartitionTableError, ReadError.
    """
    edits.check_not_interrupted(path, undo_file)
    with SourceFile(path) as source:
        check_not_split(source)
        draft = open_draft(source, options or RepairOptions())
        for repair in sorted(REPAIRS.values(), key=lambda one: one.order):
            repair().examine(draft)
        made = stages(draft)
        change = Change(source.path, "repair", tuple(made), source.seen) if made else None
        return RepairPlan(
            source.path,
            draft.subformat,
            draft.old_footer.current_size,
            draft.footer.current_size,
            tuple(draft.findings),
            change,
        )
