"""Differencing disks: what qemu-img makes of them, and that the bytes here are the right ones."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support import KIB, MIB, pattern
from tests.support.build_vhd import DynamicVhd, differencing
from tests.support.build_vhdx import linkage, write_vhdx
from vhdfast import convert, open_image

Qemu = Callable[..., str]


def test_qemu_reads_a_differencing_vhd_as_if_it_had_no_parent(
    tmp_path: Path, qemu_img: Qemu
) -> None:
    size, block = 8 * MIB, 2 * MIB
    base = DynamicVhd(size)
    for number in range(4):
        base.store(number, pattern(number, block))
    base.footer.update(creator=b"win ", unique_id=bytes(range(1, 17)))
    base.build().write(tmp_path / "base.vhd")
    child = differencing(size, relative=".\\base.vhd", absolute="C:\\disks\\base.vhd")
    child.footer.update(creator=b"win ", unique_id=bytes(16))
    # The first 4 KiB of block 1 are changed; what lies behind them in the file is nothing.
    child.store(1, b"\xee" * block, bitmap=b"\xff")
    path = child.build().write(tmp_path / "child.vhd")

    flat, merged = tmp_path / "flat.raw", tmp_path / "merged.vhd"
    qemu_img("convert", "-f", "vpc", "-O", "raw", path, flat)
    wrong = bytes(block) + b"\xee" * block + bytes(2 * block)
    assert flat.read_bytes() == wrong

    right = b"".join(pattern(number, block) for number in range(4))
    right = right[:block] + b"\xee" * 4 * KIB + right[block + 4 * KIB :]
    with open_image(path) as image:
        assert image.pread(0, size) == right
    # And qemu-img reads the merged disk to the same bytes.
    convert(path, merged)
    qemu_img("convert", "-f", "vpc", "-O", "raw", merged, flat)
    assert flat.read_bytes() == right


def test_qemu_refuses_a_differencing_vhdx(tmp_path: Path, qemu_img: Qemu) -> None:
    body = pattern(1, MIB)
    base = write_vhdx(tmp_path / "base.vhdx", virtual_size=2 * MIB, blocks={0: body})
    path = write_vhdx(
        tmp_path / "child.vhdx",
        virtual_size=2 * MIB,
        partial={1: body},
        bitmaps={0: bytes(256) + b"\xff"},
        parent={"parent_linkage": linkage(), "relative_path": ".\\base.vhdx"},
    )
    qemu_img("check", "-f", "vhdx", base)
    done = subprocess.run(
        ["qemu-img", "convert", "-f", "vhdx", "-O", "raw", str(path), str(tmp_path / "flat.raw")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "not supported" in done.stderr

    merged, flat = tmp_path / "merged.vhd", tmp_path / "flat.raw"
    convert(path, merged)
    qemu_img("convert", "-f", "vpc", "-O", "raw", merged, flat)
    assert flat.read_bytes() == body + body[: 4 * KIB] + bytes(MIB - 4 * KIB)
