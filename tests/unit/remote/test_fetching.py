"""What an image fetches of a remote source before native code reads it."""

from __future__ import annotations

import mmap
import os
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.far import Listed
from vhdfast import _native
from vhdfast.errors import CorruptImageError
from vhdfast.extents import Codec, Kind, Rows, clip, concatenate, make_rows
from vhdfast.files import Source
from vhdfast.formats.base import Glimpse, ImageFormat, ImageInfo, OpenOptions
from vhdfast.image import Image

KIB, MIB = 1 << 10, 1 << 20


class Layer(ImageFormat):
    """A disk of given rows."""

    def __init__(self, source: Source, rows: Rows) -> None:
        super().__init__(source, OpenOptions())
        self.all_rows = rows
        self.virtual_size = int(rows[-1]["offset"] + rows[-1]["length"])

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        return None

    def info(self) -> ImageInfo:
        raise NotImplementedError

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        return clip(self.all_rows, offset, length)


def both_ways(image: Image, tmp_path: Path) -> tuple[bytes, bytes]:
    """The disk as it is read, and as it is copied."""
    size = image.virtual_size
    target = tmp_path / "target"
    fd = os.open(target, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, size)
    rows = image.extents().rows
    image.copy_rows(
        rows[rows["kind"] != Kind.ZERO], _native.Sink(fd, size, "target"), mmap.mmap(-1, 2 * MIB)
    )
    os.close(fd)
    return image.pread(0, size), target.read_bytes()


def scattered(step: int, length: int, count: int) -> tuple[bytes, Rows]:
    """Rows of `length` bytes every `step` bytes of a source, in a shuffled order."""
    content = random.Random(step).randbytes(step * count)
    places = random.Random(2).sample(range(0, step * count, step), count)
    return content, make_rows(np.arange(count) * length, length, Kind.DATA, places)


@pytest.mark.parametrize(
    ("step", "requests"),
    [(8 * KIB, 1), (60 * KIB, 64)],
    ids=["narrow gaps are fetched too", "wide gaps are not"],
)
def test_small_rows_with_gaps(step: int, requests: int, tmp_path: Path) -> None:
    content, rows = scattered(step, 4 * KIB, 64)
    source = Listed(content)
    with Image(Layer(source, rows)) as image:
        expected = b"".join(content[int(r["file_offset"]) :][: 4 * KIB] for r in rows)
        assert both_ways(image, tmp_path) == (expected, expected)
    assert max(len(call) for call in source.requests) == requests
    assert source.largest <= 2 * 64 * 4 * KIB + 64 * KIB


def packed_rows(count: int, unit: int, stored: int) -> tuple[bytes, Rows, bytes]:
    """Compressed units of `unit` bytes that say to take `stored` bytes each, one behind another."""
    parts, places, expected = [], [], []
    for index in range(count):
        plain = random.Random(index).randbytes(64) * (unit // 64)
        expected.append(plain)
        places.append(index * stored)
        parts.append(zlib.compress(plain).ljust(stored, b"\0"))
    rows = make_rows(np.arange(count) * unit, unit, Kind.COMPRESSED, places)
    rows["stored_length"] = stored
    rows["decoded_length"] = unit
    rows["codec"] = Codec.ZLIB
    return b"".join(parts), rows, b"".join(expected)


def test_units_that_claim_much_are_fetched_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vhdfast.image.FETCH_BYTES", 2 * MIB)
    content, rows, expected = packed_rows(64, 64 * KIB, 512 * KIB)
    source = Listed(content)
    with Image(Layer(source, rows)) as image:
        assert both_ways(image, tmp_path) == (expected, expected)
    # A part ends at a MiB of the disk, of 16 units.
    assert source.largest <= 16 * 512 * KIB
    assert len(source.requests) >= 8


def test_parts_keep_to_their_budget_where_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vhdfast.image.FETCH_BYTES", 3 * MIB)
    content, rows, expected = packed_rows(40, 256 * KIB, 300 * KIB)
    rows["offset"] += np.uint64(2 * MIB)
    rows = concatenate([make_rows(np.array([0]), 2 * MIB, Kind.ZERO), rows])
    source = Listed(content)
    with Image(Layer(source, rows)) as image:
        whole = bytes(2 * MIB) + expected
        assert both_ways(image, tmp_path) == (whole, whole)
    assert source.largest <= 3 * MIB


@pytest.mark.parametrize("way", ["read", "copy"])
def test_damaged_units_are_named_by_their_place_in_the_source(way: str, tmp_path: Path) -> None:
    content, rows, _ = packed_rows(8, 64 * KIB, 128 * KIB)
    broken = bytearray(content)
    broken[5 * 128 * KIB + 20 : 5 * 128 * KIB + 60] = bytes(40)
    source = Listed(bytes(broken))
    # The first units are zeros, so that what is fetched begins elsewhere than the source.
    rows[:3] = make_rows(np.arange(3) * 64 * KIB, 64 * KIB, Kind.ZERO)
    with Image(Layer(source, rows)) as image:
        act: Any = image.pread if way == "read" else lambda *_: both_ways(image, tmp_path)
        with pytest.raises(CorruptImageError) as caught:
            act(0, image.virtual_size)
    assert (caught.value.path, caught.value.offset) == ("listed://host/disk.raw", 5 * 128 * KIB)
