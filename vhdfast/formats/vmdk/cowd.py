"""ESX server sparse extents (COWD): redo logs of ESX, createType vmfsSparse.

Source: VMware, "Virtual Disk Format 5.0", section "ESXi Host Sparse Extents". All little-endian;
places are in sectors.
"""

from __future__ import annotations

import struct
from typing import Any

from ...errors import DAMAGED, CorruptImageError, InvalidImageError, UnsupportedImageError
from ...extents import Rows
from ...files import Source
from ...tables import Region
from ...units import SECTOR
from ..base import Notify
from .parts import TablePart
from .sparse import HostedTables

__all__ = ["MAGIC", "CowdPart", "named_parent"]

MAGIC = b"COWD"
TABLE_ENTRIES = 4096
MAX_GRAIN = 1 << 21  # sectors
HEADER_LENGTH = 2048
_HEADER = struct.Struct("<4sIIIIIII")
_UNCLEAN_AT = 1648
_PARENT = slice(32, 32 + 1024)


def named_parent(source: Source) -> str | None:
    """The parent that the header of a child names, or None. Recent ones name none.

    A root has its geometry in the same place: three small numbers, never four letters in a row.
    """
    text = source.read(_PARENT.start, _PARENT.stop - _PARENT.start).split(b"\0", 1)[0]
    name = text.decode("utf-8", "replace")
    return name if len(name) >= 4 and name.isprintable() else None


class CowdPart(TablePart):
    """One COWD extent: the first `length` bytes of it, all of it where that is None."""

    def __init__(self, source: Source, file: int, length: int | None, notify: Notify) -> None:
        data = source.read_exact(0, HEADER_LENGTH, "COWD header")
        _, version, self.flags, capacity, grain, directory, entries, _ = _HEADER.unpack_from(data)
        if version != 1:
            raise UnsupportedImageError(
                f"the COWD extent has version {version}, expected 1", path=source.path, offset=4
            )
        if not 1 <= grain <= MAX_GRAIN or grain & (grain - 1):
            raise InvalidImageError(
                f"the grain size is {grain} sectors, expected a power of two up to {MAX_GRAIN}",
                path=source.path,
                offset=16,
            )
        self.source = source
        self.capacity = capacity * SECTOR
        self.length = self.capacity if length is None else length
        self.grain_size = grain * SECTOR
        self.notify = notify
        self.tables = HostedTables(
            source, file, length=self.capacity, grain_size=self.grain_size,
            table_entries=TABLE_ENTRIES, directory=directory * SECTOR,
            reserved=[Region("header", 0, HEADER_LENGTH)],
        )  # fmt: skip
        if entries < self.tables.count:
            raise CorruptImageError(
                f"the grain directory has {entries} entries, {capacity} sectors need "
                f"{self.tables.count}",
                path=source.path,
                offset=24,
                hint=DAMAGED,
            )
        if int.from_bytes(data[_UNCLEAN_AT : _UNCLEAN_AT + 4], "little"):
            self.notice_not_closed(None if file else _UNCLEAN_AT)

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        return self.checked(self.tables).rows(offset, length, max_rows)

    def details(self) -> dict[str, Any]:
        return {"version": 1, "flags": self.flags}
