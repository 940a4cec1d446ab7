"""Telling formats apart: no damaged or foreign image passes for a raw disk."""

from __future__ import annotations

from pathlib import Path

import pytest

import vhdfast
from vhdfast.errors import (
    AmbiguousFormatError,
    UnknownFormatError,
    UnsupportedImageError,
    UsageError,
)

MIB = 1 << 20


def write(path: Path, size: int, *parts: tuple[int, bytes]) -> Path:
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, data in parts:
            file.seek(offset)
            file.write(data)
    return path


FOREIGN = {
    "vmdk": (0, b"KDMV\x01\x00\x00\x00"),
    "qed": (0, b"QED\x00"),
    "gzip": (0, b"\x1f\x8b\x08\x00"),
    "xz": (0, b"\xfd7zXZ\x00"),
    "dmg": (MIB - 512, b"koly"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_known_formats_that_are_not_read_are_named(name: str, tmp_path: Path) -> None:
    # The boot signature speaks for a raw disk; the other format's must win.
    path = write(tmp_path / "d.img", MIB, (510, b"\x55\xaa"), FOREIGN[name])
    with pytest.raises(UnsupportedImageError, match=rf"{name}.*--from raw"):
        vhdfast.open_image(path)
    with vhdfast.open_image(path, "raw") as image:
        assert image.virtual_size == MIB


def test_two_formats_at_once_are_ambiguous(tmp_path: Path) -> None:
    path = write(tmp_path / "d", 2 * MIB, (0, b"vhdxfile"), (2 * MIB - 512, b"conectix"))
    with pytest.raises(AmbiguousFormatError, match=r"vhd \(.*\) and vhdx \(.*\)"):
        vhdfast.open_image(path)


@pytest.mark.parametrize(
    ("offset", "sign", "name"),
    [
        (65536, b"head", "vhdx"),
        (131072, b"head", "vhdx"),
        (196608, b"regi", "vhdx"),
        (512, b"cxsparse", "vhd"),
        (MIB - 1024, b"conectix", "vhd"),
        (257, b"ustar\x0000", "ova"),
    ],
)
def test_a_damaged_image_is_not_taken_for_raw(
    offset: int, sign: bytes, name: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "d.raw", MIB, (510, b"\x55\xaa"), (offset, sign))
    with pytest.raises(UnknownFormatError, match=f"damaged {name} image: .*--from raw"):
        vhdfast.open_image(path)


def test_an_unknown_name_lists_the_known_ones(small_disk: Path) -> None:
    with pytest.raises(UsageError, match="raw, .*vhd, vhdx"):
        vhdfast.open_image(small_disk, "floppy")
