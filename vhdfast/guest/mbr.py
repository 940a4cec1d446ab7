"""The master boot record and the chain of extended boot records behind it.

Layout: UEFI 2.10, 5.2.1; extended boot records by custom, as Linux reads them (block/partitions):
the logical partition of a record counts from that record, the next record from the beginning of
the extended partition.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .table import EXTENDED_TYPES, Partition, PartitionTable, Pread, Problems

__all__ = ["PROTECTIVE", "Mbr", "MbrEntry", "read_mbr"]

MBR_LENGTH = 512
PROTECTIVE = 0xEE
# Records of one chain that are followed; Linux names at most 256 partitions of a disk.
MAX_LOGICAL = 256

_ENTRIES = 446
_ENTRY = struct.Struct("<B3sB3sII")
_EXTENDED = frozenset(int(code, 16) for code in EXTENDED_TYPES)
# What boot sectors of file systems say at 3 or further on; they end like an MBR.
_FILE_SYSTEMS = (
    (3, b"NTFS    "), (3, b"EXFAT   "), (3, b"-FVE-FS-"), (0x36, b"FAT"), (0x52, b"FAT32"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MbrEntry:
    """One of the four: where, in sectors."""

    slot: int  # 1 to 4
    status: int
    type: int
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class Mbr:
    """The first sector, where it holds a table: the entries that are in use."""

    signature: int
    entries: tuple[MbrEntry, ...]

    @property
    def protective(self) -> MbrEntry | None:
        """The entry that stands for a GPT."""
        return next((entry for entry in self.entries if entry.type == PROTECTIVE), None)

    @classmethod
    def parse(cls, sector: bytes) -> Mbr | None:
        """The table of a first sector; None where there is none (a file system's boot sector)."""
        entries = _entries(sector)
        if entries is None:
            return None
        used = tuple(entry for entry in entries if entry.type and entry.count)
        if not used and any(sector.startswith(magic, at) for at, magic in _FILE_SYSTEMS):
            return None
        return cls(int.from_bytes(sector[440:444], "little"), used)


def _entries(sector: bytes) -> list[MbrEntry] | None:
    """The four entries of a sector that looks like a table, in use or not."""
    if sector[510:512] != b"\x55\xaa":
        return None
    found = []
    for slot in range(4):
        status, _, kind, _, start, count = _ENTRY.unpack_from(sector, _ENTRIES + 16 * slot)
        if status not in (0x00, 0x80):
            return None
        found.append(MbrEntry(slot + 1, status, kind, start, count))
    return found


def read_mbr(pread: Pread, mbr: Mbr, disk_size: int, sector_size: int) -> PartitionTable:
    """The partitions of an MBR, logical ones included."""
    problems = Problems()
    found = [_partition(mbr, entry, entry.slot, 0, sector_size) for entry in mbr.entries]
    number = 5
    for entry in mbr.entries:
        if entry.type in _EXTENDED:
            for base, logical in _logical(pread, entry, disk_size, sector_size, problems):
                found.append(_partition(mbr, logical, number, base, sector_size))
                number += 1
    return PartitionTable(
        scheme="mbr",
        sector_size=sector_size,
        disk_size=disk_size,
        disk_id=f"{mbr.signature:08x}",
        partitions=tuple(found),
        problems=problems.as_tuple(),
    )


def _partition(mbr: Mbr, entry: MbrEntry, number: int, base: int, sector_size: int) -> Partition:
    return Partition(
        number=number,
        offset=(base + entry.start) * sector_size,
        length=entry.count * sector_size,
        type=f"{entry.type:#04x}",
        name="",
        unique_id=f"{mbr.signature:08x}-{number:02x}",
        attributes=entry.status,
        bootable=entry.status == 0x80,
    )


def _logical(
    pread: Pread, extended: MbrEntry, disk_size: int, sector_size: int, problems: Problems
) -> Iterator[tuple[int, MbrEntry]]:
    """(sector that it counts from, entry) of the logical partitions in an extended one."""
    at = extended.start
    seen = set()
    for _ in range(MAX_LOGICAL):
        offset = at * sector_size
        if at in seen:
            problems.add("extended-loop", "the extended boot records lead in a circle", offset)
            return
        seen.add(at)
        sector = pread(offset, MBR_LENGTH) if offset + MBR_LENGTH <= disk_size else b""
        entries = _entries(sector)
        if entries is None:
            problems.add(
                "extended-record",
                "no extended boot record lies here; logical partitions behind it are lost",
                offset,
            )
            return
        following = None
        for entry in entries:
            if not entry.count or not entry.type:
                continue
            if entry.type in _EXTENDED:
                following = following or entry
            elif entry.slot <= 2:
                yield at, entry
        if following is None:
            return
        at = extended.start + following.start
        if not extended.start <= at < extended.start + extended.count:
            problems.add(
                "extended-record",
                "the next extended boot record would lie outside its extended partition",
                offset,
            )
            return
    problems.add(
        "too-many-logical", f"more than {MAX_LOGICAL} extended boot records", at * sector_size
    )
