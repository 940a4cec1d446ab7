"""Chains of images whose maps alternate: what they cost together."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tests.support import MIB
from vhdfast import open_image
from vhdfast.extents import Rows
from vhdfast.formats.qcow2 import Qcow2Image

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


def small_blocks(path: Path, count: int) -> None:
    """A dynamic VHD of stored blocks of 512 bytes, of which a window has room for 2048."""
    footer = bytearray(512)
    struct.pack_into(">8sIIQ", footer, 0, b"conectix", 2, 0x10000, 512)
    struct.pack_into(">QQ", footer, 40, 512 * count, 512 * count)
    struct.pack_into(">I", footer, 60, 3)
    header = bytearray(1024)
    struct.pack_into(">8sQQIII", header, 0, b"cxsparse", 2**64 - 1, 1536, 0x10000, count, 512)
    for part, at in ((footer, 64), (header, 36)):
        struct.pack_into(">I", part, at, ~sum(part) & 0xFFFFFFFF)
    first = 3 + count * 4 // 512
    table = np.arange(first, first + 2 * count, 2).astype(">u4")
    with open(path, "wb") as file:
        file.write(footer + header + table.tobytes())
        file.seek(512 * (first + 2 * count))
        file.write(footer)


def over_a_vhd(path: Path, size: int, entries: bytes | None = None) -> None:
    """The layer above over `base`; entries: of its first L2 table, instead of alternating ones."""
    top = bytearray(layer("base").replace(b"qcow2\0\0\0", b"vpc\0\0\0\0\0"))
    struct.pack_into(">Q", top, 24, size)
    struct.pack_into(">I", top, 0x6C, 3)
    if entries is not None:
        top[2 * K64 : 2 * K64 + len(entries)] = entries
    path.write_bytes(top)


def test_rows_are_not_made_again_for_each_short_answer_of_the_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(tmp_path / "base", 64 * MIB // 512)
    over_a_vhd(tmp_path / "top", 64 * MIB)
    made = 0
    rows_of = Qcow2Image.rows

    def count(self: Qcow2Image, *window: int) -> Rows:
        nonlocal made
        rows = rows_of(self, *window)
        made += int(rows["length"].sum())
        return rows

    monkeypatch.setattr(Qcow2Image, "rows", count)
    with open_image(tmp_path / "top") as image:
        windows = list(image.windows())
    assert len(windows) > 32
    assert made < 4 * 64 * MIB


def test_after_short_answers_windows_grow_again(tmp_path: Path) -> None:
    small_blocks(tmp_path / "base", 512 * MIB // 512)
    # 8 MiB are the parent's, the rest is the layer's own.
    zeros = struct.pack(">Q", 1) * (8192 - 128)
    over_a_vhd(tmp_path / "top", 512 * MIB, bytes(8 * 128) + zeros)
    with open_image(tmp_path / "top") as image:
        assert len(list(image.windows())) < 32
