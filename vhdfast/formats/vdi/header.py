"""The header of a VDI: text, signature, version and the fields behind them. All little-endian.

Source: "All about VDIs" by the authors of VirtualBox
(https://forums.virtualbox.org/viewtopic.php?t=8046), and images of VirtualBox and qemu.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from typing import NoReturn

from ...errors import (
    CUT_SHORT,
    CorruptImageError,
    ImageError,
    InvalidImageError,
    UnsupportedImageError,
    printable,
)
from ...files import Source
from ...units import KIB, MAX_OFFSET, MIB, SECTOR, round_up

__all__ = ["DIFFERENCING", "SIGNATURE", "SIGNATURE_OFFSET", "Header", "read_header"]

SIGNATURE_OFFSET = 0x40
SIGNATURE = b"\x7f\x10\xda\xbe"
DYNAMIC, STATIC, UNDO, DIFFERENCING = 1, 2, 3, 4

MIN_BLOCK, MAX_BLOCK = 4 * KIB, 256 * MIB
# Entries of the map above this one are no block numbers.
MAX_BLOCKS = 0xFFFFFFFE
# Size of the header behind the version, without and with the logical geometry.
SHORT_HEADER, FULL_HEADER = 0x180, 0x190
HEADER_LENGTH = 0x1D8

_FIELDS = struct.Struct("<III256sII4IIQIIII16s16s16s16s4I")
_FIELDS_AT = 0x48
assert _FIELDS_AT + _FIELDS.size == HEADER_LENGTH

NO_UUID = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class Header:
    """The fields, checked. Sizes and offsets in bytes."""

    text: str
    image_type: int
    flags: int
    comment: str
    map_offset: int
    data_offset: int
    geometry: tuple[int, int, int] | None
    disk_size: int  # as it stands in the header; may end inside a sector
    block_size: int
    block_extra: int  # bytes in front of the data of each stored block
    block_count: int  # entries of the block map
    allocated: int
    image_id: uuid.UUID
    modify_id: uuid.UUID
    link_id: uuid.UUID  # of the parent
    parent_modify_id: uuid.UUID

    @property
    def virtual_size(self) -> int:
        return round_up(self.disk_size, SECTOR)

    @property
    def stride(self) -> int:
        """Bytes from one stored block to the next."""
        return self.block_extra + self.block_size


def read_header(source: Source) -> Header:
    """Read and check the header.

    Raises InvalidImageError, UnsupportedImageError, CorruptImageError.
    """
    data = source.read_exact(0, SECTOR, "VDI header")

    def fail(
        kind: type[ImageError], offset: int, problem: str, hint: str | None = None
    ) -> NoReturn:
        raise kind(problem, path=source.path, offset=offset, hint=hint)

    if data[SIGNATURE_OFFSET : SIGNATURE_OFFSET + 4] != SIGNATURE:
        found = data[SIGNATURE_OFFSET : SIGNATURE_OFFSET + 4].hex(" ")
        fail(
            InvalidImageError,
            SIGNATURE_OFFSET,
            f"the signature is {found}, expected {SIGNATURE.hex(' ')}",
            "this is no VDI, or its header is damaged: copy it again and compare checksums",
        )
    minor, major = struct.unpack_from("<HH", data, 0x44)
    if major != 1 or minor > 1:
        fail(
            UnsupportedImageError,
            0x44,
            f"the version is {major}.{minor}, only 1.0 and 1.1 are read",
            "let VirtualBox copy it first: VBoxManage clonemedium IMAGE new.vdi",
        )
    (
        header_size, image_type, flags, comment, map_offset, data_offset, *geometry_and_unused,
        disk_size, block_size, block_extra, block_count, allocated, image_id, modify_id, link_id,
        parent_modify_id, cylinders, heads, sectors, _,
    ) = _FIELDS.unpack_from(data, _FIELDS_AT)  # fmt: skip
    if header_size < SHORT_HEADER:
        fail(
            InvalidImageError, 0x48,
            f"the header is said to have {header_size} bytes, expected {SHORT_HEADER} or more",
        )  # fmt: skip
    if image_type == UNDO:
        fail(
            UnsupportedImageError, 0x4C,
            "an undo image, which no released VirtualBox makes",
            "if it is a differencing image after all, merge it with the program that made it",
        )  # fmt: skip
    if image_type not in (DYNAMIC, STATIC, DIFFERENCING):
        fail(
            InvalidImageError, 0x4C,
            f"the image type is {image_type}, expected 1 (dynamic), 2 (static) or 4 (differencing)",
        )  # fmt: skip
    sector_size = geometry_and_unused[3]
    if sector_size not in (0, SECTOR):
        fail(
            UnsupportedImageError, 0x168,
            f"sectors of {sector_size} bytes, only {SECTOR} are read",
            "let VirtualBox copy it first: VBoxManage clonemedium IMAGE new.vdi",
        )  # fmt: skip
    if not MIN_BLOCK <= block_size <= MAX_BLOCK or block_size & (block_size - 1):
        fail(
            InvalidImageError, 0x178,
            f"a block has {block_size} bytes, expected a power of two of 4 KiB to 256 MiB",
        )  # fmt: skip
    if block_extra > block_size:
        fail(
            InvalidImageError, 0x17C,
            f"{block_extra} bytes of extra data in front of each block, expected no more than the "
            f"block's {block_size}",
        )  # fmt: skip
    if not 0 < disk_size <= MAX_OFFSET - SECTOR:
        fail(
            InvalidImageError, 0x170,
            f"the disk has {disk_size} bytes, expected 1 or more, below 2^63",
        )  # fmt: skip
    needed = -(-disk_size // block_size)
    if not needed <= block_count < MAX_BLOCKS:
        fail(
            InvalidImageError, 0x180,
            f"the block map has {block_count} entries, a disk of {disk_size} bytes in blocks of "
            f"{block_size} needs {needed}, and {MAX_BLOCKS - 1} are the most",
        )  # fmt: skip
    if map_offset < _FIELDS_AT + header_size:
        fail(
            InvalidImageError, 0x154,
            f"the block map is said to lie at {map_offset:#x}, on top of the header, which ends at "
            f"{_FIELDS_AT + header_size:#x}",
        )  # fmt: skip
    map_end = map_offset + 4 * block_count
    if data_offset < map_end:
        fail(
            InvalidImageError, 0x158,
            f"the blocks are said to begin at {data_offset:#x}, on top of the block map "
            f"[{map_offset:#x}, {map_end:#x})",
        )  # fmt: skip
    if map_end > source.size:
        fail(
            CorruptImageError, 0x154,
            f"the block map takes [{map_offset:#x}, {map_end:#x}), the file ends at "
            f"{source.size:#x}",
            CUT_SHORT,
        )  # fmt: skip
    old = geometry_and_unused[:3]
    logical = [cylinders, heads, sectors] if header_size >= FULL_HEADER else [0, 0, 0]
    chosen = logical if all(logical) else old
    header = Header(
        text=_text(data[:SIGNATURE_OFFSET]),
        image_type=image_type,
        flags=flags,
        comment=_text(comment),
        map_offset=map_offset,
        data_offset=data_offset,
        geometry=(chosen[0], chosen[1], chosen[2]) if all(chosen) else None,
        disk_size=disk_size,
        block_size=block_size,
        block_extra=block_extra,
        block_count=block_count,
        allocated=allocated,
        image_id=uuid.UUID(bytes_le=image_id),
        modify_id=uuid.UUID(bytes_le=modify_id),
        link_id=uuid.UUID(bytes_le=link_id),
        parent_modify_id=uuid.UUID(bytes_le=parent_modify_id),
    )
    if (header.link_id != NO_UUID) != (image_type == DIFFERENCING):
        # The header has no checksum: were the type damaged, what lies in the parent would be
        # read as zeros.
        fail(
            InvalidImageError, 0x1A8 if image_type == DIFFERENCING else 0x4C,
            f"the image type is {image_type} and the parent's UUID {header.link_id}, expected a "
            "UUID in a differencing image (4), and none in any other",
            "if it is a differencing image, merge it in VirtualBox first",
        )  # fmt: skip
    return header


def _text(data: bytes) -> str:
    return printable(data.split(b"\0", 1)[0].decode("utf-8", "replace").strip())
