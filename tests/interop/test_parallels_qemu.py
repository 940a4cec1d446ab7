"""qemu-img writes and reads Parallels images: the same bytes both ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import KIB, MIB, pattern
from tests.support.build_parallels import EXTENDED, OLD, parallels
from vhdfast import open_image

Qemu = Callable[..., str]


@pytest.mark.parametrize("cluster", [64 * KIB, MIB])
def test_what_qemu_writes(tmp_path: Path, qemu_img: Qemu, cluster: int) -> None:
    raw, path = tmp_path / "d.raw", tmp_path / "d.hdd"
    content = bytearray(5 * MIB + 512)
    content[MIB + 5 : 2 * MIB] = pattern(1, MIB - 5)
    content[-100:] = pattern(2, 100)
    raw.write_bytes(content)
    qemu_img(
        "convert", "-f", "raw", "-O", "parallels", "-o", f"cluster_size={cluster}", raw, path
    )
    with open_image(path) as image:
        assert image.info().format == "parallels"
        assert image.pread(0, image.virtual_size) == bytes(content)


@pytest.mark.parametrize("magic", [OLD, EXTENDED])
@pytest.mark.parametrize("cluster", [64 * KIB, 63 * 512])
def test_the_builders_images_are_parallels_to_qemu(
    tmp_path: Path, qemu_img: Qemu, magic: bytes, cluster: int
) -> None:
    path, flat = tmp_path / "d.hdd", tmp_path / "flat.raw"
    clusters = {5: pattern(5, cluster), 0: pattern(1, cluster), 3: pattern(3, cluster)}
    parallels(
        virtual_size=7 * cluster, clusters=clusters, cluster_size=cluster, magic=magic
    ).write(path)
    qemu_img("convert", "-f", "parallels", "-O", "raw", path, flat)
    with open_image(path) as image:
        assert image.pread(0, image.virtual_size) == flat.read_bytes()
