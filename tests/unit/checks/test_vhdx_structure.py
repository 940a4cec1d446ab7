"""What is said of the structure of a VHDX."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import KIB, MIB, peek, poke
from tests.support.build_vhd import DynamicVhd
from tests.support.build_vhdx import Data, Entry, seal, write_vhdx
from tests.support.checking import ERROR, NOTE, PASS, SKIPPED, WARNING, findings, one, verdict
from tests.support.vhdx_damage import small_disk, with_log
from vhdfast.checks import Outcome

CHECKS = ("vhdx-headers", "vhdx-states", "vhdx-file-size", "closed-cleanly")


@pytest.mark.parametrize("name", CHECKS)
def test_a_sound_image_passes(tmp_path: Path, name: str) -> None:
    assert verdict(one(small_disk(tmp_path / "disk.vhdx"), name)) is PASS


@pytest.mark.parametrize("name", CHECKS[:3])
def test_other_formats_are_skipped(tmp_path: Path, name: str) -> None:
    path = DynamicVhd(20 * MIB).build().write(tmp_path / "disk.vhd")
    assert verdict(one(path, name)) is SKIPPED


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (64 * KIB, "the first header is damaged"),
        (128 * KIB, "the second header is damaged"),
        (192 * KIB, "the first region table is damaged"),
        (256 * KIB, "the second region table is damaged"),
    ],
)
@pytest.mark.parametrize("within", [1, 3000])
def test_one_copy_is_damaged(tmp_path: Path, offset: int, message: str, within: int) -> None:
    path = small_disk(tmp_path / "disk.vhdx")
    poke(path, offset + within, b"\x99")
    finding = one(path, "vhdx-headers")
    assert verdict(finding) == WARNING
    assert finding.message == message
    assert finding.evidence[0].offset == offset + (0 if within == 1 else 4)
    assert verdict(one(path, "notices")) is PASS, "it is told once"


def test_both_headers_are_damaged(tmp_path: Path) -> None:
    path = small_disk(tmp_path / "disk.vhdx")
    for offset in (64 * KIB, 128 * KIB):
        poke(path, offset + 100, b"\x99")
    assert len(findings(path, "vhdx-headers")) == 2


def test_region_tables_that_differ(tmp_path: Path) -> None:
    path = small_disk(tmp_path / "disk.vhdx")
    poke(path, 256 * KIB + 60 * KIB, b"\x99")
    seal(path)
    finding = one(path, "vhdx-headers")
    assert verdict(finding) == WARNING
    assert finding.evidence[0].offset == 256 * KIB


def test_headers_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhdx"
    path.write_bytes(peek(small_disk(path), 0, 200 * KIB))
    assert verdict(one(path, "vhdx-headers")) is Outcome.UNKNOWN


def test_states_that_there_are_not(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhdx"
    write_vhdx(path, virtual_size=20 * MIB, states={1: 4, 3: 7, 4: 2, 5: 3})
    finding = one(path, "vhdx-states")
    assert verdict(finding) == ERROR
    assert finding.message == "2 of 20 blocks have a state that they cannot have"
    assert [(e.what, e.found, e.offset) for e in finding.evidence] == [
        ("state of block 1", "4", 3 * MIB + 8), ("state of block 3", "7", 3 * MIB + 24),
    ]  # fmt: skip


def test_a_log_that_was_not_written_back(tmp_path: Path) -> None:
    path = with_log(tmp_path / "disk.vhdx", Entry(1, [Data(4 * MIB, b"\x01" * 4096)]))
    finding = one(path, "closed-cleanly")
    assert verdict(finding) == WARNING
    assert finding.evidence[0].offset == MIB
    assert verdict(one(path, "notices")) is PASS, "it is told once"


def test_a_file_that_ends_within_a_block(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhdx"
    write_vhdx(path, virtual_size=3 * MIB, blocks={0: b"x" * 1000}, short_end=True)
    finding = one(path, "vhdx-file-size")
    assert verdict(finding) == NOTE
    assert finding.evidence[0].expected == str(5 * MIB)
