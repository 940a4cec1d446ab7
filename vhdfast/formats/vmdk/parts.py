"""Extents of a disk: each is a range of it, in one way of storing it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from ...errors import CorruptImageError
from ...extents import Kind, Rows, make_rows
from ...files import Source
from ...units import SECTOR

__all__ = ["FlatPart", "Part", "ZeroPart"]


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
