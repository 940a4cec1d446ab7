"""What holds for every kind of stream."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vhdfast
from tests.conftest import ROOT
from tests.support import MIB, pattern
from tests.support.build_streams import PACKERS, SUFFIXES, run_tool
from vhdfast.errors import (
    AmbiguousFormatError,
    CorruptImageError,
    InvalidImageError,
    UnknownFormatError,
    UnsupportedImageError,
    VhdfastError,
)
from vhdfast.streams import STREAMS

DISK = pattern(1, 300_000) + bytes(900_000) + random.Random(1).randbytes(400_000) + bytes(1000)
KINDS = sorted(PACKERS)

Content = Callable[..., bytes]
Refused = Callable[..., VhdfastError]


def test_the_kinds_are_these() -> None:
    assert sorted(STREAMS) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_one_stream(kind: str, content_of: Content) -> None:
    assert content_of(PACKERS[kind](DISK), "d.raw" + SUFFIXES[kind]) == DISK


@pytest.mark.parametrize("kind", KINDS)
def test_streams_one_after_the_other(kind: str, content_of: Content) -> None:
    pieces = [DISK[:1], DISK[1:500_000], b"", DISK[500_000:]]
    packed = b"".join(PACKERS[kind](piece) for piece in pieces)
    assert content_of(packed, "d.raw" + SUFFIXES[kind]) == DISK


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_tiny_streams(kind: str, content_of: Content) -> None:
    data = random.Random(2).randbytes(100_000)
    packed = b"".join(PACKERS[kind](data[at : at + 100]) for at in range(0, len(data), 100))
    assert content_of(packed, "d.raw" + SUFFIXES[kind]) == data


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_content_is_no_disk(kind: str, refused: Refused) -> None:
    refused(PACKERS[kind](b""), "d.raw" + SUFFIXES[kind], "empty", kind=InvalidImageError)


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_is_corrupt(kind: str, refused: Refused) -> None:
    data = random.Random(3).randbytes(3000)
    packed = PACKERS[kind](data)
    for size in {*range(8, 40), len(packed) // 2, *range(len(packed) - 40, len(packed))}:
        refused(packed[:size], "d.raw" + SUFFIXES[kind], "ends here", offset=size)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncation_of_a_second_stream_is_corrupt(kind: str, refused: Refused) -> None:
    packed = PACKERS[kind](DISK) + PACKERS[kind](DISK)
    for size in (len(packed) - 1, len(packed) * 3 // 4, len(packed) // 2 + 2):
        refused(packed[:size], "d.raw" + SUFFIXES[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bytes_are_corrupt_or_harmless(
    kind: str, content_of: Content, tmp_path: Path
) -> None:
    data = random.Random(4).randbytes(2000) + pattern(3, 2000)
    packed = PACKERS[kind](data)
    caught = 0
    for at in range(8, len(packed), 7):
        damaged = bytearray(packed)
        damaged[at] ^= 0x10
        try:
            # The header of gzip holds a time and flags that no checksum covers.
            assert content_of(bytes(damaged), "d.raw" + SUFFIXES[kind]) == data
        except CorruptImageError:
            caught += 1
    assert caught >= len(range(8, len(packed), 7)) - 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extra", [b"x", b"garbage behind the stream", b"\0\0\0\0x"])
def test_garbage_behind_a_stream_is_corrupt(
    kind: str, extra: bytes, refused: Refused
) -> None:
    refused(PACKERS[kind](DISK) + extra, "d.raw" + SUFFIXES[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_detection_looks_at_the_content_and_its_name(kind: str, tmp_path: Path) -> None:
    plain = tmp_path / ("d.raw" + SUFFIXES[kind])
    plain.write_bytes(PACKERS[kind](DISK))
    with vhdfast.open_image(plain) as image:
        info = image.info()
    assert (info.format, info.stream, info.virtual_size) == ("raw", kind, len(DISK))
    assert info.file_size == plain.stat().st_size
    assert info.path == str(plain)
    nameless = tmp_path / "thing"
    nameless.write_bytes(PACKERS[kind](DISK))
    with pytest.raises(UnknownFormatError, match="no known format"):
        vhdfast.open_image(nameless)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_within_a_stream_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"d.raw.gz{SUFFIXES[kind]}"
    path.write_bytes(PACKERS[kind](PACKERS["gzip"](DISK)))
    for name in (None, "raw", "vhdx"):
        with pytest.raises(UnsupportedImageError, match=f"a gzip stream within a {kind} stream"):
            vhdfast.open_image(path, name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_raw_disk_that_begins_like_a_stream_is_read_as_raw(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "d.img"
    path.write_bytes(PACKERS[kind](DISK).ljust(MIB, b"\0"))
    with vhdfast.open_image(path, "raw") as image:
        assert (image.virtual_size, image.info().stream) == (MIB, None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vhd_whose_disk_begins_like_a_stream_is_ambiguous(kind: str, tmp_path: Path) -> None:
    path, source = tmp_path / "d.vhd", tmp_path / "d.img"
    source.write_bytes(PACKERS[kind](DISK).ljust(MIB, b"\0"))
    vhdfast.convert(source, path, from_format="raw")
    with pytest.raises(AmbiguousFormatError, match=kind):
        vhdfast.open_image(path)
    with vhdfast.open_image(path, "vhd") as image:
        assert image.virtual_size == MIB


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_become_holes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("d.raw" + SUFFIXES[kind])
    data = b"x" * 4096 + bytes(64 * MIB) + b"y" * 4095 + b"\0" + bytes(4096) + b"z"
    path.write_bytes(PACKERS[kind](data))
    with vhdfast.open_image(path, "raw") as image:
        rows = [(row.offset, row.length, row.kind.name) for row in image.extents()]
        assert image.layer.source.allocated <= 3 * 4096  # type: ignore[attr-defined]
    assert rows == [
        (0, 4096, "DATA"),
        (4096, 64 * MIB, "ZERO"),
        (4096 + 64 * MIB, 4096, "DATA"),
        (8192 + 64 * MIB, 4096, "ZERO"),
        (12288 + 64 * MIB, 1, "DATA"),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_bounded(kind: str, tmp_path: Path) -> None:
    """Zeros and noise, many times what may be held, in one stream."""
    path = tmp_path / "big.raw"
    with open(path, "wb") as file:
        file.write(os.urandom(MIB))
        file.truncate(200 * MIB)
    words = {
        "gzip": ("gzip", "-1"),
        "xz": ("xz", "-0"),
        "zstd": ("zstd", "-1", "-q"),
        "bzip2": ("bzip2", "-9"),
    }
    run_tool(path, tmp_path / "packed", *words[kind])
    script = (
        "import re, sys, vhdfast\n"
        "with vhdfast.open_image(sys.argv[1]) as image: print(image.virtual_size)\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
    )
    packed = (tmp_path / "packed").rename(tmp_path / ("big.raw" + SUFFIXES[kind]))
    done = subprocess.run(
        [sys.executable, "-c", script, str(packed)], capture_output=True, text=True, check=True
    )
    size, peak_kib = map(int, done.stdout.split())
    assert size == 200 * MIB
    assert peak_kib < 128 * 1024


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("gzip", ("gzip",)),
        ("gzip", ("pigz", "-b", "128")),
        ("gzip", ("bgzip",)),
        ("xz", ("xz", "-1", "-T2", "--block-size=200KiB")),
        ("xz", ("xz", "-9e", "--check=sha256")),
        ("xz", ("xz", "-0", "--check=crc32")),
        ("xz", ("xz", "-0", "--x86", "--lzma2")),
        ("xz", ("pixz",)),
        ("zstd", ("zstd", "-q", "-T2", "-1")),
        ("zstd", ("zstd", "-q", "--ultra", "-22")),
        ("zstd", ("zstd", "-q", "--no-check", "--long=27")),
        ("zstd", ("pzstd", "-q", "-p", "4", "-1")),
        ("bzip2", ("bzip2", "-1")),
        ("bzip2", ("pbzip2",)),
        ("bzip2", ("lbzip2",)),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_programs_write(kind: str, words: tuple[str, ...], tmp_path: Path) -> None:
    data = random.Random(5).randbytes(3 * MIB) + bytes(5 * MIB) + pattern(9, MIB + 17)
    (tmp_path / "d.raw").write_bytes(data)
    packed = run_tool(tmp_path / "d.raw", tmp_path / ("d.raw" + SUFFIXES[kind]), *words)
    with vhdfast.open_image(packed) as image:
        assert image.info().stream == kind
        assert image.pread(0, len(data) + 1) == data


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_documented_and_has_tests_of_its_own(kind: str) -> None:
    page = (ROOT / "docs" / "formats" / "streams.md").read_text()
    assert f"| {kind} |" in page
    for suffix in STREAMS[kind].suffixes:
        assert f"`{suffix}`" in page
    assert (Path(__file__).parent / f"test_{kind}.py").exists()
