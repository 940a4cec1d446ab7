"""An open image as a binary file, and the buffer functions."""

from __future__ import annotations

import io
import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import vhdfast
from tests.support.far import Far
from vhdfast.errors import CorruptImageError, UsageError
from vhdfast.extents import EXTENT, Codec, Kind
from vhdfast.files import MemorySource, Source
from vhdfast.formats import ImageFormat, OpenOptions
from vhdfast.image import FETCH_GAP, Image

MIB = 1 << 20


def test_it_is_a_seekable_binary_file(small_disk: Path) -> None:
    content = small_disk.read_bytes()
    with vhdfast.open_image(small_disk) as image:
        assert image.readable() and image.seekable() and not image.writable()
        assert image.read(10) == content[:10]
        assert image.seek(-512, os.SEEK_END) == len(content) - 512
        assert image.read() == content[-512:]
        assert image.read(1) == b""
        assert image.seek(MIB) == MIB
        assert image.tell() == MIB
        buffered = io.BufferedReader(image)
        assert buffered.read(5000) == content[MIB : MIB + 5000]


def test_reads_stop_at_the_end(small_disk: Path) -> None:
    with vhdfast.open_image(small_disk) as image:
        assert image.pread(image.virtual_size - 3, 100) == b"!!!"
        assert image.pread(image.virtual_size + 5, 100) == b""


def test_reads_across_holes_and_data(small_disk: Path) -> None:
    content = small_disk.read_bytes()
    with vhdfast.open_image(small_disk) as image:
        for offset, length in ((0, 5 * MIB), (MIB - 7, 300_000), (3 * MIB, 200_001), (511, 2)):
            assert image.pread(offset, length) == content[offset : offset + length]


def test_many_threads_read_the_same_image(small_disk: Path) -> None:
    content = small_disk.read_bytes()
    wrong: list[int] = []
    with vhdfast.open_image(small_disk) as image:

        def read(step: int) -> None:
            for offset in range(step, 5 * MIB, 100_003):
                if image.pread(offset, 5000) != content[offset : offset + 5000]:
                    wrong.append(offset)

        threads = [threading.Thread(target=read, args=(step,)) for step in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.parametrize(("offset", "length"), [(-1, 10), (0, -1)])
def test_negative_places_are_refused(offset: int, length: int, small_disk: Path) -> None:
    with vhdfast.open_image(small_disk) as image, pytest.raises(UsageError):
        image.pread(offset, length)


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, 6 * MIB), (5 * MIB + 512, 1)])
def test_windows_stay_within_the_disk(offset: int, length: int, small_disk: Path) -> None:
    with vhdfast.open_image(small_disk) as image, pytest.raises(UsageError, match="no window"):
        image.extents(offset, length)


def test_a_closed_image_does_not_read(small_disk: Path) -> None:
    image = vhdfast.open_image(small_disk)
    image.close()
    image.close()
    with pytest.raises(ValueError, match="closed"):
        image.read(1)


def test_zero_runs_of_a_buffer() -> None:
    buffer = bytearray(5 * 4096 + 100)
    buffer[4096] = 1
    buffer[3 * 4096 - 1] = 1
    assert vhdfast.zero_runs(buffer, 4096) == [(0, 4096), (3 * 4096, 2 * 4096 + 100)]
    assert vhdfast.zero_runs(b"") == []


def test_is_zero_of_any_contiguous_buffer() -> None:
    assert vhdfast.is_zero(bytes(100))
    assert vhdfast.is_zero(memoryview(b"\0\0\1")[:2])
    assert not vhdfast.is_zero(b"\0" * 1000 + b"\1")


def test_the_checksum_of_a_real_footer() -> None:
    # The footer of a small dynamic VHD by qemu 1.x; its checksum field reads ff ff f6 83.
    footer = bytes.fromhex(
        "636f6e6563746978000000020001000000000000000002001a3973ea71656d75"
        "000500035769326b000000000001980000000000000198000003041100000003"
        "fffff683"
    ).ljust(512, b"\0")
    assert vhdfast.vhd_checksum(footer) == 0xFFFFF683


def test_crc32c_of_the_usual_digits() -> None:
    assert vhdfast.crc32c(b"123456789") == 0xE3069283


# ---- sources that only Python reads (a network's) ------------------------------------------------


class Rows(ImageFormat):
    """An image whose map is given; no name, so that it is not registered."""

    title = "rows"

    def __init__(self, sources: Sequence[Source], rows: Sequence[dict[str, int]]) -> None:
        super().__init__(sources[0], OpenOptions())
        self.sources = list(sources)
        self.table = np.zeros(len(rows), dtype=EXTENT)
        for entry, row in zip(self.table, rows, strict=True):
            for key, value in row.items():
                entry[key] = value
        self.virtual_size = int(self.table[-1]["offset"] + self.table[-1]["length"])

    def rows(self, offset: int, length: int, max_rows: int):  # type: ignore[no-untyped-def]
        from vhdfast.extents import clip

        return clip(self.table, offset, length)

    probe = info = None  # type: ignore[assignment]


def data(offset: int, length: int, file_offset: int, file: int = 0) -> dict[str, int]:
    return {"offset": offset, "length": length, "kind": Kind.DATA, "file_offset": file_offset,
            "file": file}  # fmt: skip


FAR = bytes(at * 7 % 251 for at in range(4 * FETCH_GAP))


def test_far_bytes_are_fetched() -> None:
    far = Far(FAR)
    with Image(Rows([far], [data(0, 1000, 500)])) as image:
        assert image.pread(10, 100) == FAR[510:610]
    assert far.asked == [(510, 100)], "only what was asked for"


def test_ranges_that_lie_close_are_one_request() -> None:
    far, size = Far(FAR), FETCH_GAP
    rows = [data(0, size, size), data(size, size, 3 * size), data(2 * size, size, 0)]
    with Image(Rows([far], rows)) as image:
        assert image.pread(0, 3 * size) == FAR[size : 2 * size] + FAR[3 * size :] + FAR[:size]
    assert far.asked == [(0, 4 * size)]


def test_a_gap_is_not_fetched_where_it_is_most_of_the_answer() -> None:
    far = Far(FAR)
    rows = [data(0, 100, 1000), data(100, 100, 1100 + FETCH_GAP), data(200, 100, 0)]
    with Image(Rows([far], rows)) as image:
        assert image.pread(0, 300) == FAR[1000:1100] + FAR[1100 + FETCH_GAP :][:100] + FAR[:100]
    assert far.asked == [(0, 1100), (1100 + FETCH_GAP, 100)]


def test_ranges_that_lie_apart_are_requests_of_their_own() -> None:
    far = Far(FAR)
    rows = [data(0, 100, 101 + FETCH_GAP), data(100, 100, 0), data(200, 10, 300 + 3 * FETCH_GAP),
            data(210, 10, 50)]  # fmt: skip
    with Image(Rows([far], rows)) as image:
        expected = b"".join(FAR[r["file_offset"] :][: r["length"]] for r in rows)
        assert image.pread(0, 220) == expected
    assert far.asked == [(0, 100), (101 + FETCH_GAP, 100), (300 + 3 * FETCH_GAP, 10)]


def test_far_and_near_sources_side_by_side() -> None:
    near, one, other = MemorySource(b"n" * 500, "near"), Far(FAR), Far(FAR[::-1])
    rows = [data(0, 10, 3, 1), data(10, 10, 3, 0), data(20, 10, 3, 2), data(30, 10, 20, 1)]
    with Image(Rows([near, one, other], rows)) as image:
        assert image.pread(0, 40) == FAR[3:13] + b"n" * 10 + FAR[::-1][3:13] + FAR[20:30]
    assert (one.asked, other.asked) == ([(3, 27)], [(3, 10)])


def test_far_compressed_units() -> None:
    """Two rows of one unit, the stored length of which reaches beyond the end."""
    content = bytes(range(256)) * 16
    packed = zlib.compress(content)
    far = Far(b"\xee" * 100 + packed)
    unit = {"kind": Kind.COMPRESSED, "file_offset": 100, "stored_length": len(packed) + 5000,
            "decoded_length": len(content), "codec": Codec.ZLIB}  # fmt: skip
    rows = [
        {"offset": 0, "length": 1000, **unit},
        {"offset": 1000, "length": 500, "kind": Kind.ZERO},
        {"offset": 1500, "length": 96, "skip": 4000, **unit},
        data(1596, 50, 0),
    ]
    with Image(Rows([far], rows)) as image:
        assert image.pread(0, 1646) == (
            content[:1000] + bytes(500) + content[4000:] + b"\xee" * 50
        )
        assert image.pread(1500, 10) == content[4000:4010]
    assert far.asked[0] == (0, 100 + len(packed))


def test_zeros_are_not_fetched() -> None:
    far = Far(FAR)
    with Image(Rows([far], [data(0, 10, 0), {"offset": 10, "length": 90, "kind": 1}])) as image:
        assert image.pread(20, 50) == bytes(50)
    assert far.asked == []


def test_a_far_source_that_ends_early() -> None:
    far = Far(FAR)
    far.size += 1000
    with (
        Image(Rows([far], [data(0, 100, len(FAR) - 50)])) as image,
        pytest.raises(CorruptImageError, match="needs 100 bytes here, the file ends after 50"),
    ):
        image.pread(0, 100)
