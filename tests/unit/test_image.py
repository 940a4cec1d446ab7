"""An open image as a binary file, and the buffer functions."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

import vhdfast
from vhdfast.errors import UsageError

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
