"""What is said of the sizes that versions of qemu-img make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import MIB, SparseFile, pattern
from tests.support.build_gpt import Gpt
from tests.support.build_vhd import DynamicVhd, fixed
from tests.support.build_vhdx import write_vhdx
from tests.support.checking import NOTE, PASS, SKIPPED, WARNING, findings, one, verdict

NAME = "qemu-chs-size"
ROUNDED = 67_125_248  # what qemu-img makes of 64 MiB
GEOMETRY = (964, 8, 17)


def vhd(tmp_path: Path, disk: SparseFile, **footer: Any) -> Path:
    fields = {"creator": b"qemu", "geometry": GEOMETRY, **footer}
    return fixed(disk, **fields).write(tmp_path / "disk.vhd")


def test_a_rounded_disk_that_ends_in_zeros(tmp_path: Path) -> None:
    disk = SparseFile(ROUNDED)
    disk.put(64 * MIB - 512, pattern(1, 512))
    path = vhd(tmp_path, disk)
    finding = one(path, NAME)
    assert verdict(finding) == WARNING
    assert "64 MiB (67108864 bytes) were asked for, behind which all is zero" in finding.message
    assert finding.evidence[0].offset == ROUNDED + 56
    assert finding.evidence[0].found == "964/8/17, which is 67125248 bytes"
    assert finding.evidence[1].found == "from byte 67108864 of the disk to its end"
    assert finding.remedy == f"vhdfast repair {path}"


def test_a_rounded_disk_with_a_gpt(tmp_path: Path) -> None:
    disk = Gpt(64 * MIB // 512).build()
    disk.size = ROUNDED
    finding = one(vhd(tmp_path, disk), NAME)
    assert "where the disk's GPT has its backup" in finding.message
    assert finding.evidence[1].found == "at the end of a disk of 67108864 bytes"


def test_a_rounded_disk_that_is_used_up_to_its_end(tmp_path: Path) -> None:
    disk = SparseFile(ROUNDED)
    disk.put(ROUNDED - 512, pattern(1, 512))
    finding = one(vhd(tmp_path, disk), NAME)
    assert verdict(finding) == WARNING
    assert "in use with this size" in finding.message


def test_a_rounded_source_is_a_note(tmp_path: Path) -> None:
    image = DynamicVhd(ROUNDED, footer={"creator": b"qemu", "geometry": GEOMETRY})
    path = image.build().write(tmp_path / "disk.vhd")
    finding = one(path, NAME)
    assert verdict(finding) == NOTE
    assert finding.remedy == f"vhdfast convert {path} {tmp_path / 'disk-azure.vhd'}"
    assert verdict(one(path, "notices")) is PASS, "it is told once"


def test_old_versions_kept_the_size(tmp_path: Path) -> None:
    finding = one(vhd(tmp_path, SparseFile(64 * MIB)), NAME)
    assert verdict(finding) is PASS
    assert "2.2.0 and earlier" in finding.message


@pytest.mark.parametrize("creator", [b"win ", b"vhdf", b"????"])
def test_others_keep_the_size(tmp_path: Path, creator: bytes) -> None:
    path = vhd(tmp_path, SparseFile(64 * MIB), creator=creator)
    assert verdict(one(path, NAME)) is PASS


def test_other_formats_have_no_such_size(tmp_path: Path) -> None:
    write_vhdx(tmp_path / "disk.vhdx", virtual_size=20 * MIB, blocks={})
    assert verdict(one(tmp_path / "disk.vhdx", NAME)) is SKIPPED


def test_what_qemu_img_makes(tmp_path: Path, qemu_img: Callable[..., str]) -> None:
    path = tmp_path / "disk.vhd"
    qemu_img("create", "-q", "-f", "vpc", "-o", "subformat=fixed", path, 64 * MIB)
    assert verdict(one(path, NAME)) == WARNING
    qemu_img("create", "-q", "-f", "vpc", "-o", "subformat=fixed,force_size", path, 64 * MIB)
    assert verdict(one(path, NAME)) is PASS
    assert [verdict(each) for each in findings(path, "whole-mib")] == [PASS]
