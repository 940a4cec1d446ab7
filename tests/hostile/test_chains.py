"""Chains of images whose maps alternate: what they cost together."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

from vhdfast import open_image

K64 = 65536
LAYERS = 128
TABLES = 8  # L2 tables of 8192 clusters: as many as a window holds


def layer(backing: str | None) -> bytes:
    """A qcow2 of which every other cluster is a zero, the others are the backing file's."""
    name = (backing or "").encode()
    header = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, 512 if backing else 0, len(name), 16,
        TABLES * 8192 * K64, 0, TABLES, K64, 0, 0, 0, 0,
    )  # fmt: skip
    header += struct.pack(">QQQII", 0, 0, 0, 4, 104)
    header += struct.pack(">II8sII", 0xE2792ACA, 5, b"qcow2", 0, 0)
    places = struct.pack(f">{TABLES}Q", *((2 + at) * K64 for at in range(TABLES)))
    entries = struct.pack(">QQ", 0, 1) * (4096 * TABLES)
    return (header.ljust(512, b"\0") + name).ljust(K64, b"\0") + places.ljust(K64, b"\0") + entries


def test_a_window_of_a_long_chain_takes_no_more_memory_than_one_of_a_short_one(
    tmp_path: Path,
) -> None:
    for number in range(LAYERS):
        below = f"{number + 1}" if number + 1 < LAYERS else None
        (tmp_path / str(number)).write_bytes(layer(below))
    with open_image(tmp_path / "0") as image:
        tracemalloc.start()
        window = image.extents()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert window.end >= 4096 * K64
    assert peak < 64 << 20
