"""Raw disks: the file's bytes, its size, and when a file counts as one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import vhdfast
from vhdfast.errors import ImageError, InvalidImageError, UnknownFormatError

MIB = 1 << 20


def test_the_disk_is_the_file(small_disk: Path) -> None:
    with vhdfast.open_image(small_disk) as image:
        assert image.info().format == "raw"
        assert image.virtual_size == 5 * MIB + 512
        assert image.pread(0, image.virtual_size) == small_disk.read_bytes()


@pytest.mark.parametrize("size", [1, 511, 513, 4097])
def test_sizes_off_sectors_are_kept(size: int, tmp_path: Path) -> None:
    path = tmp_path / "odd.img"
    path.write_bytes(b"y" * size)
    with vhdfast.open_image(path) as image:
        assert (image.virtual_size, image.pread(0, 9999)) == (size, b"y" * size)


def test_an_empty_file_is_no_disk(tmp_path: Path) -> None:
    (tmp_path / "e.raw").touch()
    with pytest.raises(InvalidImageError, match="empty"):
        vhdfast.open_image(tmp_path / "e.raw")


SIGNS = {
    "ext4": (0x438, b"\x53\xef"),
    "XFS": (0, b"XFSB"),
    "btrfs": (0x10040, b"_BHRfS_M"),
    "LVM": (0x218, b"LVM2 001"),
    "GPT": (512, b"EFI PART"),
    "GPT of 4096-byte sectors": (4096, b"EFI PART"),
    "swap": (0xFF6, b"SWAPSPACE2"),
    "a boot sector": (510, b"\x55\xaa"),
}


@pytest.mark.parametrize("sign", SIGNS.values(), ids=SIGNS.keys())
def test_a_known_content_speaks_for_a_raw_disk(
    sign: tuple[int, bytes], tmp_path: Path
) -> None:
    content = bytearray(2 * MIB)
    content[sign[0] : sign[0] + len(sign[1])] = sign[1]
    (tmp_path / "thing").write_bytes(content)
    with vhdfast.open_image(tmp_path / "thing") as image:
        assert image.info().format == "raw"


def test_nothing_that_speaks_for_a_disk_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "thing").write_bytes(b"some text\n" * 1000)
    with pytest.raises(UnknownFormatError, match="no known format matches"):
        vhdfast.open_image(tmp_path / "thing")
    with vhdfast.open_image(tmp_path / "thing", "raw") as image:
        assert image.virtual_size == 10_000


def test_gpt_at_4096_bytes_means_sectors_of_4096(tmp_path: Path) -> None:
    content = bytearray(MIB)
    content[4096:4104] = b"EFI PART"
    (tmp_path / "d.img").write_bytes(content)
    with vhdfast.open_image(tmp_path / "d.img") as image:
        assert image.sector_size == 4096


def test_an_encrypted_disk_is_taken_as_it_is_and_noticed(tmp_path: Path) -> None:
    content = b"LUKS\xba\xbe\x00\x01" + bytes(MIB - 8)
    (tmp_path / "d.img").write_bytes(content)
    with vhdfast.open_image(tmp_path / "d.img") as image:
        assert [(notice.code, notice.offset) for notice in image.notices] == [("encrypted", 0)]
        assert image.pread(0, MIB) == content


def test_a_directory_is_no_disk(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="directory"):
        vhdfast.open_image(tmp_path)


def test_a_block_device_is_read_to_its_end(
    small_disk: Path, tmp_path: Path, as_root: None
) -> None:
    found = subprocess.run(
        ["losetup", "--find", "--show", "--read-only", small_disk], capture_output=True, text=True
    )
    if found.returncode:
        pytest.skip(f"no loop device: {found.stderr.strip()}")
    device = found.stdout.strip()
    try:
        with vhdfast.open_image(device) as image:
            assert (image.info().subformat, image.virtual_size) == ("device", 5 * MIB + 512)
        vhdfast.convert(device, tmp_path / "out.vhd")
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
    written = (tmp_path / "out.vhd").read_bytes()
    assert written[: 5 * MIB + 512] == small_disk.read_bytes()
    assert os.path.getsize(tmp_path / "out.vhd") == 6 * MIB + 512
