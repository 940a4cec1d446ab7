"""The metadata region: what kind of disk this is. All little-endian.

Source: [MS-VHDX] 2.6 "Metadata Region".
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from itertools import pairwise

from ...errors import CONVERT_ELSEWHERE, DAMAGED, InvalidImageError, UnsupportedImageError
from ...files import Source
from ...tables import Region
from ...units import KIB, MIB
from .parent import ParentLocator

__all__ = ["Metadata", "read_metadata"]

TABLE_LENGTH = 64 * KIB
MAX_ENTRIES = 2047
MAX_USER_ENTRIES = 1024
MAX_ITEM = MIB
MAX_VIRTUAL_SIZE = 64 << 40
REQUIRED_FLAG = 4
USER_FLAG = 1

_TABLE = struct.Struct("<8sHH20s")
_ENTRY = struct.Struct("<16sIIII")
assert _TABLE.size == _ENTRY.size == 32

FILE_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
VIRTUAL_DISK_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
VIRTUAL_DISK_ID = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
LOGICAL_SECTOR_SIZE = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
PHYSICAL_SECTOR_SIZE = uuid.UUID("cda348c7-445d-4471-9cc9-e9885251c556")
PARENT_LOCATOR = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")

# What each known item is called, and its length in bytes (None: any).
_KNOWN: dict[uuid.UUID, tuple[str, int | None]] = {
    FILE_PARAMETERS: ("file parameters", 8),
    VIRTUAL_DISK_SIZE: ("virtual disk size", 8),
    VIRTUAL_DISK_ID: ("virtual disk id", 16),
    LOGICAL_SECTOR_SIZE: ("logical sector size", 4),
    PHYSICAL_SECTOR_SIZE: ("physical sector size", 4),
    PARENT_LOCATOR: ("parent locator", None),
}


@dataclass(frozen=True, slots=True)
class Metadata:
    """The items, checked. Sizes in bytes."""

    block_size: int
    is_fixed: bool
    virtual_size: int
    disk_id: uuid.UUID
    logical_sector_size: int
    physical_sector_size: int
    locator: ParentLocator | None  # of a disk with a parent

    @property
    def has_parent(self) -> bool:
        return self.locator is not None

    @property
    def subformat(self) -> str:
        if self.has_parent:
            return "differencing"
        return "fixed" if self.is_fixed else "dynamic"


def read_metadata(source: Source, region: Region) -> Metadata:
    """Read and check every item. Raises InvalidImageError, UnsupportedImageError."""
    items = _read_items(source, region)
    for item_id, (name, _) in _KNOWN.items():
        if item_id not in items and item_id != PARENT_LOCATOR:
            raise InvalidImageError(
                f"the metadata has no {name}, expected one", path=source.path, offset=region.offset
            )

    def fail(item_id: uuid.UUID, found: str, expected: str) -> InvalidImageError:
        return InvalidImageError(
            f"the {_KNOWN[item_id][0]} is {found}, expected {expected}",
            path=source.path,
            offset=items[item_id][0],
        )

    block_size, flags = struct.unpack("<II", items[FILE_PARAMETERS][1])
    if not MIB <= block_size <= 256 * MIB or block_size & (block_size - 1):
        raise fail(FILE_PARAMETERS, f"a block of {block_size} bytes", "a power of two of 1-256 MiB")
    logical, physical = (
        int.from_bytes(items[item][1], "little")
        for item in (LOGICAL_SECTOR_SIZE, PHYSICAL_SECTOR_SIZE)
    )
    for item, value in ((LOGICAL_SECTOR_SIZE, logical), (PHYSICAL_SECTOR_SIZE, physical)):
        if value not in (512, 4096):
            raise fail(item, f"{value}", "512 or 4096")
    virtual_size = int.from_bytes(items[VIRTUAL_DISK_SIZE][1], "little")
    if not 0 < virtual_size <= MAX_VIRTUAL_SIZE or virtual_size % logical:
        raise fail(
            VIRTUAL_DISK_SIZE, f"{virtual_size}", f"a multiple of {logical} up to 64 TiB, not 0"
        )
    has_parent = bool(flags & 2)
    flags_at = items[FILE_PARAMETERS][0] + 4
    if has_parent != (PARENT_LOCATOR in items):
        # The metadata has no checksum. Were that bit damaged, what lies in the parent would be
        # read as zeros.
        there, said = ("no", "a") if has_parent else ("a", "no")
        raise InvalidImageError(
            f"there is {there} parent locator, and the file parameters say that there is {said} "
            "parent, expected both or neither",
            path=source.path,
            offset=flags_at,
            hint=DAMAGED,
        )
    locator = None
    if has_parent:
        locator = ParentLocator.parse(source.path, *items[PARENT_LOCATOR])
    return Metadata(
        block_size=block_size,
        is_fixed=bool(flags & 1) and not has_parent,
        virtual_size=virtual_size,
        disk_id=uuid.UUID(bytes_le=items[VIRTUAL_DISK_ID][1]),
        logical_sector_size=logical,
        physical_sector_size=physical,
        locator=locator,
    )


def _read_items(source: Source, region: Region) -> dict[uuid.UUID, tuple[int, bytes]]:
    """{id: (offset in the file, bytes)} of the known items."""
    table = source.read_exact(region.offset, TABLE_LENGTH, "metadata table")
    signature, _, count, _ = _TABLE.unpack_from(table)
    if signature != b"metadata":
        raise InvalidImageError(
            f"the metadata table begins with {signature!r}, expected b'metadata'",
            path=source.path,
            offset=region.offset,
            hint=DAMAGED,
        )
    if count > MAX_ENTRIES:
        raise InvalidImageError(
            f"the metadata table has {count} entries, at most {MAX_ENTRIES} fit",
            path=source.path,
            offset=region.offset + 10,
        )
    found: dict[uuid.UUID, tuple[int, bytes]] = {}
    user_entries = 0
    for index in range(count):
        at = _TABLE.size + index * _ENTRY.size
        raw_id, offset, length, flags, _ = _ENTRY.unpack_from(table, at)
        item_id = uuid.UUID(bytes_le=raw_id)
        where = region.offset + at
        user_entries += flags & USER_FLAG
        if item_id not in _KNOWN or flags & USER_FLAG:
            if flags & REQUIRED_FLAG:
                raise UnsupportedImageError(
                    f"metadata item {item_id} must be understood and is unknown",
                    path=source.path,
                    offset=where,
                    hint=CONVERT_ELSEWHERE,
                )
            continue
        name, expected = _KNOWN[item_id]
        if item_id in found:
            raise InvalidImageError(
                f"there are two entries for the {name}", path=source.path, offset=where
            )
        if (
            offset < TABLE_LENGTH
            or length > MAX_ITEM
            or offset + length > region.length
            or (expected is not None and length != expected)
        ):
            raise InvalidImageError(
                f"the {name} is said to be {length} bytes at {offset:#x} of its region, expected "
                f"{expected or 'some'} bytes between {TABLE_LENGTH:#x} and {region.length:#x}",
                path=source.path,
                offset=where,
            )
        start = region.offset + offset
        found[item_id] = (start, source.read_exact(start, length, name))
    if user_entries > MAX_USER_ENTRIES:
        raise InvalidImageError(
            f"the metadata table has {user_entries} user entries, expected {MAX_USER_ENTRIES} or "
            "fewer",
            path=source.path,
            offset=region.offset,
        )
    _check_apart(source, found)
    return found


def _check_apart(source: Source, items: dict[uuid.UUID, tuple[int, bytes]]) -> None:
    placed = sorted((start, len(data), _KNOWN[item_id][0]) for item_id, (start, data) in
                    items.items())  # fmt: skip
    for (start, length, name), (other, _, other_name) in pairwise(placed):
        if start + length > other:
            raise InvalidImageError(
                f"the {name} at [{start:#x}, {start + length:#x}) overlaps the {other_name} at "
                f"{other:#x}",
                path=source.path,
                offset=other,
            )
