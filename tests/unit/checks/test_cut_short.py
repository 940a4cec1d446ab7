"""Files that end before their disk does."""

from __future__ import annotations

from pathlib import Path

from tests.support import MIB, SparseFile, pattern
from tests.support.build_vhd import fixed
from tests.support.build_vhdx import write_vhdx
from vhdfast import api
from vhdfast.checks import CheckedImage, Outcome, Selection


def look(path: Path) -> CheckedImage:
    return api.check(path, selection=Selection(["cut-short"]))


def test_a_file_that_holds_all_of_its_last_block(tmp_path: Path) -> None:
    write_vhdx(tmp_path / "disk.vhdx", virtual_size=20 * MIB, blocks={1: pattern(1, MIB)})
    (finding,) = look(tmp_path / "disk.vhdx").findings
    assert finding.outcome is Outcome.PASS


def test_a_short_last_block_may_be_a_cut_copy_or_an_old_writers(tmp_path: Path) -> None:
    write_vhdx(
        tmp_path / "disk.vhdx", virtual_size=20 * MIB, blocks={1: pattern(1, 4096)}, short_end=True
    )
    checked = look(tmp_path / "disk.vhdx")
    (finding,) = checked.findings
    assert finding.outcome is Outcome.UNKNOWN
    assert checked.exit_code() == 3


def test_a_fixed_vhd_that_says_more_than_it_holds(tmp_path: Path) -> None:
    image = fixed(SparseFile(20 * MIB), current_size=21 * MIB)
    checked = look(image.write(tmp_path / "disk.vhd"))
    (finding,) = checked.findings
    assert finding.is_obstacle
    assert finding.evidence[0].offset == 20 * MIB


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "disk.vhdx").write_bytes(b"vhdxfile" + bytes(1000))
    (finding,) = look(tmp_path / "disk.vhdx").findings
    assert finding.outcome is Outcome.SKIPPED
