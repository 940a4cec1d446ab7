"""What qemu-img writes, vhdfast reads to the same bytes, and the other way round."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

import vhdfast

MIB = 1 << 20
Qemu = Callable[..., str]

WRITERS = {
    "vhdx-dynamic": ("vhdx", "subformat=dynamic"),
    "vhdx-fixed": ("vhdx", "subformat=fixed"),
    "vhdx-1MiB-blocks": ("vhdx", "subformat=dynamic,block_size=1048576"),
    "vhdx-256MiB-blocks": ("vhdx", "subformat=dynamic,block_size=268435456"),
    "vhdx-zero-blocks": ("vhdx", "subformat=dynamic,block_state_zero=on"),
    "vhd-dynamic": ("vpc", "subformat=dynamic,force_size"),
    "vhd-dynamic-chs": ("vpc", "subformat=dynamic"),
    "vhd-fixed": ("vpc", "subformat=fixed,force_size"),
    "vhd-fixed-chs": ("vpc", "subformat=fixed"),
}


@pytest.fixture
def islands(tmp_path: Path) -> Path:
    """A raw disk of 70 MiB with data in odd places, an MBR signature in front."""
    path = tmp_path / "islands.raw"
    noise = random.Random(7)
    with open(path, "wb") as file:
        file.truncate(70 * MIB)
        for _ in range(40):
            file.seek(noise.randrange(70 * MIB - 400_000) // 512 * 512)
            file.write(noise.randbytes(noise.randrange(1, 600) * 512))
        file.seek(510)
        file.write(b"\x55\xaa")
        file.seek(70 * MIB - 512)
        file.write(noise.randbytes(512))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_what_qemu_writes_is_read_to_the_same_bytes(
    writer: str, islands: Path, tmp_path: Path, qemu_img: Qemu
) -> None:
    format_name, options = WRITERS[writer]
    image, flat = tmp_path / "image", tmp_path / "flat.raw"
    qemu_img("convert", "-f", "raw", "-O", format_name, "-o", options, islands, image)
    qemu_img("convert", "-f", format_name, "-O", "raw", image, flat)

    with vhdfast.open_image(image) as disk:
        content = disk.pread(0, disk.virtual_size)

    assert hashlib.sha256(content).hexdigest() == sha256(flat)


@pytest.mark.parametrize("jobs", [1, 8])
def test_what_vhdfast_writes_is_equal_for_qemu(
    jobs: int, islands: Path, tmp_path: Path, qemu_img: Qemu
) -> None:
    target = tmp_path / "out.vhd"
    vhdfast.convert(islands, target, jobs=jobs)
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "vpc", islands, target)


def test_qemu_sees_the_exact_size_of_the_footer(
    islands: Path, tmp_path: Path, qemu_img: Qemu
) -> None:
    target = tmp_path / "out.vhd"
    vhdfast.convert(islands, target, size=71 * MIB + 1)
    assert '"virtual-size": 75497472' in qemu_img("info", "-f", "vpc", "--output=json", target)


def test_no_data_is_mapped_where_qemu_sees_none(
    islands: Path, tmp_path: Path, qemu_img: Qemu
) -> None:
    import json

    image = tmp_path / "image.vhd"
    qemu_img("convert", "-f", "raw", "-O", "vpc", "-o", "subformat=dynamic,force_size", islands,
             image)  # fmt: skip
    theirs = json.loads(qemu_img("map", "-f", "vpc", "--output=json", image))
    data = [(row["start"], row["length"]) for row in theirs if row["data"] and not row["zero"]]

    with vhdfast.open_image(image) as disk:
        ours = [
            (extent.offset, extent.length)
            for extent in disk.extents()
            if extent.kind is vhdfast.Kind.DATA
        ]

    def covered(ranges: list[tuple[int, int]]) -> set[int]:
        return {at for start, length in ranges for at in range(start, start + length, 512)}

    assert ours
    assert covered(ours) <= covered(data)
