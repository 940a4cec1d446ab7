"""The 512-byte footer of every VHD, and its geometry.

Source: Virtual Hard Disk Image Format Specification 1.0 (Microsoft, 2006), "Hard Disk Footer
Format" and the appendix "CHS Calculation". All fields are big-endian.
"""

from __future__ import annotations

import struct
import time
import uuid
from dataclasses import dataclass
from enum import IntEnum

from ..._native import vhd_checksum
from ...errors import printable
from ...units import MIB

__all__ = ["COOKIE", "FOOTER_LENGTH", "DiskType", "Footer", "find_stray_footer"]

COOKIE = b"conectix"
FOOTER_LENGTH = 512
# Virtual PC before 2004 left out the last reserved byte.
OLD_FOOTER_LENGTH = 511
# How far before the end of a file a footer is looked for that has something behind it.
STRAY_SEARCH = 2 * MIB
EPOCH = 946684800  # 2000-01-01 00:00:00 UTC, where VHD time begins, in Unix seconds
NO_OFFSET = 0xFFFFFFFFFFFFFFFF
NIL_UUID = uuid.UUID(int=0)
LARGEST_GEOMETRY = (65535, 16, 255)

_LAYOUT = struct.Struct(">8sIIQI4sI4sQQHBBII16sB427s")
assert _LAYOUT.size == FOOTER_LENGTH

_CREATORS = {
    b"vpc ": "Microsoft Virtual PC",
    b"vs  ": "Microsoft Virtual Server",
    b"win ": "Microsoft Hyper-V or Windows",
    b"d2v\0": "Disk2vhd",
    b"wa\0\0": "Microsoft Azure",
    b"vbox": "VirtualBox",
    b"qemu": "qemu",
    b"qem2": "qemu (force_size)",
    b"tap\0": "XenServer",
    b"CTXS": "XenConverter",
    b"*img": "mkimg",
    b"vhdf": "vhdfast",
}


class DiskType(IntEnum):
    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


@dataclass(frozen=True, slots=True)
class Footer:
    """A footer's fields as they are on disk; nothing is judged here."""

    current_size: int
    disk_type: int
    features: int = 2  # the reserved bit, always set
    version: int = 0x00010000
    data_offset: int = NO_OFFSET
    timestamp: int = 0  # seconds since EPOCH
    creator: bytes = b"vhdf"
    creator_version: int = 0
    creator_host: bytes = b"Wi2k"
    original_size: int = 0
    geometry: tuple[int, int, int] = LARGEST_GEOMETRY
    unique_id: uuid.UUID = NIL_UUID
    saved_state: int = 0
    stored_checksum: int = 0
    checksum: int = 0  # what the stored one should be

    @property
    def is_intact(self) -> bool:
        return self.stored_checksum == self.checksum

    @property
    def chs_size(self) -> int:
        """Bytes that the geometry spans."""
        cylinders, heads, sectors = self.geometry
        return cylinders * heads * sectors * 512

    @property
    def creator_name(self) -> str:
        """Who wrote the image, for people: "Microsoft Hyper-V or Windows 6.3"."""
        text = self.creator.decode("ascii", "replace").rstrip(" \0")
        name = _CREATORS.get(self.creator, repr(printable(text) or "unknown"))
        return f"{name} {self.creator_version >> 16}.{self.creator_version & 0xFFFF}"

    @classmethod
    def parse(cls, data: bytes) -> Footer | None:
        """The footer in 512 (or 511) bytes, None where they do not begin with the cookie."""
        if not data.startswith(COOKIE) or len(data) < OLD_FOOTER_LENGTH:
            return None
        padded = data[:FOOTER_LENGTH].ljust(FOOTER_LENGTH, b"\0")
        (
            _cookie, features, version, data_offset, timestamp, creator, creator_version,
            creator_host, original_size, current_size, cylinders, heads, sectors, disk_type,
            stored_checksum, unique_id, saved_state, _reserved,
        ) = _LAYOUT.unpack(padded)  # fmt: skip
        return cls(
            current_size=current_size,
            disk_type=disk_type,
            features=features,
            version=version,
            data_offset=data_offset,
            timestamp=timestamp,
            creator=creator,
            creator_version=creator_version,
            creator_host=creator_host,
            original_size=original_size,
            geometry=(cylinders, heads, sectors),
            unique_id=uuid.UUID(bytes=unique_id),
            saved_state=saved_state,
            stored_checksum=stored_checksum,
            checksum=vhd_checksum(data[:FOOTER_LENGTH]),
        )

    def pack(self) -> bytes:
        """The 512 bytes, with the checksum that they should have."""
        data = _LAYOUT.pack(
            COOKIE, self.features, self.version, self.data_offset, self.timestamp, self.creator,
            self.creator_version, self.creator_host, self.original_size, self.current_size,
            *self.geometry, self.disk_type, 0, self.unique_id.bytes, self.saved_state, b"",
        )  # fmt: skip
        return data[:64] + struct.pack(">I", vhd_checksum(data)) + data[68:]


def vhd_time(unix_seconds: float | None = None) -> int:
    """Seconds since EPOCH, now by default, kept within the 32 bits that the footer has."""
    seconds = int(time.time() if unix_seconds is None else unix_seconds) - EPOCH
    return min(max(seconds, 0), 0xFFFFFFFF)


def find_stray_footer(tail: bytes, size: int) -> int | None:
    """Offset of the last footer in the tail of a file of this size, on a sector's border."""
    start = size - len(tail)
    at = len(tail)
    while (at := tail.rfind(COOKIE, 0, at)) >= 0:
        if (start + at) % 512 == 0:
            return start + at
    return None
