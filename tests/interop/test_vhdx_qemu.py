"""qemu-img reads what the tests' VHDX builder writes, to the bytes that vhdfast reads."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.build_vhdx import BAT, MIB, Data, Entry, write_vhdx
from vhdfast import open_image

Qemu = Callable[..., str]
GIB = 1 << 30


def body(number: int) -> bytes:
    return (b"block %d " % number) * 20000


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("block_size", [MIB, 32 * MIB])
def test_the_builders_images_are_vhdx_to_qemu(
    tmp_path: Path, qemu_img: Qemu, fixed: bool, block_size: int
) -> None:
    # Larger than a chunk of 4 GiB, so that the table has a bitmap's entry in its midst.
    count = (5 * GIB) // block_size
    blocks = {number: body(number) for number in (count - 1, 0, 4 * GIB // block_size)}
    path = write_vhdx(
        tmp_path / "d.vhdx",
        virtual_size=count * block_size - 4096,
        block_size=block_size,
        fixed=fixed,
        blocks=blocks,
        states={1: 2},
    )
    flat = tmp_path / "flat.raw"
    qemu_img("convert", "-f", "vhdx", "-O", "raw", path, flat)

    with open_image(path) as image, open(flat, "rb") as theirs:
        assert flat.stat().st_size == image.virtual_size
        for number, expected in blocks.items():
            theirs.seek(number * block_size)
            content = image.pread(number * block_size, MIB)
            assert content == theirs.read(MIB)
            assert content[: len(expected)] == expected
    qemu_img("check", "-f", "vhdx", path)


def test_qemu_replays_the_builders_log_to_the_same_bytes(tmp_path: Path, qemu_img: Qemu) -> None:
    # Blocks 0 and 1 change places, in the log only.
    update = struct.pack("<QQ", 5 * MIB | 6, 4 * MIB | 6).ljust(4096, b"\0")
    path = write_vhdx(
        tmp_path / "d.vhdx",
        virtual_size=3 * MIB,
        blocks={0: body(0), 1: body(1)},
        entries=[Entry(1), Entry(2, [Data(BAT, update)])],
    )
    with open_image(path) as image:
        ours = image.pread(0, 3 * MIB)
    flat = tmp_path / "flat.raw"
    qemu_img("check", "-r", "all", "-f", "vhdx", path)
    qemu_img("convert", "-f", "vhdx", "-O", "raw", path, flat)

    assert ours.startswith(body(1))
    assert ours == flat.read_bytes()
