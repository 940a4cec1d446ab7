"""The header section: file identifier, two headers, two region tables. All little-endian.

Source: [MS-VHDX] 2.2.1 "File Type Identifier", 2.2.2 "Headers", 2.2.3 "Region Table".

    0 KiB      64 KiB    128 KiB   192 KiB         256 KiB               1 MiB
    | vhdxfile | header 1 | header 2 | region table 1 | region table 2 | … |
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from itertools import pairwise

from ..._native import crc32c
from ...errors import (
    CONVERT_ELSEWHERE,
    CUT_SHORT,
    DAMAGED,
    CorruptImageError,
    InvalidImageError,
    UnsupportedImageError,
)
from ...files import Source
from ...tables import Region
from ...units import KIB, MIB
from ..base import Notify

__all__ = ["SIGNATURE", "Header", "Regions", "read_header", "read_regions"]

SIGNATURE = b"vhdxfile"
HEADER_SECTION = MIB
HEADER_OFFSETS = (64 * KIB, 128 * KIB)
HEADER_LENGTH = 4 * KIB
REGION_TABLE_OFFSETS = (192 * KIB, 256 * KIB)
REGION_TABLE_LENGTH = 64 * KIB
MAX_REGIONS = 2047
NO_LOG = uuid.UUID(int=0)

BAT_REGION = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA_REGION = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")

_HEADER = struct.Struct("<4sIQ16s16s16sHHIQ")
assert _HEADER.size == 80
_TABLE = struct.Struct("<4sIII")
assert _TABLE.size == 16
_ENTRY = struct.Struct("<16sQII")
assert _ENTRY.size == 32


@dataclass(frozen=True, slots=True)
class Header:
    offset: int
    sequence: int
    file_write_id: uuid.UUID
    data_write_id: uuid.UUID
    log_id: uuid.UUID
    log_version: int
    version: int
    log_length: int
    log_offset: int

    @property
    def has_log(self) -> bool:
        return self.log_id != NO_LOG

    @property
    def log_region(self) -> Region:
        return Region("log", self.log_offset, self.log_offset + self.log_length)


@dataclass(frozen=True, slots=True)
class Regions:
    bat: Region
    metadata: Region


def sum_of(data: bytes, field: int = 4) -> int:
    """CRC-32C of a structure whose checksum field, at `field`, counts as zero."""
    return crc32c(data[field + 4 :], crc32c(b"\0\0\0\0", crc32c(data[:field])))


def _parse_header(data: bytes, offset: int) -> tuple[Header | None, str]:
    """(the header, why it is none)."""
    signature, stored, sequence, file_id, data_id, log_id, log_version, version, log_length, \
        log_offset = _HEADER.unpack_from(data)  # fmt: skip
    if signature != b"head":
        return None, f"begins with {signature!r}, expected b'head'"
    computed = sum_of(data)
    if stored != computed:
        return None, f"has checksum {stored:#010x}, expected {computed:#010x}"
    header = Header(
        offset, sequence, uuid.UUID(bytes_le=file_id), uuid.UUID(bytes_le=data_id),
        uuid.UUID(bytes_le=log_id), log_version, version, log_length, log_offset,
    )  # fmt: skip
    return header, ""


def read_header(source: Source, notify: Notify) -> Header:
    """The current header: of the intact ones, the one with the larger sequence number."""
    found: list[tuple[Header, bytes]] = []
    problems: list[tuple[int, str]] = []
    for offset in HEADER_OFFSETS:
        data = source.read_exact(offset, HEADER_LENGTH, "VHDX header")
        header, problem = _parse_header(data, offset)
        if header is not None:
            found.append((header, data))
        else:
            problems.append((offset, problem))
    if not found:
        raise CorruptImageError(
            f"neither header is intact: the first {problems[0][1]}, the second {problems[1][1]}",
            path=source.path,
            offset=HEADER_OFFSETS[0],
            hint=DAMAGED,
        )
    for offset, problem in problems:
        notify("header-damaged", f"one of the two headers {problem}; the other one is used", offset)
    # Disk2vhd writes the same header twice; two different ones leave no way to choose.
    sequences = {header.sequence for header, _ in found}
    if len(found) == 2 and len(sequences) == 1 and found[0][1] != found[1][1]:
        raise CorruptImageError(
            f"both headers have sequence number {found[0][0].sequence} and differ, expected one "
            "to be newer",
            path=source.path,
            offset=HEADER_OFFSETS[1],
            hint=DAMAGED,
        )
    header = max((pair[0] for pair in found), key=lambda header: header.sequence)
    if header.version != 1:
        raise UnsupportedImageError(
            f"VHDX version {header.version}, expected 1", path=source.path, offset=header.offset
        )
    return header


def read_regions(source: Source, notify: Notify) -> Regions:
    """The BAT and metadata regions, from the first intact region table."""
    problems: list[str] = []
    for offset in REGION_TABLE_OFFSETS:
        data = source.read_exact(offset, REGION_TABLE_LENGTH, "region table")
        signature, stored, count, _ = _TABLE.unpack_from(data)
        computed = sum_of(data)
        if signature != b"regi":
            problem = f"begins with {signature!r}, expected b'regi'"
        elif stored != computed:
            problem = f"has checksum {stored:#010x}, expected {computed:#010x}"
        else:
            for damaged, why in zip(REGION_TABLE_OFFSETS, problems, strict=False):
                notify(
                    "region-table-damaged",
                    f"the first region table {why}; the second one is used",
                    damaged,
                )
            return _parse_regions(source, data, offset, count)
        problems.append(problem)
    raise CorruptImageError(
        f"neither region table is intact: the first {problems[0]}, the second {problems[1]}",
        path=source.path,
        offset=REGION_TABLE_OFFSETS[0],
        hint=DAMAGED,
    )


def _parse_regions(source: Source, data: bytes, offset: int, count: int) -> Regions:
    if count > MAX_REGIONS:
        raise InvalidImageError(
            f"the region table has {count} entries, at most {MAX_REGIONS} fit",
            path=source.path,
            offset=offset + 8,
        )
    names = {BAT_REGION: "BAT region", METADATA_REGION: "metadata region"}
    found: dict[uuid.UUID, Region] = {}
    for index in range(count):
        at = _TABLE.size + index * _ENTRY.size
        raw_id, start, length, flags = _ENTRY.unpack_from(data, at)
        region_id = uuid.UUID(bytes_le=raw_id)
        if region_id not in names:
            if flags & 1:
                raise UnsupportedImageError(
                    f"region {region_id} must be understood and is unknown",
                    path=source.path,
                    offset=offset + at,
                    hint=CONVERT_ELSEWHERE,
                )
            continue
        if region_id in found:
            raise InvalidImageError(
                f"there are two entries for the {names[region_id]}",
                path=source.path,
                offset=offset + at,
            )
        region = Region(names[region_id], start, start + length)
        check_place(source, region, offset + at)
        found[region_id] = region
    for region_id, name in names.items():
        if region_id not in found:
            raise InvalidImageError(
                f"the region table has no {name}, expected one", path=source.path, offset=offset
            )
    regions = Regions(found[BAT_REGION], found[METADATA_REGION])
    check_apart(source, [regions.bat, regions.metadata], offset)
    return regions


def check_apart(source: Source, regions: list[Region], named_at: int) -> None:
    """No two of the regions share a byte (2.2.2 "LogOffset", 2.2.3.2)."""
    placed = sorted(regions, key=lambda region: region.offset)
    for one, other in pairwise(placed):
        if other.offset < one.end:
            raise InvalidImageError(
                f"the {one} overlaps the {other}",
                path=source.path,
                offset=named_at,
            )


def check_place(source: Source, region: Region, named_at: int) -> None:
    """A region lies behind the header section, on MiB borders, within the file."""
    if region.offset % MIB or region.length % MIB or not region.length:
        raise InvalidImageError(
            f"the {region.name} is [{region.offset:#x}, {region.end:#x}), expected whole MiB",
            path=source.path,
            offset=named_at,
        )
    if region.offset < HEADER_SECTION:
        raise InvalidImageError(
            f"the {region.name} begins at {region.offset:#x}, expected {HEADER_SECTION:#x} or more",
            path=source.path,
            offset=named_at,
        )
    if region.end > source.size:
        raise CorruptImageError(
            f"the {region.name} ends at {region.end:#x}, the file at {source.size:#x}",
            path=source.path,
            offset=named_at,
            hint=CUT_SHORT,
        )
