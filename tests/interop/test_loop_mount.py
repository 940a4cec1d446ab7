"""The kernel reads the same files from what vhdfast wrote as were put in."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
from pathlib import Path

import pytest

import vhdfast
from tests.conftest import ROOT

MIB = 1 << 20


@pytest.mark.root
def test_a_file_system_in_a_partition_survives(tmp_path: Path, as_root: None) -> None:
    for tool in ("mkfs.ext4", "sfdisk", "losetup"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    raw, target, place = tmp_path / "disk.raw", tmp_path / "disk.vhd", tmp_path / "mnt"
    with open(raw, "wb") as file:
        file.truncate(64 * MIB + 512 * 35)
    layout = "label: gpt\nstart=2048, size=120000, type=linux\n"
    subprocess.run(["sfdisk", "-q", raw], input=layout, text=True, check=True)
    subprocess.run(
        ["mkfs.ext4", "-q", "-F", "-d", ROOT / "native", "-E", f"offset={MIB}", raw, "60000k"],
        check=True,
    )

    vhdfast.convert(raw, target)

    place.mkdir()
    options = f"loop,ro,offset={MIB},sizelimit={120000 * 512}"
    mounted = subprocess.run(
        ["mount", "-t", "ext4", "-o", options, target, place], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")
    try:
        names = [str(p.relative_to(ROOT / "native")) for p in (ROOT / "native").rglob("*.c")]
        assert len(names) > 5
        _, different, failed = filecmp.cmpfiles(ROOT / "native", place, names, shallow=False)
        assert (different, failed) == ([], [])
    finally:
        subprocess.run(["umount", place], check=True)
