"""VHDs of every kind, packed by hand from the specification (1.0, Microsoft, 2006)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from . import MIB, SparseFile

FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
NOWHERE = 0xFFFFFFFFFFFFFFFF
UNUSED = 0xFFFFFFFF

# name: (offset, bytes)
FOOTER_FIELDS = {
    "cookie": (0, 8),
    "features": (8, 4),
    "version": (12, 4),
    "data_offset": (16, 8),
    "timestamp": (24, 4),
    "creator": (28, 4),
    "creator_version": (32, 4),
    "creator_host": (36, 4),
    "original_size": (40, 8),
    "current_size": (48, 8),
    "cylinders": (56, 2),
    "heads": (58, 1),
    "sectors": (59, 1),
    "disk_type": (60, 4),
    "checksum": (64, 4),
    "unique_id": (68, 16),
    "saved_state": (84, 1),
}
HEADER_FIELDS = {
    "cookie": (0, 8),
    "data_offset": (8, 8),
    "table_offset": (16, 8),
    "version": (24, 4),
    "max_table_entries": (28, 4),
    "block_size": (32, 4),
    "checksum": (36, 4),
    "parent_id": (40, 16),
    "parent_timestamp": (56, 4),
    "parent_name": (64, 512),
    "locator": (576, 24),
    "locator_code": (576, 4),
    "locator_space": (580, 4),
    "locator_length": (584, 4),
    "locator_offset": (592, 8),
}


def with_checksum(data: bytes, at: int) -> bytes:
    """The structure with its checksum at `at` put right: the complement of the sum of its bytes."""
    blank = data[:at] + bytes(4) + data[at + 4 :]
    return data[:at] + struct.pack(">I", ~sum(blank) & 0xFFFFFFFF) + data[at + 4 :]


def make_footer(
    current_size: int,
    disk_type: int = FIXED,
    *,
    data_offset: int = NOWHERE,
    creator: bytes = b"test",
    creator_version: int = 0x00020003,
    host: bytes = b"Wi2k",
    original_size: int | None = None,
    geometry: tuple[int, int, int] = (65535, 16, 255),
    version: int = 0x00010000,
    unique_id: bytes = bytes(range(1, 17)),
    saved_state: int = 0,
    timestamp: int = 1000,
    features: int = 2,
) -> bytes:
    data = b"conectix" + struct.pack(">IIQI", features, version, data_offset, timestamp)
    data += creator + struct.pack(">I", creator_version) + host
    data += struct.pack(">QQ", current_size if original_size is None else original_size,
                        current_size)  # fmt: skip
    data += struct.pack(">HBB", *geometry)
    data += struct.pack(">II", disk_type, 0) + unique_id + bytes([saved_state])
    return with_checksum(data + bytes(512 - len(data)), 64)


def make_header(
    table_offset: int,
    entries: int,
    block_size: int,
    *,
    version: int = 0x00010000,
    parent_name: str = "",
    parent_id: bytes = bytes(16),
    parent_timestamp: int = 0,
    locators: Sequence[tuple[bytes, int, int, int]] = (),
) -> bytes:
    """locators: (platform code, space, length, offset) of each."""
    data = b"cxsparse" + struct.pack(">QQ", NOWHERE, table_offset)
    data += struct.pack(">III", version, entries, block_size) + bytes(4)
    data += parent_id + struct.pack(">II", parent_timestamp, 0)
    data += parent_name.encode("utf-16-be").ljust(512, b"\0")
    for code, space, length, offset in locators:
        data += struct.pack(">4sIIIQ", code, space, length, 0, offset)
    return with_checksum(data + bytes(1024 - len(data)), 36)


def fixed(data: bytes | SparseFile, **footer: Any) -> SparseFile:
    """A fixed VHD of these bytes; `footer` changes fields of the footer."""
    if isinstance(data, SparseFile):
        image = data
    else:
        image = SparseFile()
        image.put(0, data)
    fields: dict[str, Any] = {"current_size": image.size, **footer}
    image.append(make_footer(fields.pop("current_size"), FIXED, **fields))
    return image


@dataclass
class DynamicVhd:
    """A dynamic or differencing VHD: call `store` for each block, then `build`.

    The footer copy is at 0, the header at 512, the table at 1536, then the data of the parent
    locators, each on a sector border; the blocks follow in the order in which they were stored,
    each a sector bitmap and data.
    """

    virtual_size: int
    block_size: int = 2 * MIB
    entries: int | None = None  # of the table; as many as the disk needs
    footer: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    disk_type: int = DYNAMIC
    locators: Sequence[tuple[bytes, bytes]] = ()  # (platform code, data)
    table: dict[int, int] = field(default_factory=dict)
    pieces: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.entries is None:
            self.entries = -(-self.virtual_size // self.block_size)
        bits = self.block_size // 512
        self.bitmap_size = (bits + 4095) // 4096 * 512
        at = 1536 + -(-4 * self.entries // 512) * 512
        entries = []
        for code, data in self.locators:
            space = -(-len(data) // 512) * 512
            entries.append((code, space, len(data), at))
            self.pieces.append((at, data))
            at += space
        if entries:
            self.header.setdefault("locators", entries)
        self.first = at
        self.next = self.first

    def store(
        self,
        block: int,
        content: bytes = b"",
        bitmap: bytes | None = None,
        at: int | None = None,
    ) -> int:
        """Store a block and return where its data lies. bitmap: all sectors set by default."""
        at = self.next if at is None else at
        if bitmap is None:
            sectors = self.block_size // 512
            bitmap = b"\xff" * (sectors // 8) if sectors >= 8 else bytes([256 - (256 >> sectors)])
        self.pieces.append((at, bitmap.ljust(self.bitmap_size, b"\0")))
        self.pieces.append((at + self.bitmap_size, content))
        self.table[block] = at // 512
        self.next = max(self.next, at + self.bitmap_size + self.block_size)
        return at + self.bitmap_size

    def make_footer(self) -> bytes:
        fields: dict[str, Any] = {
            "current_size": self.virtual_size,
            "data_offset": 512,
            **self.footer,
        }
        return make_footer(fields.pop("current_size"), self.disk_type, **fields)

    def build(self, *, head: bool = True, tail: bool = True) -> SparseFile:
        """The file. head, tail: whether the footer copy and the footer are there."""
        assert self.entries is not None
        image = SparseFile(self.next)
        if head:
            image.put(0, self.make_footer())
        image.put(512, make_header(1536, self.entries, self.block_size, **self.header))
        table = [self.table.get(block, UNUSED) for block in range(self.entries)]
        image.put(1536, struct.pack(f">{self.entries}I", *table))
        for at, data in self.pieces:
            image.put(at, data)
        if tail:
            image.append(self.make_footer())
        return image


def differencing(
    virtual_size: int,
    block_size: int = 2 * MIB,
    *,
    parent_id: bytes = bytes(range(1, 17)),
    parent_name: str = "",
    relative: str | None = None,
    absolute: str | None = None,
    locators: Sequence[tuple[bytes, bytes]] = (),
    **header: Any,
) -> DynamicVhd:
    """A differencing VHD without blocks, of the parent with this unique id.

    relative, absolute: the locators that Windows writes. locators: more of them.
    """
    given = list(locators)
    if absolute is not None:
        given.append((b"W2ku", absolute.encode("utf-16-le")))
    if relative is not None:
        given.append((b"W2ru", relative.encode("utf-16-le")))
    return DynamicVhd(
        virtual_size,
        block_size,
        disk_type=DIFFERENCING,
        locators=given,
        header={"parent_id": parent_id, "parent_name": parent_name, **header},
    )
