"""A raw disk in a sparse file."""

from __future__ import annotations

from ..units import MAX_OFFSET, SECTOR
from .base import Constraints, FileOutput

__all__ = ["RawOutput"]


class RawOutput(FileOutput):
    """The bytes of the disk and nothing else."""

    name = "raw"
    title = "raw disk file"
    suffix = ".raw"
    format_name = "raw"
    constraints = Constraints(alignment=SECTOR, max_size=MAX_OFFSET, overhead=0)
