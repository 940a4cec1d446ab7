"""Changing a file in place, so that a crash at any point can be completed or undone.

A planner says what is to be written (`Change`); `apply` writes an undo file first, then the change,
one durable stage after the other. docs/internals/in-place.md.
"""

from __future__ import annotations

from .applying import apply, complete, interrupted, undo
from .change import Change, Stage, Write
from .record import Record
from .scan import nonzero
from .system import System

__all__ = [
    "Change",
    "Record",
    "Stage",
    "System",
    "Write",
    "apply",
    "complete",
    "interrupted",
    "nonzero",
    "undo",
]
