"""qemu-img writes and reads VDI: the same bytes both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import MIB, pattern
from tests.support.build_vdi import DISCARDED, STATIC, vdi
from vhdfast import open_image

Qemu = Callable[..., str]


@pytest.mark.parametrize("static", ["on", "off"])
@pytest.mark.parametrize("size", [9 * MIB, 5 * MIB + 512])
def test_what_qemu_writes(tmp_path: Path, qemu_img: Qemu, static: str, size: int) -> None:
    raw, path = tmp_path / "d.raw", tmp_path / "d.vdi"
    content = bytearray(size)
    content[MIB + 5 : 2 * MIB] = pattern(1, MIB - 5)
    content[-100:] = pattern(2, 100)
    raw.write_bytes(content)
    qemu_img("convert", "-f", "raw", "-O", "vdi", "-o", f"static={static}", raw, path)
    with open_image(path) as image:
        assert image.info().subformat == ("static" if static == "on" else "dynamic")
        assert image.pread(0, size) == bytes(content)
        assert image.virtual_size == size


@pytest.mark.parametrize("image_type", [1, STATIC])
@pytest.mark.parametrize("size", [6 * MIB, 5 * MIB + 513])
def test_the_builders_images_are_vdi_to_qemu(
    tmp_path: Path, qemu_img: Qemu, image_type: int, size: int
) -> None:
    path, flat = tmp_path / "d.vdi", tmp_path / "flat.raw"
    blocks = {5: pattern(5, MIB), 0: pattern(1, MIB), 3: pattern(3, MIB)}
    vdi(
        virtual_size=size, blocks=blocks, entries={2: DISCARDED}, image_type=image_type
    ).write(path)
    qemu_img("convert", "-f", "vdi", "-O", "raw", path, flat)
    assert "No errors" in qemu_img("check", "-f", "vdi", path)
    with open_image(path) as image:
        assert image.virtual_size == flat.stat().st_size
        assert image.pread(0, image.virtual_size) == flat.read_bytes()
        info = json.loads(qemu_img("info", "--output=json", path))
        assert info["virtual-size"] == image.virtual_size
