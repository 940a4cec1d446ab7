"""What is said of the structure of dynamic and differencing VHDs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import MIB, SparseFile, pattern, poke
from tests.support.build_vhd import DynamicVhd, fixed
from tests.support.checking import NOTE, PASS, SKIPPED, WARNING, findings, one, verdict
from vhdfast.checks import Outcome
from vhdfast.checks.structure import vhd_bitmaps

SIZE = 20 * MIB
BODY = pattern(1, 512)
CHECKS = ("vhd-footers", "vhd-header", "vhd-table-size", "vhd-block-size", "vhd-bitmaps")


def image(**fields: int) -> DynamicVhd:
    made = DynamicVhd(SIZE, **fields)
    made.store(0, BODY)
    made.store(2, BODY)
    return made


def write(tmp_path: Path, made: DynamicVhd) -> Path:
    return made.build().write(tmp_path / "disk.vhd")


@pytest.mark.parametrize("name", CHECKS)
def test_a_sound_image_passes(tmp_path: Path, name: str) -> None:
    assert verdict(one(write(tmp_path, image()), name)) is PASS


@pytest.mark.parametrize("name", CHECKS)
def test_a_fixed_disk_is_skipped(tmp_path: Path, name: str) -> None:
    path = fixed(SparseFile(SIZE)).write(tmp_path / "disk.vhd")
    assert verdict(one(path, name)) is SKIPPED


# ---- vhd-footers --------------------------------------------------------------------------------


@pytest.mark.parametrize(("at_start", "words"), [(True, "at the start"), (False, "at the end")])
def test_a_footer_with_a_wrong_checksum(tmp_path: Path, at_start: bool, words: str) -> None:
    path = write(tmp_path, image())
    offset = 0 if at_start else path.stat().st_size - 512
    poke(path, offset + 100, b"\x01")
    finding = one(path, "vhd-footers")
    assert verdict(finding) == WARNING
    assert f"footer {words}" in finding.message
    assert finding.evidence[0].offset == offset + 64
    assert finding.remedy == f"vhdfast repair {path}"
    assert verdict(one(path, "notices")) is PASS, "it is told once"


@pytest.mark.parametrize("missing", ["head", "tail"])
def test_a_footer_that_is_missing(tmp_path: Path, missing: str) -> None:
    path = image().build(**{missing: False}).write(tmp_path / "disk.vhd")
    finding = one(path, "vhd-footers")
    assert verdict(finding) == WARNING
    assert finding.message.startswith("there is no footer at the")


def test_footers_that_differ(tmp_path: Path) -> None:
    made = image()
    file = made.build()
    made.footer["timestamp"] = 2000
    file.put(0, made.make_footer())
    finding = one(file.write(tmp_path / "disk.vhd"), "vhd-footers")
    assert verdict(finding) == WARNING
    assert next((e.what, e.found, e.expected) for e in finding.evidence) == (
        "timestamp", "1000", "2000, as at the start",
    )  # fmt: skip
    assert finding.remedy is not None and finding.remedy.startswith("vhdfast convert")


def test_an_old_footer_of_511_bytes(tmp_path: Path) -> None:
    file = image().build()
    file.cut(file.size - 1)
    assert verdict(one(file.write(tmp_path / "disk.vhd"), "vhd-footers")) is PASS


# ---- the header ---------------------------------------------------------------------------------


def test_a_wrong_checksum_of_the_header(tmp_path: Path) -> None:
    path = write(tmp_path, image())
    poke(path, 512 + 900, b"\x01")
    finding = one(path, "vhd-header")
    assert verdict(finding) == WARNING
    assert finding.evidence[0].offset == 512 + 36
    assert finding.evidence[0].found != finding.evidence[0].expected


@pytest.mark.parametrize(
    ("entries", "words"), [(11, "one entry too many, as qemu-img before 5.0"), (50, "40 entries")]
)
def test_a_table_that_is_too_long(tmp_path: Path, entries: int, words: str) -> None:
    path = write(tmp_path, image(entries=entries))
    finding = one(path, "vhd-table-size")
    assert verdict(finding) == NOTE, "convert leaves the table behind"
    assert words in finding.message
    assert (finding.evidence[0].found, finding.evidence[0].expected) == (str(entries), "10")
    assert finding.evidence[0].offset == 512 + 28
    assert verdict(one(path, "vhd-table-size", as_is=True)) == WARNING


def test_blocks_of_another_size(tmp_path: Path) -> None:
    finding = one(write(tmp_path, image(block_size=512 * 1024)), "vhd-block-size")
    assert verdict(finding) == NOTE
    assert finding.evidence[0].found == "524288"


# ---- bitmaps ------------------------------------------------------------------------------------


def test_sectors_that_are_not_marked(tmp_path: Path) -> None:
    made = image()
    at = made.store(5, BODY, bitmap=b"\x80")
    finding = one(write(tmp_path, made), "vhd-bitmaps")
    assert verdict(finding) == NOTE
    assert finding.message == "1 of 3 stored blocks have sectors that are not marked"
    assert finding.evidence[0].what == "bitmap of block 5"
    assert finding.evidence[0].offset == at - 512


def test_blocks_that_lie_elsewhere_are_no_matter_of_bitmaps(tmp_path: Path) -> None:
    made = image()
    made.table[7] = 0x00FFFFFF
    assert verdict(one(write(tmp_path, made), "vhd-bitmaps")) is PASS


def test_too_many_bitmaps_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vhd_bitmaps, "MAX_BLOCKS", 1)
    assert verdict(one(write(tmp_path, image()), "vhd-bitmaps")) is Outcome.UNKNOWN


def test_differences_are_the_parents(tmp_path: Path) -> None:
    from tests.support.build_vhd import differencing

    fixed(SparseFile(SIZE)).write(tmp_path / "parent.vhd")
    made = differencing(SIZE, relative=".\\parent.vhd")
    made.store(0, BODY, bitmap=b"\x80")
    path = made.build().write(tmp_path / "child.vhd")
    assert verdict(one(path, "vhd-bitmaps")) is SKIPPED
    assert verdict(one(path, "vhd-footers")) is PASS


def test_what_a_parent_says_stays_a_notice(tmp_path: Path) -> None:
    from tests.support.build_vhd import differencing

    path = DynamicVhd(SIZE).build().write(tmp_path / "parent.vhd")
    poke(path, 100, b"\x01")
    differencing(SIZE, relative=".\\parent.vhd").build().write(tmp_path / "child.vhd")
    (finding,) = findings(tmp_path / "child.vhd", "notices")
    assert "footer-checksum" in finding.message
