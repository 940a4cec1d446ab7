"""Writes VDI files for tests, from the description of the format alone.

    file = vdi(virtual_size=4 * MIB, blocks={3: b"..."})
    path = file.write(tmp_path / "disk.vdi")

lays out: the header of 512 bytes, the block map at 512, the blocks from the next MiB on (or from
`data_offset`), in the mapping's order.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping

from . import MIB, SparseFile

MAP = 512
DATA = MIB
FREE, DISCARDED = 0xFFFFFFFF, 0xFFFFFFFE
DYNAMIC, STATIC, UNDO, DIFFERENCING = 1, 2, 3, 4

IMAGE_ID = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
MODIFY_ID = uuid.UUID("aaaaaaaa-bbbb-cccc-dddd-000000000001")
CHILD_ID = uuid.UUID("11111111-2222-3333-4444-555555555555")
NONE = uuid.UUID(int=0)

# (name, offset, bytes) of every field of the header.
FIELDS = [
    ("signature", 0x40, 4), ("minor", 0x44, 2), ("major", 0x46, 2), ("header size", 0x48, 4),
    ("type", 0x4C, 4), ("flags", 0x50, 4), ("map offset", 0x154, 4), ("data offset", 0x158, 4),
    ("cylinders", 0x15C, 4), ("heads", 0x160, 4), ("sectors", 0x164, 4), ("sector size", 0x168, 4),
    ("disk size", 0x170, 8), ("block size", 0x178, 4), ("block extra", 0x17C, 4),
    ("block count", 0x180, 4), ("allocated", 0x184, 4), ("image id", 0x188, 16),
    ("modify id", 0x198, 16), ("link id", 0x1A8, 16), ("parent modify id", 0x1B8, 16),
    ("logical cylinders", 0x1C8, 4), ("logical heads", 0x1CC, 4), ("logical sectors", 0x1D0, 4),
]  # fmt: skip


def vdi(
    *,
    virtual_size: int,
    blocks: Mapping[int, bytes] | None = None,
    entries: Mapping[int, int] | None = None,
    numbers: Mapping[int, int] | None = None,
    block_size: int = MIB,
    block_extra: int = 0,
    block_count: int | None = None,
    data_offset: int | None = None,
    image_type: int = DYNAMIC,
    image_id: uuid.UUID = IMAGE_ID,
    modify_id: uuid.UUID = MODIFY_ID,
    link_id: uuid.UUID = NONE,
    parent_modify_id: uuid.UUID = NONE,
    geometry: tuple[int, int, int] = (0, 0, 0),
    logical_geometry: tuple[int, int, int] = (0, 0, 0),
    comment: bytes = b"",
    header_size: int = 0x190,
    text: bytes = b"<<< Oracle VM VirtualBox Disk Image >>>\n",
) -> SparseFile:
    """A VDI in memory.

    blocks: data by block of the disk. numbers: which stored block each becomes (default: in the
    mapping's order). entries: raw entries of the map; all others are FREE.
    """
    blocks, entries, numbers = blocks or {}, entries or {}, numbers or {}
    count = -(-virtual_size // block_size) if block_count is None else block_count
    if data_offset is None:
        data_offset = -(-(MAP + 4 * count) // MIB) * MIB
    file = SparseFile()
    table = bytearray(b"\xff" * (4 * count))
    end = data_offset
    for index, (block, body) in enumerate(blocks.items()):
        assert len(body) <= block_size
        number = numbers.get(block, index)
        struct.pack_into("<I", table, 4 * block, number)
        at = data_offset + number * (block_extra + block_size)
        file.put(at, b"\xee" * block_extra + body)
        end = max(end, at + block_extra + block_size)
    for block, entry in entries.items():
        struct.pack_into("<I", table, 4 * block, entry)
    header = text.ljust(64, b"\0")
    header += struct.pack("<IHHIII", 0xBEDA107F, 1, 1, header_size, image_type, 0)
    header += comment.ljust(256, b"\0")
    header += struct.pack("<IIIIIII", MAP, data_offset, *geometry, 512, 0)
    header += struct.pack("<QIIII", virtual_size, block_size, block_extra, count, len(blocks))
    for value in (image_id, modify_id, link_id, parent_modify_id):
        header += value.bytes_le
    header += struct.pack("<IIII", *logical_geometry, 512)
    assert len(header) == 0x1D8
    file.put(0, header)
    file.put(MAP, bytes(table))
    file.size = max(file.size, end)
    return file
