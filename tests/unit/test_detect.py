"""Telling formats apart: no damaged or foreign image passes for a raw disk."""

from __future__ import annotations

from pathlib import Path

import pytest

import vhdfast
from vhdfast.errors import (
    AmbiguousFormatError,
    CorruptImageError,
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
    "qed": (0, b"QED\x00"),
    "zip": (0, b"PK\x03\x04"),
    "7z": (0, b"7z\xbc\xaf\x27\x1c"),
    "dmg": (MIB - 512, b"koly"),
    r"bochs \(sparse\)": (0, b"\xce\x8a\x46\x02"),
    "sparseimage": (0, b"sprs\x00\x00\x00\x03"),
    "encrypted DMG": (0, b"encrcdsa"),
    "ASIF": (0, b"shdw\x00\x00\x00\x01"),
    "VMA": (0, b"VMA\x00\x00\x00\x00\x01"),
    "partclone": (0, b"partclone-image"),
    "ntfsclone": (0, b"\x00ntfsclone-image"),
    "partimage": (0, b"PaRtImAgE-VoLuMe"),
    "RAR": (0, b"Rar!\x1a\x07\x01\x00"),
    "lz4": (0, b"\x04\x22\x4d\x18"),
    "lzop": (0, b"\x89LZO\x00\r\n\x1a\n"),
    "lzip": (0, b"LZIP\x01"),
    r"EWF \(Ex01\)": (0, b"EVF2\r\n\x81\x00"),
    r"EWF \(L01\)": (0, b"LVF\x09\x0d\x0a\xff\x00"),
    "Git LFS pointer": (0, b"version https://git-lfs.github.com/spec/v1\noid sha256:"),
    "web page": (0, b"<!DOCTYPE html>\n<html>"),
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


@pytest.mark.parametrize("offset", [0, MIB - 512, MIB - 511])
def test_a_raw_disk_with_the_cookie_of_a_footer_is_told_how_it_is_read(
    offset: int, tmp_path: Path
) -> None:
    path = write(tmp_path / "d.raw", MIB, (510, b"\x55\xaa"), (offset, b"conectix"))
    with pytest.raises(CorruptImageError, match="nothing else confirms.*--from raw"):
        vhdfast.open_image(path)
    with vhdfast.open_image(path, "raw") as image:
        assert image.pread(offset, 8) == b"conectix"


def test_an_unknown_name_lists_the_known_ones(small_disk: Path) -> None:
    with pytest.raises(UsageError, match="raw, .*vhd, vhdx"):
        vhdfast.open_image(small_disk, "floppy")
