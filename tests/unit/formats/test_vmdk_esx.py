"""VMDK: the sparse extents of ESX, COWD and seSparse."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.support import pattern, peek, poke
from tests.support.build_vmdk import SECTOR, write_cowd, write_descriptor, write_sesparse
from tests.support.reading import opened, the_map
from vhdfast import Kind
from vhdfast.errors import (
    CorruptImageError,
    ImageError,
    InvalidImageError,
    UnsupportedImageError,
)

Z, D = Kind.ZERO, Kind.DATA


# ---- COWD ---------------------------------------------------------------------------------------


def test_cowd_grains_may_be_single_sectors(tmp_path: Path) -> None:
    grains = {n: pattern(n, SECTOR) for n in (0, 2, 4095, 4096, 12000)}
    layout = write_cowd(tmp_path / "d.vmdk", 12288, grains)
    with opened(layout.path) as image:
        assert image.virtual_size == 12288 * 512
        assert image.info().subformat == "COWD extent"
        assert [n.code for n in image.notices] == ["extent-alone"]
        found = [row for row in the_map(image, 3) if row[2] == D]
        assert {offset // 512: place for offset, _, _, place in found if offset} == {
            n: layout.grains[n] for n in (2, 4095, 4096, 12000)
        }
        for number, body in grains.items():
            assert image.pread(number * 512, 512) == body


def test_cowd_under_a_descriptor(tmp_path: Path) -> None:
    write_cowd(tmp_path / "d-delta.vmdk", 64, {1: b"grain"}, grain=16)
    path = write_descriptor(
        tmp_path / "d.vmdk", ['RW 64 VMFSSPARSE "d-delta.vmdk"'], create_type="vmfsSparse"
    )
    with opened(path) as image:
        assert image.pread(8192, 5) == b"grain"
        assert image.notices == ()
        assert image.info().subformat == "vmfsSparse"
        assert image.info().block_size == 8192


def test_cowd_that_was_not_closed_is_noticed(tmp_path: Path) -> None:
    layout = write_cowd(tmp_path / "d.vmdk", 64, {1: b"grain"}, unclean=1)
    with opened(layout.path) as image:
        assert "not-closed" in [n.code for n in image.notices]


def test_cowd_that_names_a_parent_is_refused_on_its_own(tmp_path: Path) -> None:
    layout = write_cowd(tmp_path / "d-delta.vmdk", 64, {1: b"x"}, parent=b"/vmfs/base.vmdk")
    with pytest.raises(UnsupportedImageError, match="only the changes to '/vmfs/base") as caught:
        opened(layout.path)
    assert caught.value.offset == 32


@pytest.mark.parametrize(
    ("at", "value", "kind", "offset", "message"),
    [
        (4, 2, UnsupportedImageError, 4, "version 2"),
        (16, 0, InvalidImageError, 16, "grain size is 0"),
        (16, 3, InvalidImageError, 16, "grain size is 3"),
        (16, 1 << 22, InvalidImageError, 16, "grain size"),
        (24, 0, CorruptImageError, 24, "has 0 entries"),
        (12, 0, InvalidImageError, None, "the disk has 0 bytes"),
        (20, 0xFFFFFFFF, CorruptImageError, None, "grain directory takes"),
    ],
)
def test_cowd_headers_that_are_refused(
    tmp_path: Path, at: int, value: int, kind: type[ImageError], offset: int | None, message: str
) -> None:
    layout = write_cowd(tmp_path / "d.vmdk", 4096, {1: b"x"})
    poke(layout.path, at, struct.pack("<I", value))
    with pytest.raises(kind, match=message) as caught:
        opened(layout.path)
    if offset is not None:
        assert caught.value.offset == offset


def test_cowd_grains_outside_the_file_are_damage(tmp_path: Path) -> None:
    layout = write_cowd(tmp_path / "d.vmdk", 4096, {1: b"x"})
    poke(layout.path, layout.tables[0] + 8, b"\xff\xff\xff\xff")
    with pytest.raises(CorruptImageError, match="grain 2 ") as caught, opened(layout.path) as image:
        image.pread(0, 1)
    assert caught.value.offset == layout.tables[0] + 8


# ---- seSparse -----------------------------------------------------------------------------------


def test_sesparse_grains(tmp_path: Path) -> None:
    # The second table's entries, and numbers whose low twelve bits stand apart from the others.
    grains = {n: pattern(n, 4096) for n in (0, 7, 4095, 4096, 5000)}
    layout = write_sesparse(tmp_path / "d.vmdk", 8 * 8000, grains)
    with opened(layout.path) as image:
        assert image.virtual_size == 8000 * 4096
        assert image.info().subformat == "seSparse extent"
        for number, body in grains.items():
            assert image.pread(number * 4096, 4096) == body
        assert image.extents().bytes_of(D) == 5 * 4096
        assert [n.code for n in image.notices] == ["extent-alone"]


def test_sesparse_numbers_above_4096(tmp_path: Path) -> None:
    grains = {n: b"%d" % n for n in range(5000)}
    layout = write_sesparse(tmp_path / "d.vmdk", 8 * 5000, grains)
    with opened(layout.path) as image:
        assert the_map(image) == [(0, 5000 * 4096, D, layout.grains[0])]
        assert image.pread(4097 * 4096, 4) == b"4097"


@pytest.mark.parametrize("kind", [1, 2])
def test_sesparse_grains_that_are_zeros(tmp_path: Path, kind: int) -> None:
    layout = write_sesparse(tmp_path / "d.vmdk", 64, {0: b"x", 1: kind})
    with opened(layout.path) as image:
        assert the_map(image) == [(0, 4096, D, layout.grains[0]), (4096, 28672, Z, None)]


def test_sesparse_with_a_journal_is_refused(tmp_path: Path) -> None:
    layout = write_sesparse(tmp_path / "d.vmdk", 64, {0: b"x"}, replay=1)
    with pytest.raises(UnsupportedImageError, match="journal .* was not replayed") as caught:
        opened(layout.path)
    assert caught.value.offset == 512 + 24


@pytest.mark.parametrize(
    ("at", "value", "kind", "offset", "message"),
    [
        (8, 1, UnsupportedImageError, 8, "version"),
        (16, 1 << 55, InvalidImageError, 16, "capacity"),
        (16, 1 << 40, CorruptImageError, None, "grain directory"),
        (24, 16, UnsupportedImageError, 24, "grain size"),
        (32, 32, UnsupportedImageError, 32, "size of grain tables"),
        (40, 1, UnsupportedImageError, 40, "flags"),
        (80, 1 << 60, InvalidImageError, 80, "volatile header"),
        (80, 1 << 40, CorruptImageError, None, "volatile header"),
        (80, 0, InvalidImageError, 0, "volatile header begins with"),
        (136, 0, CorruptImageError, 136, "grain directory has 0 bytes"),
        (200, 1 << 63, InvalidImageError, 192, "the grains"),
    ],
)
def test_sesparse_headers_that_are_refused(
    tmp_path: Path, at: int, value: int, kind: type[ImageError], offset: int | None, message: str
) -> None:
    layout = write_sesparse(tmp_path / "d.vmdk", 64, {0: b"x"})
    poke(layout.path, at, struct.pack("<Q", value))
    with pytest.raises(kind, match=message) as caught:
        opened(layout.path)
    if offset is not None:
        assert caught.value.offset == offset


@pytest.mark.parametrize(
    "entry", [4 << 60, 15 << 60, 1, 3 << 60 | 1 << 48, 3 << 60 | 1, (1 << 64) - 1]
)
def test_sesparse_entries_that_mean_nothing_are_damage(tmp_path: Path, entry: int) -> None:
    layout = write_sesparse(tmp_path / "d.vmdk", 64, {0: b"x"})
    poke(layout.path, layout.tables[0] + 8, struct.pack("<Q", entry))
    with pytest.raises(CorruptImageError, match="grain 1 ") as caught, opened(layout.path) as image:
        image.pread(0, 1)
    assert caught.value.offset == layout.tables[0] + 8


@pytest.mark.parametrize("entry", [1, 1 << 60 | 1, 2 << 60, 1 << 60 | 1 << 32, (1 << 64) - 1])
def test_sesparse_tables_that_are_not_there_are_damage(tmp_path: Path, entry: int) -> None:
    layout = write_sesparse(tmp_path / "d.vmdk", 64, {0: b"x"})
    poke(layout.path, layout.directory, struct.pack("<Q", entry))
    with (
        pytest.raises(CorruptImageError, match="entry 0 of the grain directory") as caught,
        opened(layout.path) as image,
    ):
        image.pread(0, 1)
    assert caught.value.offset == layout.directory


def test_sesparse_grains_that_share_bytes_are_damage(tmp_path: Path) -> None:
    layout = write_sesparse(tmp_path / "d.vmdk", 64, {0: b"x", 3: b"y"})
    table = layout.tables[0]
    poke(layout.path, table + 24, peek(layout.path, table, 8))
    with pytest.raises(CorruptImageError, match="shares bytes"), opened(layout.path) as image:
        image.pread(0, 1)
