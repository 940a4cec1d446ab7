"""What is said of the two grain directories of a VMDK, and of its mark of use."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import MIB, pattern, poke
from tests.support.build_vhd import DynamicVhd
from tests.support.build_vmdk import Layout, write_sparse
from tests.support.checking import PASS, SKIPPED, WARNING, one, verdict

NAME = "vmdk-directories"
SECTORS = 100 * MIB // 512


def sparse(tmp_path: Path, **options: object) -> Layout:
    grains = {0: pattern(1, 512), 3: pattern(2, 512), 700: pattern(3, 512)}
    return write_sparse(tmp_path / "disk.vmdk", SECTORS, grains, **options)  # type: ignore[arg-type]


def test_directories_that_say_the_same(tmp_path: Path) -> None:
    assert verdict(one(sparse(tmp_path).path, NAME)) is PASS


def test_what_qemu_img_writes(tmp_path: Path, qemu_img: Callable[..., str]) -> None:
    (tmp_path / "disk.raw").write_bytes(pattern(1, 3 * MIB))
    qemu_img("convert", "-O", "vmdk", tmp_path / "disk.raw", tmp_path / "disk.vmdk")
    assert verdict(one(tmp_path / "disk.vmdk", NAME)) is PASS


def test_an_image_without_a_second_directory(tmp_path: Path) -> None:
    assert verdict(one(sparse(tmp_path, redundant=False).path, NAME)) is SKIPPED


def test_other_formats_have_no_such_directories(tmp_path: Path) -> None:
    path = DynamicVhd(20 * MIB).build().write(tmp_path / "disk.vhd")
    assert verdict(one(path, NAME)) is SKIPPED


@pytest.mark.parametrize("spare", [False, True])
def test_a_grain_that_only_one_of_them_knows(tmp_path: Path, spare: bool) -> None:
    layout = sparse(tmp_path)
    table = (layout.spare_tables if spare else layout.tables)[1]
    poke(layout.path, table + 4 * (700 - 512), bytes(4))
    finding = one(layout.path, NAME)
    assert verdict(finding) == WARNING
    # The rows before it are one, and end there in the one that knows it.
    assert finding.evidence[0].what.startswith("byte ")


@pytest.mark.parametrize("spare", [False, True])
def test_a_directory_that_is_damaged(tmp_path: Path, spare: bool) -> None:
    layout = sparse(tmp_path)
    place = layout.redundant if spare else layout.directory
    poke(layout.path, place + 4, struct.pack("<I", 0x00FFFFFF))
    finding = one(layout.path, NAME)
    assert verdict(finding) == WARNING
    which = "redundant grain directory" if spare else "grain directory"
    assert finding.evidence[0].what == which
    assert verdict(one(layout.path, "notices")) is PASS, "it is told once"


def test_an_image_that_was_not_closed(tmp_path: Path) -> None:
    layout = sparse(tmp_path)
    poke(layout.path, 72, b"\x01")
    finding = one(layout.path, "closed-cleanly")
    assert verdict(finding) == WARNING
    assert finding.evidence[0].offset == 72
