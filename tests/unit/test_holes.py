"""Holes of the file that holds an image are zeros of the disk, without being read."""

from __future__ import annotations

from pathlib import Path

import vhdfast
from vhdfast import Extent, Kind

MIB = 1 << 20


def sparse_fixed_vhd(path: Path) -> Path:
    """4 MiB, of which 64 KiB at 1 MiB are stored."""
    raw = path.with_suffix(".raw")
    with open(raw, "wb") as file:
        file.truncate(4 * MIB)
        file.seek(MIB)
        file.write(b"d" * 65536)
    vhdfast.convert(raw, path)
    return path


def test_a_hole_in_a_raw_file_is_zero(tmp_path: Path) -> None:
    sparse_fixed_vhd(tmp_path / "x.vhd")
    with vhdfast.open_image(tmp_path / "x.raw") as image:
        assert list(image.extents()) == [
            Extent(0, MIB, Kind.ZERO),
            Extent(MIB, 65536, Kind.DATA, 0, MIB),
            Extent(MIB + 65536, 3 * MIB - 65536, Kind.ZERO),
        ]


def test_a_hole_in_a_fixed_vhd_is_zero(tmp_path: Path) -> None:
    with vhdfast.open_image(sparse_fixed_vhd(tmp_path / "x.vhd")) as image:
        assert [(e.offset, e.length) for e in image.extents() if e.kind is Kind.DATA] == [
            (MIB, 65536)
        ]


def test_without_asking_all_of_it_is_data(tmp_path: Path) -> None:
    with vhdfast.open_image(sparse_fixed_vhd(tmp_path / "x.vhd"), ask_holes=False) as image:
        assert list(image.extents()) == [Extent(0, 4 * MIB, Kind.DATA, 0, 0)]


def test_one_row_is_answered_where_one_is_asked_for(tmp_path: Path) -> None:
    with vhdfast.open_image(sparse_fixed_vhd(tmp_path / "x.vhd")) as image:
        window = image.extents(MIB // 2, 3 * MIB, max_rows=1)
        assert list(window) == [Extent(MIB // 2, MIB // 2, Kind.ZERO)]
