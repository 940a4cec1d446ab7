"""Writes Parallels expandable images for tests, from qemu's description of the format."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from . import MIB, SparseFile

BAT = 64
OLD, EXTENDED = b"WithoutFreeSpace", b"WithouFreSpacExt"
OPEN, CLOSED = 0x746F6E59, 0x312E3276

# (name, offset, bytes) of every field of the header.
FIELDS = [
    ("magic", 0, 16), ("version", 16, 4), ("heads", 20, 4), ("cylinders", 24, 4),
    ("tracks", 28, 4), ("bat entries", 32, 4), ("sectors", 36, 8), ("in use", 44, 4),
    ("data offset", 48, 4), ("flags", 52, 4), ("extension", 56, 8), ("entry", BAT + 4, 4),
]  # fmt: skip


def parallels(
    *,
    virtual_size: int,
    clusters: Mapping[int, bytes] | None = None,
    places: Mapping[int, int] | None = None,
    entries: Mapping[int, int] | None = None,
    cluster_size: int = MIB,
    magic: bytes = EXTENDED,
    count: int | None = None,
    in_use: int = CLOSED,
    flags: int = 0,
    extension: int = 0,
) -> SparseFile:
    """clusters: data by number, in the mapping's order in the file from one cluster on.

    places: which cluster of the data area each takes. entries: raw table entries.
    """
    clusters, places, entries = clusters or {}, places or {}, entries or {}
    count = -(-virtual_size // cluster_size) if count is None else count
    start = -(-(BAT + 4 * count) // cluster_size) * cluster_size
    unit = cluster_size if magic == EXTENDED else 512
    file = SparseFile(start)
    file.put(
        0,
        struct.pack(
            "<16sIIIIIQIIIQ", magic, 2, 16, 100, cluster_size // 512, count, virtual_size // 512,
            in_use, start // 512, flags, extension,
        ),
    )  # fmt: skip
    for index, (number, body) in enumerate(clusters.items()):
        at = start + places.get(number, index) * cluster_size
        file.put(BAT + 4 * number, struct.pack("<I", at // unit))
        file.put(at, body)
        file.size = max(file.size, at + cluster_size)
    for number, entry in entries.items():
        file.put(BAT + 4 * number, struct.pack("<I", entry))
    return file
