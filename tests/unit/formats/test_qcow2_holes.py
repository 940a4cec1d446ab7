"""L2 tables of a qcow2 that lie in holes of the file: nothing is read of them, nothing is lost."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vhdfast import open_image
from vhdfast.formats.qcow2.levels import TwoLevels

TABLES = 300

Entries = dict[tuple[int, int], bytes]


def with_tables_in_holes(path: Path, bits: int, clusters: Entries, tables: int = TABLES) -> Path:
    """A version 2 image whose every L1 entry names a table; only what `clusters` needs is written.

    clusters: {(table, entry): the first bytes of the cluster}.
    """
    size = 1 << bits
    first = 1 + -(-8 * tables // size)
    data = first + tables
    header = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, bits, tables * size // 8 * size, 0, tables, size,
        0, 0, 0, 0,
    )  # fmt: skip
    with open(path, "wb") as file:
        file.write(header.ljust(size, b"\0"))
        file.write(struct.pack(f">{tables}Q", *((first + at) * size for at in range(tables))))
        for number, ((table, entry), content) in enumerate(clusters.items()):
            place = (data + number) * size
            file.seek((first + table) * size + 8 * entry)
            file.write(struct.pack(">Q", place | 1 << 63))
            file.seek(place)
            file.write(content.ljust(size, b"\1"))
        file.truncate((data + len(clusters)) * size)
    return path


@pytest.fixture
def tables_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Bytes of L2 tables that were read so far."""
    read = 0
    whole = TwoLevels._l2

    def count(self: TwoLevels, places: np.ndarray, entries: int) -> np.ndarray:
        nonlocal read
        read += len(places) * entries * self.layout.entry_size
        return whole(self, places, entries)

    monkeypatch.setattr(TwoLevels, "_l2", count)
    return lambda: read


@pytest.mark.parametrize("bits", [9, 16, 21])
@pytest.mark.parametrize("ask_holes", [True, False])
def test_what_lies_among_tables_in_holes_is_found(
    bits: int, ask_holes: bool, tmp_path: Path
) -> None:
    size, last = 1 << bits, (1 << bits) // 8 - 1
    # The first and the last entry, of tables next to each other, far apart, and at the ends. Of a
    # table of 2 MiB that has only its last entry, all before that is a hole.
    clusters = {
        (0, 0): b"a", (7, last): b"b", (8, 1): b"c", (150, last // 2): b"d",
        (TABLES - 1, last): b"e",
    }  # fmt: skip
    path = with_tables_in_holes(tmp_path / "d.qcow2", bits, clusters)
    with open_image(path, ask_holes=ask_holes) as image:
        stored = [row for window in image.windows() for row in window if row.kind.name == "DATA"]
        assert [(row.offset, row.length) for row in stored] == [
            ((table * (last + 1) + entry) * size, size) for table, entry in clusters
        ]
        assert [image.pread(row.offset, 1) for row in stored] == list(clusters.values())


@pytest.mark.parametrize("bits", [9, 16, 21])
def test_tables_in_holes_are_not_read(
    bits: int, tmp_path: Path, tables_read: Callable[[], int]
) -> None:
    path = with_tables_in_holes(tmp_path / "d.qcow2", bits, {(120, 0): b"x"})
    with open_image(path) as image:
        windows = list(image.windows())
    assert windows[-1].end == TABLES * (1 << bits) // 8 * (1 << bits)
    # Beside the stored one a part of a hole may be read: file systems have holes of whole blocks.
    assert 0 < tables_read() <= max(8 << bits, 8192)
    assert len(windows) < 32


def test_the_file_system_is_not_asked_where_that_is_not_wanted(
    tmp_path: Path, tables_read: Callable[[], int]
) -> None:
    path = with_tables_in_holes(tmp_path / "d.qcow2", 16, {})
    with open_image(path, ask_holes=False) as image:
        assert {row.kind.name for window in image.windows() for row in window} == {"ZERO"}
    assert tables_read() == TABLES << 16


def test_a_version_1_image_too(tmp_path: Path, tables_read: Callable[[], int]) -> None:
    # 4096 tables of 8192 entries, for clusters of 64 KiB.
    header = struct.pack(
        ">4sIQIIQBBHIQ", b"QFI\xfb", 1, 0, 0, 0, 4096 << 29, 16, 13, 0, 0, 64
    )  # fmt: skip
    places = struct.pack(">4096Q", *(65536 + at * 65536 for at in range(4096)))
    (tmp_path / "d.qcow").write_bytes(header.ljust(64, b"\0") + places)
    os.truncate(tmp_path / "d.qcow", 65536 * 4097)
    with open_image(tmp_path / "d.qcow") as image:
        assert image.info().format == "qcow"
        assert sum(window.length for window in image.windows()) == 4096 << 29
    assert tables_read() == 0
