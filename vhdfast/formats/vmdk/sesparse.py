"""Space-efficient sparse extents (seSparse): redo logs of ESXi on VMFS 6 and of large disks.

VMware has not described them. What is here is what several readers agree on (qemu's block driver,
dissect.hypervisor) and what a real extent shows; anything else in a header is refused. All
little-endian, 64-bit; places are in sectors.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ...errors import DAMAGED, CorruptImageError, InvalidImageError, UnsupportedImageError
from ...extents import Kind, Rows
from ...files import Source
from ...tables import Region, first_true
from ...units import MAX_OFFSET, SECTOR
from ..base import Notify
from .grains import TABLES_DAMAGED, U8, U64, GrainTables
from .parts import TablePart

__all__ = ["MAGIC", "SeSparsePart"]

MAGIC = struct.pack("<Q", 0xCAFEBABE)
VERSION = 0x0000000200000001
VOLATILE_MAGIC = 0xCAFECAFE
GRAIN, TABLE = 8, 64  # sectors: all that is known to be written
TABLE_ENTRIES = TABLE * SECTOR // 8

_HEADER = struct.Struct("<26Q")
_VOLATILE = struct.Struct("<4Q")
# Pairs of place and size, from byte 80 on.
_REGIONS = ("volatile header", "journal header", "journal", "grain directory", "grain tables",
            "free bitmap", "back map", "grains")  # fmt: skip

# The highest four bits of an entry: what it is.
NO_TABLE, HAS_TABLE = 0, 0x10000000
UNALLOCATED, UNMAPPED, ZEROED, ALLOCATED = 0, 1, 2, 3
NOTHING = 255
_KINDS = np.full(16, NOTHING, np.uint8)
_KINDS[UNALLOCATED] = Kind.UNALLOCATED
# What a guest discarded must not show what the parent has there.
_KINDS[[UNMAPPED, ZEROED]] = Kind.ZERO
_KINDS[ALLOCATED] = Kind.DATA


class SeTables(GrainTables):
    """64-bit entries: a kind, and the number of a table or grain in its region."""

    entry = "<u8"
    table_region: Region
    grain_region: Region

    def locate_tables(self, first: int, entries: U64) -> tuple[U8, U64]:
        kinds = np.full(len(entries), Kind.UNALLOCATED, np.uint8)
        stored = entries >> np.uint64(32) == HAS_TABLE
        kinds[stored] = Kind.DATA
        odd = ~stored & (entries != NO_TABLE)
        numbers = entries & np.uint64(0xFFFFFFFF)
        room = (self.table_region.end - self.table_region.offset) // self.table_size
        at = first_true(odd | stored & (numbers >= room))
        if at is not None:
            raise CorruptImageError(
                f"entry {first + at} of the grain directory is {int(entries[at]):#x}, expected 0 "
                f"or a table below {room}",
                path=self.source.path,
                offset=self.directory + (first + at) * self.width,
                hint=TABLES_DAMAGED,
            )
        return kinds, numbers * np.uint64(self.table_size) + np.uint64(self.table_region.offset)

    def locate_grains(self, entries: U64) -> tuple[U8, U64]:
        kinds = _KINDS[(entries >> np.uint64(60)).astype(np.intp)]
        low = entries & np.uint64((1 << 48) - 1)
        numbers = entries >> np.uint64(48) & np.uint64(0xFFF) | low << np.uint64(12)
        room = (self.grain_region.end - self.grain_region.offset) // self.grain_size
        lost = (
            (kinds == NOTHING)
            | ((kinds == Kind.UNALLOCATED) & (entries != 0))
            | ((kinds == Kind.DATA) & (numbers >= room))
        )
        places = np.minimum(numbers, np.uint64(room)) * np.uint64(self.grain_size)
        places += np.uint64(self.grain_region.offset)
        # An entry that means nothing becomes a grain that lies nowhere, which rows() refuses.
        kinds = np.where(lost, np.uint8(Kind.DATA), kinds)
        return kinds, np.where(lost, np.uint64(1 << 63), places)


class SeSparsePart(TablePart):
    """One seSparse extent: the first `length` bytes of it, all of it where that is None."""

    grain_size = GRAIN * SECTOR

    def __init__(self, source: Source, file: int, length: int | None, notify: Notify) -> None:
        fields = _HEADER.unpack(source.read_exact(0, _HEADER.size, "seSparse header"))
        _, version, capacity, grain, table, flags = fields[:6]
        for name, value, expected, at in (
            ("version", version, VERSION, 8),
            ("grain size", grain, GRAIN, 24),
            ("size of grain tables", table, TABLE, 32),
            ("field for flags", flags, 0, 40),
        ):
            if value != expected:
                raise UnsupportedImageError(
                    f"the {name} of the seSparse extent is {value:#x}, expected {expected:#x}",
                    path=source.path,
                    offset=at,
                    hint="consolidate the snapshots in VMware and export the disk again",
                )
        if capacity > MAX_OFFSET // SECTOR:
            raise InvalidImageError(
                f"the capacity is {capacity} sectors, expected less than 2^54",
                path=source.path,
                offset=16,
            )
        regions = self._regions(source, fields)
        self.source = source
        self.capacity = capacity * SECTOR
        self.length = self.capacity if length is None else length
        self.notify = notify
        self._check_journal(source, regions["volatile header"])
        directory = regions["grain directory"]
        self.tables = SeTables(
            source, file, length=self.capacity, grain_size=self.grain_size,
            table_entries=TABLE_ENTRIES, directory=directory.offset,
            reserved=[Region("header", 0, SECTOR), *(
                region for name, region in regions.items() if name != "grains"
            )],
        )  # fmt: skip
        self.tables.table_region = regions["grain tables"]
        self.tables.grain_region = regions["grains"]
        needed = self.tables.count * 8
        if directory.end - directory.offset < needed:
            raise CorruptImageError(
                f"the grain directory has {directory.end - directory.offset} bytes, {capacity} "
                f"sectors need {needed}",
                path=source.path,
                offset=136,
                hint=DAMAGED,
            )

    def _regions(self, source: Source, fields: tuple[int, ...]) -> dict[str, Region]:
        found: dict[str, Region] = {}
        for index, name in enumerate(_REGIONS):
            offset, size = fields[10 + 2 * index : 12 + 2 * index]
            if max(offset, size) > MAX_OFFSET // SECTOR // 2:
                raise InvalidImageError(
                    f"the {name} of the seSparse extent has {size} sectors at {offset}, expected "
                    "less than 2^53",
                    path=source.path,
                    offset=80 + 16 * index,
                )
            found[name] = Region(name, offset * SECTOR, (offset + size) * SECTOR)
        return found

    def _check_journal(self, source: Source, region: Region) -> None:
        data = source.read_exact(region.offset, _VOLATILE.size, "volatile header")
        magic, _, _, replay = _VOLATILE.unpack(data)
        if magic != VOLATILE_MAGIC:
            raise InvalidImageError(
                f"the volatile header begins with {magic:#x}, expected {VOLATILE_MAGIC:#x}",
                path=source.path,
                offset=region.offset,
                hint=DAMAGED,
            )
        if replay:
            raise UnsupportedImageError(
                "the journal of the seSparse extent was not replayed",
                path=source.path,
                offset=region.offset + 24,
                hint="power the machine on and off in VMware, or consolidate its snapshots",
            )

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        return self.checked(self.tables).rows(offset, length, max_rows)

    def details(self) -> dict[str, Any]:
        return {"version": VERSION}
