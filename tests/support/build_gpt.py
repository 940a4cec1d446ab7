"""Partition tables packed by hand: GPT from UEFI 2.10 (5.3), MBR from 5.2.1 of the same."""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass, field

from . import SparseFile

LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
DISK = "11111111-2222-3333-4444-555555555555"


def mbr_entry(kind: int, start: int, count: int, status: int = 0) -> bytes:
    return struct.pack("<B3sB3sII", status, b"\0\2\0", kind, b"\xff\xff\xff", start, count)


def mbr_sector(*entries: bytes, signature: int = 0) -> bytes:
    body = b"".join(entries).ljust(64, b"\0")
    return bytes(440) + struct.pack("<IH", signature, 0) + body + b"\x55\xaa"


@dataclass
class Gpt:
    """A GPT in the making; all places in sectors of `sector` bytes."""

    sectors: int
    sector: int = 512
    count: int = 128
    entry_size: int = 128
    disk_guid: str = DISK
    parts: dict[int, bytes] = field(default_factory=dict)

    def add(
        self,
        number: int,
        first: int,
        last: int,
        name: str = "",
        kind: str = LINUX,
        attributes: int = 0,
        unique: int | None = None,
    ) -> None:
        guid = uuid.UUID(int=number if unique is None else unique).bytes_le
        label = name.encode("utf-16-le").ljust(72, b"\0")
        self.parts[number] = (
            uuid.UUID(kind).bytes_le + guid + struct.pack("<QQQ", first, last, attributes) + label
        )

    @property
    def array(self) -> bytes:
        entries = (
            self.parts.get(n, b"").ljust(self.entry_size, b"\0") for n in range(1, self.count + 1)
        )
        return b"".join(entries)

    @property
    def array_sectors(self) -> int:
        return -(-self.count * self.entry_size // self.sector)

    def header(self, my: int, other: int, entries: int) -> bytes:
        first, last = 2 + self.array_sectors, self.sectors - self.array_sectors - 2
        fields = struct.pack(
            "<QQQQ16sQIII", my, other, first, last, uuid.UUID(self.disk_guid).bytes_le,
            entries, self.count, self.entry_size, zlib.crc32(self.array),
        )  # fmt: skip
        start = struct.pack("<8sII", b"EFI PART", 0x10000, 92)
        crc = zlib.crc32(start + bytes(8) + fields)
        return (start + struct.pack("<II", crc, 0) + fields).ljust(self.sector, b"\0")

    def build(self) -> SparseFile:
        disk = SparseFile(self.sectors * self.sector)
        last = self.sectors - 1
        disk.put(0, mbr_sector(mbr_entry(0xEE, 1, min(last, 0xFFFFFFFF))))
        disk.put(self.sector, self.header(1, last, 2))
        disk.put(2 * self.sector, self.array)
        disk.put((last - self.array_sectors) * self.sector, self.array)
        disk.put(last * self.sector, self.header(last, 1, last - self.array_sectors))
        return disk
