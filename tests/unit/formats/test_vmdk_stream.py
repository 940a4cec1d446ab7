"""VMDK: stream-optimized extents."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from tests.support import KIB, MIB, pattern, poke
from tests.support.build_vmdk import SECTOR, descriptor, write_stream
from tests.support.far import Far
from tests.support.reading import opened
from vhdfast import Image, Kind
from vhdfast.errors import CorruptImageError, InvalidImageError, UnsupportedImageError
from vhdfast.files import FileSlice, SourceFile
from vhdfast.formats import open_format

GRAIN = 64 * KIB


def grains() -> dict[int, bytes]:
    return {number: pattern(number, GRAIN) for number in (0, 1, 5)}


@pytest.mark.parametrize("footer", [False, True])
def test_grains_are_unpacked(tmp_path: Path, footer: bool) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 1024, grains(), footer=footer)
    with opened(layout.path) as image:
        content = image.pread(0, 8 * GRAIN)
        assert image.info().details["extents"][0]["directory"] == ("footer" if footer else "header")
        assert image.info().subformat == "streamOptimized"
        assert image.notices == ()
    bodies = grains()
    assert content == b"".join(bodies.get(number, bytes(GRAIN)) for number in range(8))


def test_the_map_says_where_the_streams_lie(tmp_path: Path) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 1024, grains())
    with opened(layout.path) as image:
        rows = image.extents().rows
        found = rows[rows["kind"] == Kind.COMPRESSED]
        assert list(found["file_offset"]) == [layout.grains[n] + 12 for n in (0, 1, 5)]
        assert list(found["stored_length"]) == [
            len(zlib.compress(body, 6)) for body in grains().values()
        ]
        assert set(found["decoded_length"]) == {GRAIN}


@pytest.mark.parametrize("max_rows", [1, 2, 5])
def test_windows_of_any_size_give_the_same_map(tmp_path: Path, max_rows: int) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 1024, grains())
    with opened(layout.path) as image:
        parts = [extent for window in image.windows(max_rows=max_rows) for extent in window]
        whole = list(image.extents())
    assert [p for p in parts if p.kind == 3] == [w for w in whole if w.kind == 3]


def test_a_part_of_a_grain_can_be_read(tmp_path: Path) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 1024, grains())
    with opened(layout.path) as image:
        assert image.pread(GRAIN + 5000, 3000) == grains()[1][5000:8000]


@pytest.mark.parametrize("padding", [1, 511, 512, 10 * KIB, 3 * MIB])
def test_a_footer_is_found_before_padding(tmp_path: Path, padding: int) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 1024, grains(), padding=bytes(padding))
    with opened(layout.path) as image:
        assert image.pread(0, GRAIN) == grains()[0]


def test_padding_may_be_anything(tmp_path: Path) -> None:
    # What looks like a footer and has no footer's marker before it is none.
    noise = b"KDMV".ljust(SECTOR, b"\xff") * 3
    layout = write_stream(tmp_path / "d.vmdk", 1024, grains(), padding=noise)
    with opened(layout.path) as image:
        assert image.pread(0, GRAIN) == grains()[0]


def test_a_last_grain_may_be_short(tmp_path: Path) -> None:
    body = pattern(1, 3 * SECTOR)
    layout = write_stream(tmp_path / "d.vmdk", 131, {1: body})
    with opened(layout.path) as image:
        assert image.virtual_size == GRAIN + 3 * SECTOR
        assert image.pread(GRAIN, 3 * SECTOR) == body


def test_a_grain_may_be_larger_packed_than_plain(tmp_path: Path) -> None:
    body = bytes(pattern(7, GRAIN))
    layout = write_stream(tmp_path / "d.vmdk", 128, {0: body}, level=0)
    with opened(layout.path) as image:
        (row,) = image.extents().rows
        assert row["stored_length"] > GRAIN
        assert image.pread(0, GRAIN) == body


def test_a_grain_that_unpacks_to_less_is_damage(tmp_path: Path) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 256, {0: bytes(GRAIN - 1), 1: b""})
    with (
        opened(layout.path) as image,
        pytest.raises(CorruptImageError) as caught,
    ):
        image.pread(0, GRAIN)
    assert caught.value.offset == layout.grains[0] + 12


def test_a_name_in_the_descriptor_is_not_followed(tmp_path: Path) -> None:
    text = descriptor(['RDONLY 128 SPARSE "/etc/passwd"'], "streamOptimized")
    layout = write_stream(tmp_path / "d.vmdk", 128, {0: pattern(0, GRAIN)}, text=text)
    with opened(layout.path) as image:
        assert image.pread(0, 512) == pattern(0, 512)


def test_a_stream_without_descriptor_is_noticed(tmp_path: Path) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 128, {0: pattern(0, GRAIN)}, text=None)
    with opened(layout.path) as image:
        assert image.pread(0, 512) == pattern(0, 512)
        assert [notice.code for notice in image.notices] == ["extent-alone"]


def test_a_huge_stream_is_mapped_in_windows(tmp_path: Path) -> None:
    numbers = [0, 40_000, 70_000, 140_000]
    layout = write_stream(tmp_path / "d.vmdk", 150_000 * 8, dict.fromkeys(numbers, b"x" * 4096),
                          grain=8)  # fmt: skip
    with opened(layout.path) as image:
        found = [e.offset for window in image.windows() for e in window if e.kind == 3]
    assert found == [4096 * number for number in numbers]


def test_a_stream_inside_another_file(tmp_path: Path) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 1024, grains())
    inner = layout.path.read_bytes()
    (tmp_path / "d.ova").write_bytes(b"#" * 1536 + inner + b"KDMV" * 1000)
    part = FileSlice(SourceFile(tmp_path / "d.ova"), 1536, len(inner), "d.ova!d.vmdk")
    with Image(open_format(part, "vmdk")) as image:
        assert image.pread(0, 2 * GRAIN) == grains()[0] + grains()[1]
        assert image.pread(5 * GRAIN, GRAIN) == grains()[5]


@pytest.mark.parametrize("level", [0, 6])
def test_a_stream_over_a_network_is_not_asked_for_each_marker(tmp_path: Path, level: int) -> None:
    bodies = {n: pattern(n, GRAIN) for n in range(0, 600, 2)}
    layout = write_stream(tmp_path / "d.vmdk", 128 * 600, bodies, level=level)
    source = Far(layout.path.read_bytes())
    with Image(open_format(source, "vmdk")) as image:
        rows = image.extents().rows
        assert (rows["kind"] == Kind.COMPRESSED).sum() == 300
        assert len(source.asked) < 20
        for number in (0, 298, 511, 512, 598):
            assert image.pread(number * GRAIN, GRAIN) == bodies.get(number, bytes(GRAIN))


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "value", "offset", "message"),
    [
        (0, struct.pack("<Q", 129), 0, "is for sector 129, expected 128"),
        (8, struct.pack("<I", 0), 8, "gives 0 compressed bytes"),
        (8, struct.pack("<I", 4 * MIB + 1), 8, "expected 1 to 4194304"),
        (8, struct.pack("<I", 4 * MIB), 8, "the file ends at"),
    ],
)
def test_markers_that_are_wrong(
    tmp_path: Path, at: int, value: bytes, offset: int, message: str
) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 1024, grains())
    poke(layout.path, layout.grains[1] + at, value)
    with (
        pytest.raises(CorruptImageError, match=f"marker of grain 1 .*{message}") as caught,
        opened(layout.path) as image,
    ):
        image.pread(GRAIN, 512)
    assert caught.value.offset == layout.grains[1] + offset


def test_a_stream_that_is_no_zlib_is_damage(tmp_path: Path) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 128, streams={0: b"not a stream of zlib"})
    with opened(layout.path) as image, pytest.raises(CorruptImageError) as caught:
        image.pread(0, 512)
    assert caught.value.offset == layout.grains[0] + 12


def test_a_stream_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 1024, grains())
    for size in (layout.footer + 78, layout.footer, layout.directory, layout.grains[5] + 20):
        with open(layout.path, "r+b") as file:
            file.truncate(size)
        with pytest.raises(CorruptImageError, match="cut short") as caught:
            opened(layout.path)
        assert caught.value.offset == 56


def test_a_footer_for_another_disk_does_not_count(tmp_path: Path) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 1024, grains())
    poke(layout.path, layout.footer + 12, struct.pack("<Q", 2048))
    with pytest.raises(CorruptImageError, match="there is none in the last"):
        opened(layout.path)


@pytest.mark.parametrize(
    ("fields", "kind", "offset", "message"),
    [
        ({"compression": 2}, UnsupportedImageError, 77, "method 2"),
        ({"compression": 0}, InvalidImageError, 77, "both to say the same"),
        ({"flags": 0x10001}, UnsupportedImageError, 8, "both or neither"),
    ],
)
def test_streams_of_other_kinds(
    tmp_path: Path, fields: dict[str, int], kind: type[Exception], offset: int, message: str
) -> None:
    write_stream(tmp_path / "d.vmdk", 1024, grains(), **fields)
    with pytest.raises(kind, match=message) as caught:
        opened(tmp_path / "d.vmdk")
    assert caught.value.offset == offset  # type: ignore[attr-defined]


def test_grains_of_more_than_4_mib_are_refused_where_they_are_packed(tmp_path: Path) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 8192, {0: pattern(0, 4 * MIB)}, grain=8192)
    with opened(layout.path) as image:
        assert image.pread(0, 4 * MIB) == pattern(0, 4 * MIB)
    write_stream(tmp_path / "e.vmdk", 16384, {0: b""}, grain=16384)
    with pytest.raises(UnsupportedImageError, match="8388608 bytes") as caught:
        opened(tmp_path / "e.vmdk")
    assert caught.value.offset == 20
