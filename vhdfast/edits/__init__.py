"""Changing a file in place, so that a crash at any point can be completed or undone.

A planner says what is to be written (`Change`); `apply` writes an undo file first, then the change,
one durable stage after the other. docs/internals/in-place.md.
"""

from __future__ import annotations

from .applying import (
    Completed,
    apply,
    check_not_interrupted,
    check_undo,
    complete,
    interrupted,
    last_change,
    undo,
)
from .change import Change, Stage, Step, Write, is_name
from .keeping import names_with_undo_files
from .naming import check_free
from .record import UNDOING, Record
from .scan import nonzero
from .system import System

__all__ = [
    "UNDOING",
    "Change",
    "Completed",
    "Record",
    "Stage",
    "Step",
    "System",
    "Write",
    "apply",
    "check_free",
    "check_not_interrupted",
    "check_undo",
    "complete",
    "interrupted",
    "is_name",
    "last_change",
    "names_with_undo_files",
    "nonzero",
    "undo",
]
