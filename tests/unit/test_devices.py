"""Block devices as sources: a raw disk, and images that lie on a device."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vhdfast
from vhdfast.errors import TargetError

MIB = 1 << 20

pytestmark = pytest.mark.root


@pytest.fixture
def attach(as_root: None) -> Iterator[Callable[[Path], str]]:
    """attach(file): a read-only loop device of it."""
    devices: list[str] = []

    def make(file: Path) -> str:
        command = ["losetup", "--find", "--show", "--read-only", str(file)]
        found = subprocess.run(command, capture_output=True, text=True)
        if found.returncode:
            pytest.skip(f"no loop device: {found.stderr.strip()}")
        devices.append(found.stdout.strip())
        return devices[-1]

    yield make
    for device in devices:
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.mark.parametrize("format", ["vhdx", "qcow2", "vhd"])
def test_an_image_on_a_device(
    format: str, attach: Callable[[Path], str], small_disk: Path, tmp_path: Path, qemu_img: Any
) -> None:
    driver = {"vhd": "vpc"}.get(format, format)
    words = ("-o", "subformat=dynamic,force_size=on") if format == "vhd" else ()
    image = tmp_path / "image"
    qemu_img("convert", "-f", "raw", "-O", driver, *words, small_disk, image)
    with open(image, "r+b") as file:
        file.truncate(-(-image.stat().st_size // 512) * 512)
    device = attach(image)
    with vhdfast.open_image(device) as opened:
        assert opened.info().format == format
        assert opened.layer.source.is_device
    vhdfast.convert(device, tmp_path / "o.vhd", verify_copy=True)
    assert vhdfast.compare(tmp_path / "o.vhd", small_disk).same


def test_zeros_of_a_device_are_found_while_copying(
    attach: Callable[[Path], str], small_disk: Path, tmp_path: Path
) -> None:
    result = vhdfast.convert(attach(small_disk), tmp_path / "o.vhd", verify_copy=True)
    assert result.plan.zero == 0
    assert result.zeros_found > 4 * MIB
    assert (tmp_path / "o.vhd").read_bytes()[: 5 * MIB + 512] == small_disk.read_bytes()


def test_a_device_is_not_its_own_target(
    attach: Callable[[Path], str], small_disk: Path, tmp_path: Path
) -> None:
    device = attach(small_disk)
    (tmp_path / "link").symlink_to(device)
    with pytest.raises(TargetError, match="same file"):
        vhdfast.convert(device, tmp_path / "link", force=True)
