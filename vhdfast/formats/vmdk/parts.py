"""Extents of a disk: each is a range of it, in one way of storing it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from ...errors import CorruptImageError
from ...extents import Kind, Rows, make_rows
from ...files import Source
from ...units import SECTOR
from ..base import Notify
from .grains import GrainTables

__all__ = ["FlatPart", "Part", "TablePart", "ZeroPart"]


class Part(ABC):
    """One extent. length: bytes of the disk that are in it."""

    length: int
    unit_size: int = 0  # bytes of a compressed grain
    grain_size: int = 0  # bytes; 0 where there are no grains

    @abstractmethod
    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        """Rows of a prefix of [offset, offset + length) of this extent, about max_rows."""

    def details(self) -> dict[str, Any]:
        """What is worth knowing of it, JSON-able."""
        return {}


class ZeroPart(Part):
    """Zeros; nothing is stored, and nothing below shows through."""

    def __init__(self, length: int) -> None:
        self.length = length

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        return make_rows(np.array([offset]), length, Kind.ZERO)


class FlatPart(Part):
    """Bytes as they are, from `start` of source number `file`.

    Raises CorruptImageError where the file is too short; VMware does not open such a disk either.
    """

    def __init__(self, source: Source, file: int, start: int, length: int) -> None:
        if start + length > source.size:
            raise CorruptImageError(
                f"the extent takes {length // SECTOR} sectors from sector {start // SECTOR}, "
                f"{start + length} bytes in all; the file has {source.size}",
                path=source.path,
                hint="the file is cut short: copy it again and compare checksums",
            )
        self.length = length
        self.file = file
        self.start = start

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        return make_rows(np.array([offset]), length, Kind.DATA, self.start + offset, self.file)


class TablePart(Part):
    """A sparse extent. capacity: bytes of the whole of it, of which the disk has `length`."""

    source: Source
    capacity: int
    notify: Notify

    def checked(self, tables: GrainTables) -> GrainTables:
        """The tables, looked through for overlaps. Raises CorruptImageError."""
        tables.check_overlaps()
        if tables.overlaps.is_complete is False:
            self.notify(
                "overlaps-not-checked",
                f"{self.source.path} has too many grains to look for ones that overlap",
                None,
            )
        return tables

    def notice_not_closed(self, offset: int | None) -> None:
        self.notify(
            "not-closed", f"{self.source.path} was not closed properly; it is read as it is", offset
        )
