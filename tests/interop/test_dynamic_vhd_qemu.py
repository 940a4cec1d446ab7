"""Dynamic VHDs that vhdfast writes, as qemu reads them and goes on writing them."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import vhdfast
from tests.support import MIB

Qemu = Callable[..., str]


@pytest.fixture
def islands(tmp_path: Path) -> Path:
    """41 MiB with data in odd places, and blocks of 2 MiB without any."""
    path = tmp_path / "islands.raw"
    noise = random.Random(5)
    with open(path, "wb") as file:
        file.truncate(41 * MIB)
        for _ in range(12):
            file.seek(noise.randrange(40 * MIB) // 512 * 512)
            file.write(noise.randbytes(noise.randrange(1, 600) * 512))
        file.seek(510)
        file.write(b"\x55\xaa")
        file.seek(41 * MIB - 512)
        file.write(noise.randbytes(512))
    return path


@pytest.mark.parametrize("jobs", [1, 8])
def test_qemu_reads_the_same_disk(jobs: int, islands: Path, tmp_path: Path, qemu_img: Qemu) -> None:
    target = tmp_path / "out.vhd"
    vhdfast.convert(islands, target, to="dynamic-vhd", jobs=jobs, verify_copy=True)
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "vpc", islands, target)
    assert '"virtual-size": 42991616' in qemu_img("info", "--output=json", target)
    assert target.stat().st_size < 41 * MIB


@pytest.mark.parametrize("empty", [False, True])
def test_qemu_goes_on_writing_it(
    empty: bool, islands: Path, tmp_path: Path, qemu_img: Qemu
) -> None:
    if shutil.which("qemu-io") is None:
        pytest.skip("qemu-io is not installed (apt install qemu-utils)")
    target, flat = tmp_path / "out.vhd", tmp_path / "flat.raw"
    if empty:
        vhdfast.create(target, 41 * MIB, to="dynamic-vhd")
        content = bytearray(41 * MIB)
    else:
        vhdfast.convert(islands, target, to="dynamic-vhd")
        content = bytearray(islands.read_bytes())
    free = next(at for at in range(0, 40 * MIB, 2 * MIB) if not any(content[at : at + 2 * MIB]))
    command = ["qemu-io", "-f", "vpc"]
    for offset in (free + 4096, 100 * 512):
        command += ["-c", f"write -P 65 {offset} 8192"]
        content[offset : offset + 8192] = b"A" * 8192
    subprocess.run([*command, str(target)], check=True, stdout=subprocess.DEVNULL)
    qemu_img("convert", "-f", "vpc", "-O", "raw", target, flat)
    assert flat.read_bytes() == content
    with vhdfast.open_image(target) as image:
        assert image.pread(0, 41 * MIB) == content
        assert image.notices == ()
