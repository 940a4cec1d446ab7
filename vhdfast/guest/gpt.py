"""GUID partition tables (UEFI 2.10, 5.3)."""

from __future__ import annotations

import struct
import uuid
import zlib

from ..units import KIB, MIB
from .mbr import Mbr
from .table import GptHeader, Partition, PartitionTable, Pread, Problems

__all__ = ["HEADER", "SIGNATURE", "read_gpt", "read_header"]

SIGNATURE = b"EFI PART"
REVISION = 0x00010000
# Signature, revision, header size, its CRC, reserved, my LBA, alternate LBA, first and last usable
# LBA, GUID of the disk, LBA of the entries, their number, their size, their CRC.
HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")

# 128 entries of 128 bytes are 16 KiB; Linux and the tools that write tables stay far below this.
MAX_ARRAY = MIB
MAX_ENTRY = 4 * KIB


def read_header(pread: Pread, offset: int, sector_size: int, disk_size: int) -> GptHeader | None:
    """The header in the sector at `offset` with both of its checks; None without its signature."""
    if offset < 0 or offset + sector_size > disk_size:
        return None
    sector = pread(offset, sector_size)
    if sector[:8] != SIGNATURE or len(sector) < HEADER.size:
        return None
    (
        _, revision, header_size, header_crc, _, my_lba, alternate_lba, first_usable, last_usable,
        guid, entries_lba, entry_count, entry_size, entries_crc,
    ) = HEADER.unpack_from(sector)  # fmt: skip
    header_matches = False
    if HEADER.size <= header_size <= len(sector):
        blank = sector[:16] + bytes(4) + sector[20:header_size]
        header_matches = zlib.crc32(blank) == header_crc
    entries_match = False
    if header_matches and has_sane_array(entry_count, entry_size):
        start, length = entries_lba * sector_size, entry_count * entry_size
        if start + length <= disk_size:
            entries_match = zlib.crc32(pread(start, length)) == entries_crc
    return GptHeader(
        offset=offset,
        sector_size=sector_size,
        revision=revision,
        header_size=header_size,
        header_crc=header_crc,
        my_lba=my_lba,
        alternate_lba=alternate_lba,
        first_usable_lba=first_usable,
        last_usable_lba=last_usable,
        disk_guid=str(uuid.UUID(bytes_le=guid)),
        entries_lba=entries_lba,
        entry_count=entry_count,
        entry_size=entry_size,
        entries_crc=entries_crc,
        header_matches=header_matches,
        entries_match=entries_match,
    )


def has_sane_array(entry_count: int, entry_size: int) -> bool:
    """Entries have 128 bytes times a power of two; all together are bounded."""
    return (
        _ENTRY.size <= entry_size <= MAX_ENTRY
        and entry_size & (entry_size - 1) == 0
        and 0 < entry_count * entry_size <= MAX_ARRAY
    )


def read_gpt(pread: Pread, mbr: Mbr | None, disk_size: int, sector_size: int) -> PartitionTable:
    """The table of a disk that is known to have one, or to have had one."""
    problems = Problems()
    last = (disk_size // sector_size - 1) * sector_size
    primary = read_header(pread, sector_size, sector_size, disk_size)
    backup = _find_backup(pread, primary, mbr, disk_size, sector_size)
    _judge(primary, "primary", sector_size, problems)
    _judge(backup, "backup", last if backup is None else backup.offset, problems)
    if backup is not None and backup.offset != last:
        problems.add(
            "backup-not-at-end",
            f"the backup header lies at {backup.offset:#x}, not in the disk's last sector at "
            f"{last:#x}: the disk was resized",
            backup.offset,
        )
    _compare(primary, backup, problems)
    _judge_mbr(mbr, problems)
    header = next((one for one in (primary, backup) if one is not None and one.is_intact), None)
    partitions: tuple[Partition, ...] = ()
    if header is None:
        problems.add("no-gpt-header", "neither GPT header is intact: no partitions can be told")
    else:
        partitions = _partitions(pread, header, problems)
    known = header or primary or backup
    return PartitionTable(
        scheme="gpt",
        sector_size=sector_size,
        disk_size=disk_size,
        disk_id="" if known is None else known.disk_guid,
        partitions=partitions,
        primary=primary,
        backup=backup,
        problems=problems.as_tuple(),
    )


def _find_backup(
    pread: Pread, primary: GptHeader | None, mbr: Mbr | None, disk_size: int, sector_size: int
) -> GptHeader | None:
    """The best header where a backup may lie: where the primary says, at the end of the disk, at
    the end that the protective MBR knows."""
    places = []
    if primary is not None and primary.header_matches:
        places.append(primary.alternate_lba)
    places.append(disk_size // sector_size - 1)
    if mbr is not None and mbr.protective is not None:
        places.append(mbr.protective.start + mbr.protective.count - 1)
    found = []
    for lba in dict.fromkeys(places):
        if lba > 1:
            header = read_header(pread, lba * sector_size, sector_size, disk_size)
            if header is not None:
                found.append(header)
    intact = (header for header in found if header.is_intact)
    return next(intact, found[0] if found else None)


def _judge(header: GptHeader | None, which: str, offset: int, problems: Problems) -> None:
    """All that is wrong with a header by itself."""
    if header is None:
        problems.add(f"no-{which}", f"no {which} GPT header lies where it should", offset)
        return
    if not header.header_matches:
        problems.add(
            f"{which}-header", f"the checksum of the {which} GPT header does not match", offset
        )
        return
    if header.my_lba * header.sector_size != offset:
        problems.add(
            f"{which}-header",
            f"the {which} GPT header says that it lies in sector {header.my_lba}, and lies in "
            f"{offset // header.sector_size}",
            offset,
        )
    if not has_sane_array(header.entry_count, header.entry_size):
        problems.add(
            f"{which}-entries",
            f"the {which} GPT header has {header.entry_count} entries of {header.entry_size} bytes",
            offset,
        )
    elif not header.entries_match:
        problems.add(
            f"{which}-entries",
            f"the checksum of the {which} GPT entries does not match",
            header.entries_offset,
        )
    if header.revision != REVISION:
        problems.add(
            "revision",
            f"revision {header.revision:#x} of the {which} GPT header is unknown",
            offset,
        )


def _compare(primary: GptHeader | None, backup: GptHeader | None, problems: Problems) -> None:
    if primary is None or backup is None or not (primary.is_intact and backup.is_intact):
        return
    one, other = (
        (
            header.disk_guid, header.first_usable_lba, header.last_usable_lba,
            header.entry_count, header.entry_size, header.entries_crc,
        )
        for header in (primary, backup)
    )  # fmt: skip
    if one != other:
        problems.add(
            "headers-differ",
            "the backup GPT is intact and says something else than the primary",
            backup.offset,
        )
    elif primary.alternate_lba != backup.my_lba:
        problems.add(
            "headers-differ",
            f"the primary GPT header expects the backup in sector {primary.alternate_lba}, it lies "
            f"in {backup.my_lba}",
            primary.offset,
        )


def _judge_mbr(mbr: Mbr | None, problems: Problems) -> None:
    if mbr is None or mbr.protective is None:
        problems.add(
            "no-protective-mbr",
            "no protective MBR stands before the GPT: Linux and firmware do not look at it",
            0,
        )
    elif len(mbr.entries) > 1:
        problems.add("hybrid-mbr", "the protective MBR names partitions of its own", 0)


def _partitions(pread: Pread, header: GptHeader, problems: Problems) -> tuple[Partition, ...]:
    array = pread(header.entries_offset, header.entries_length)
    size = header.sector_size
    found = []
    for index in range(header.entry_count):
        at = index * header.entry_size
        kind, unique, first, last, attributes, name = _ENTRY.unpack_from(array, at)
        if not any(kind):
            continue
        if first > last:
            problems.add(
                "bad-entry",
                f"partition {index + 1} begins in sector {first} and ends in {last}",
                header.entries_offset + at,
            )
            continue
        if not header.first_usable_lba <= first <= last <= header.last_usable_lba:
            problems.add(
                "outside-usable",
                f"partition {index + 1} leaves the sectors {header.first_usable_lba} to "
                f"{header.last_usable_lba} that the header calls usable",
                first * size,
            )
        found.append(
            Partition(
                number=index + 1,
                offset=first * size,
                length=(last - first + 1) * size,
                type=str(uuid.UUID(bytes_le=kind)),
                name=name.decode("utf-16-le", "replace").partition("\0")[0],
                unique_id=str(uuid.UUID(bytes_le=unique)),
                attributes=attributes,
                bootable=bool(attributes & 4),
            )
        )
    return tuple(found)
