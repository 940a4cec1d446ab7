"""What is said of partition tables."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.support import MIB, SparseFile, pattern
from tests.support.build_gpt import Gpt, mbr_entry, mbr_sector
from tests.support.build_vhd import DynamicVhd, fixed
from tests.support.build_vhdx import write_vhdx
from tests.support.checking import ERROR, NOTE, PASS, SKIPPED, WARNING, findings, one, verdict
from vhdfast.checks import Outcome

SIZE = 20 * MIB
SECTORS = SIZE // 512
LAST = SIZE - 512  # where the backup header belongs
CHECKS = ("gpt-backup", "partition-table", "partitions-fit")


def gpt(sectors: int = SECTORS, last: int | None = None) -> SparseFile:
    """A disk with one partition, by default up to the last usable sector."""
    made = Gpt(sectors)
    made.add(1, 2048, sectors - 34 if last is None else last)
    return made.build()


def grown(disk: SparseFile, size: int = SIZE) -> SparseFile:
    disk.size = size
    return disk


def vhd(tmp_path: Path, disk: SparseFile) -> Path:
    return fixed(disk).write(tmp_path / "disk.vhd")


@pytest.mark.parametrize("name", CHECKS)
def test_an_intact_gpt_passes(tmp_path: Path, name: str) -> None:
    assert verdict(one(vhd(tmp_path, gpt()), name)) is PASS


@pytest.mark.parametrize("name", CHECKS)
def test_a_disk_without_a_table_is_skipped(tmp_path: Path, name: str) -> None:
    assert verdict(one(vhd(tmp_path, SparseFile(SIZE)), name)) is SKIPPED


@pytest.mark.parametrize("name", CHECKS)
def test_a_disk_that_cannot_be_read_is_unknown(tmp_path: Path, name: str) -> None:
    write_vhdx(tmp_path / "disk.vhdx", virtual_size=SIZE, blocks={})
    broken = (tmp_path / "disk.vhdx").read_bytes()[: 512 * 1024]
    (tmp_path / "disk.vhdx").write_bytes(broken)
    assert verdict(one(tmp_path / "disk.vhdx", name)) is Outcome.UNKNOWN


# ---- gpt-backup ---------------------------------------------------------------------------------


def test_the_backup_of_a_disk_that_grew(tmp_path: Path) -> None:
    path = vhd(tmp_path, grown(gpt(SECTORS - 2048)))
    finding = one(path, "gpt-backup")
    assert verdict(finding) == NOTE
    assert finding.evidence[0].offset == LAST - MIB
    assert (finding.evidence[0].found, finding.evidence[0].expected) == (
        f"byte {LAST - MIB}", f"byte {LAST}",
    )  # fmt: skip
    assert finding.remedy == f"vhdfast repair {path} --relocate-gpt"
    assert verdict(one(path, "partition-table")) is PASS


def test_the_backup_of_a_source_that_convert_rounds_up(tmp_path: Path) -> None:
    path = gpt(SECTORS - 1).write(tmp_path / "disk.raw")
    finding = one(path, "gpt-backup")
    assert verdict(finding) == NOTE
    assert "512 bytes before the end" in finding.message
    target = tmp_path / "disk.vhd"
    assert finding.remedy == f"vhdfast convert {path} {target} --relocate-gpt"


def test_the_place_of_a_backup_is_given_in_the_file(tmp_path: Path) -> None:
    disk = gpt(SECTORS - 2048)
    image = DynamicVhd(SIZE)
    image.store(0, disk.get(0, 2 * MIB))
    at = image.store(9, disk.get(18 * MIB, 2 * MIB))
    path = image.build().write(tmp_path / "disk.vhd")
    finding = one(path, "gpt-backup")
    assert finding.evidence[0].offset == at + LAST - MIB - 18 * MIB


def test_an_mbr_has_no_backup(tmp_path: Path) -> None:
    disk = SparseFile(SIZE)
    disk.put(0, mbr_sector(mbr_entry(0x83, 2048, 2048)))
    assert verdict(one(vhd(tmp_path, disk), "gpt-backup")) is SKIPPED


def test_a_backup_that_is_missing_is_another_checks(tmp_path: Path) -> None:
    disk = gpt()
    disk.put(LAST, bytes(512))
    path = vhd(tmp_path, disk)
    assert verdict(one(path, "gpt-backup")) is SKIPPED
    assert verdict(one(path, "partition-table")) == WARNING


# ---- partition-table ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (512 + 40, "checksum of the primary GPT header"),
        (1024 + 60, "checksum of the primary GPT entries"),
        (LAST + 40, "checksum of the backup GPT header"),
        (LAST - 16384 + 60, "checksum of the backup GPT entries"),
        (510, "no protective MBR"),
    ],
)
def test_damage_to_one_copy_is_a_warning(tmp_path: Path, place: int, words: str) -> None:
    disk = gpt()
    disk.put(place, b"\x99")
    finding = one(vhd(tmp_path, disk), "partition-table")
    assert verdict(finding) == WARNING
    assert words in finding.message


def test_a_damaged_primary_is_restored_by_relocating(tmp_path: Path) -> None:
    disk = gpt()
    disk.put(512 + 40, b"\x99")
    path = vhd(tmp_path, disk)
    finding = one(path, "partition-table")
    assert finding.remedy == f"vhdfast repair {path} --relocate-gpt"
    assert finding.evidence[0].offset == 512


def test_damage_to_both_copies_is_an_error(tmp_path: Path) -> None:
    disk = gpt()
    disk.put(512 + 40, b"\x99")
    disk.put(LAST + 40, b"\x99")
    found = findings(vhd(tmp_path, disk), "partition-table")
    assert [verdict(finding) for finding in found] == [WARNING, WARNING, ERROR]


def test_a_gpt_behind_an_mbr_of_its_own_is_a_note(tmp_path: Path) -> None:
    disk = gpt()
    disk.put(0, mbr_sector(mbr_entry(0x83, 2048, 2048)))
    assert verdict(one(vhd(tmp_path, disk), "partition-table")) == NOTE


def test_of_many_problems_the_first_are_told(tmp_path: Path) -> None:
    made = Gpt(SECTORS)
    for number in range(1, 21):
        made.add(number, 2048, 4095)
    found = findings(vhd(tmp_path, made.build()), "partition-table")
    assert len(found) == 9
    assert found[-1].message == "11 problems more with the partition table"


# ---- partitions-fit -----------------------------------------------------------------------------


def test_a_partition_that_is_cut(tmp_path: Path) -> None:
    disk = gpt(2 * SECTORS)
    disk.cut(SIZE)
    finding = one(vhd(tmp_path, disk), "partitions-fit")
    assert verdict(finding) == ERROR
    end = (2 * SECTORS - 33) * 512
    assert (finding.evidence[0].found, finding.evidence[0].expected) == (
        str(end), f"at most {SIZE}",
    )  # fmt: skip
    assert finding.evidence[0].offset == MIB


def test_an_extended_partition_that_is_cut_holds_no_data(tmp_path: Path) -> None:
    disk = SparseFile(SIZE)
    disk.put(0, mbr_sector(mbr_entry(0x05, 2048, SECTORS)))
    disk.put(MIB, mbr_sector(mbr_entry(0x83, 64, 2048)))
    assert verdict(one(vhd(tmp_path, disk), "partitions-fit")) == WARNING


def test_a_logical_partition_that_is_cut(tmp_path: Path) -> None:
    disk = SparseFile(SIZE)
    disk.put(0, mbr_sector(mbr_entry(0x05, 2048, SECTORS - 2048)))
    disk.put(MIB, mbr_sector(mbr_entry(0x83, 64, SECTORS)))
    finding = one(vhd(tmp_path, disk), "partitions-fit")
    assert verdict(finding) == ERROR
    assert "partition 5 ends" in finding.message


def test_a_hostile_table_makes_no_endless_report(tmp_path: Path) -> None:
    made = Gpt(SECTORS, count=8192)
    for number in range(1, 8193):
        made.parts[number] = b"\1" * 16 + b"\2" * 16 + struct.pack("<QQQ", 5000, 1 << 62, 0)
    found = findings(vhd(tmp_path, made.build()), "partitions-fit")
    assert len(found) == 9
    assert {verdict(finding) for finding in found} == {ERROR}


def test_the_disk_is_as_it_was(tmp_path: Path) -> None:
    disk = gpt()
    disk.put(MIB, pattern(1, 512))
    path = vhd(tmp_path, disk)
    before = path.read_bytes()
    findings(path, "partition-table")
    assert path.read_bytes() == before
