"""What is said of where blocks lie: of VHD, VHDX, VDI and Parallels images alike."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import KIB, MIB, SparseFile, pattern
from tests.support.build_parallels import OPEN, parallels
from tests.support.build_vdi import vdi
from tests.support.build_vhd import DynamicVhd, fixed
from tests.support.build_vhdx import write_vhdx
from tests.support.checking import ERROR, NOTE, PASS, SKIPPED, WARNING, findings, one, verdict
from vhdfast.checks import Outcome
from vhdfast.checks import census as census_of
from vhdfast.checks.census import Layout, take_census
from vhdfast.tables import Region

SIZE = 20 * MIB
BODY = pattern(1, 512)


def vhd(tmp_path: Path, image: DynamicVhd) -> Path:
    return image.build().write(tmp_path / "disk.vhd")


def sound_vhd(tmp_path: Path) -> Path:
    image = DynamicVhd(SIZE)
    image.store(3, BODY)
    image.store(1, BODY)
    return vhd(tmp_path, image)


def sound_vhdx(tmp_path: Path) -> Path:
    path = tmp_path / "disk.vhdx"
    return write_vhdx(path, virtual_size=5 * SIZE, blocks={3: BODY, 1: BODY}, block_size=8 * MIB)


def sound_vdi(tmp_path: Path) -> Path:
    image = vdi(virtual_size=SIZE, blocks={3: BODY, 1: BODY}, block_extra=512)
    return image.write(tmp_path / "disk.vdi")


def sound_parallels(tmp_path: Path) -> Path:
    image = parallels(virtual_size=SIZE, clusters={3: BODY, 1: BODY})
    return image.write(tmp_path / "disk.hds")


SOUND = [sound_vhd, sound_vhdx, sound_vdi, sound_parallels]


@pytest.mark.parametrize("build", SOUND)
def test_sound_images(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    path = build(tmp_path)
    finding = one(path, "block-places")
    assert verdict(finding) is PASS
    assert finding.message.startswith("2 stored blocks")
    assert verdict(one(path, "leaked-space")) is PASS


@pytest.mark.parametrize("name", ["block-places", "leaked-space"])
def test_fixed_disks_have_no_blocks(tmp_path: Path, name: str) -> None:
    path = fixed(SparseFile(SIZE)).write(tmp_path / "disk.vhd")
    assert verdict(one(path, name)) is SKIPPED


# ---- block-places -------------------------------------------------------------------------------


def test_blocks_of_a_vhd_behind_the_end(tmp_path: Path) -> None:
    image = DynamicVhd(SIZE)
    image.store(0, BODY)
    for block in range(1, 8):
        image.table[block] = 0x00100000 + block
    finding = one(vhd(tmp_path, image), "block-places")
    assert verdict(finding) == ERROR
    assert finding.message.startswith("7 of 8 stored blocks lie behind the end")
    assert len(finding.evidence) == 4
    assert finding.evidence[0].what == "entry of block 1"
    assert finding.evidence[0].found == hex(0x00100001 * 512)
    assert finding.evidence[0].offset == 1536 + 4


def test_blocks_of_a_vhd_on_its_tables(tmp_path: Path) -> None:
    image = DynamicVhd(SIZE)
    image.store(0, BODY)
    image.table[4] = 1
    finding, overlap = findings(vhd(tmp_path, image), "block-places")
    assert verdict(finding) == ERROR
    # It shares bytes with the header and with the table, and is one block all the same.
    assert finding.message == "1 of 2 stored blocks lie on top of the image's own tables"
    assert overlap.message == "1 of 2 stored blocks lie on top of the one before"
    assert finding.evidence[0].offset == 1536 + 16
    assert "dynamic header" in finding.evidence[0].found


def test_blocks_on_top_of_each_other(tmp_path: Path) -> None:
    image = DynamicVhd(SIZE)
    at = image.store(0, BODY) - 512
    image.table[1] = image.table[2] = at // 512 + 8
    finding = one(vhd(tmp_path, image), "block-places")
    assert verdict(finding) == ERROR
    assert finding.message == "2 of 3 stored blocks lie on top of the one before"
    assert [each.offset for each in finding.evidence] == [at + 4096, at + 4096]


def test_blocks_of_a_vhdx(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhdx"
    states = {5: (1 << 50) | 6, 6: (1 << 20) | 6, 7: (4 << 20) | 6}
    write_vhdx(path, virtual_size=SIZE, blocks={0: BODY}, states=states)
    outside, on_tables, overlap = findings(path, "block-places")
    assert {verdict(each) for each in (outside, on_tables, overlap)} == {ERROR}
    assert outside.evidence[0].offset == 3 * MIB + 8 * 5
    assert on_tables.evidence[0].what == "entry of block 6"
    assert "log" in on_tables.evidence[0].found or "header" in on_tables.evidence[0].found
    assert overlap.evidence[0].found == "at 0x400000, on the one at 0x400000"


def test_blocks_of_a_vdi(tmp_path: Path) -> None:
    image = vdi(virtual_size=SIZE, blocks={0: BODY}, entries={4: 1000, 5: 0})
    outside, overlap = findings(image.write(tmp_path / "disk.vdi"), "block-places")
    assert outside.evidence[0].offset == 512 + 4 * 4
    assert overlap.message == "1 of 3 stored blocks lie on top of the one before"


def test_clusters_of_a_parallels_image(tmp_path: Path) -> None:
    image = parallels(virtual_size=SIZE, clusters={0: BODY}, entries={4: 1000, 5: 1})
    outside, overlap = findings(image.write(tmp_path / "disk.hds"), "block-places")
    assert outside.evidence[0].what == "entry of cluster 4"
    assert outside.evidence[0].offset == 64 + 4 * 4
    assert overlap.message == "1 of 3 stored blocks lie on top of the one before"


def test_too_many_blocks_are_undecided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census_of, "OVERLAP_BLOCKS", 1)
    path = sound_vhd(tmp_path)
    finding = one(path, "block-places")
    assert verdict(finding) is Outcome.UNKNOWN
    assert not finding.is_obstacle
    assert verdict(one(path, "leaked-space")) is Outcome.UNKNOWN


# ---- leaked-space -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "offset"),
    [
        (sound_vhd, 1536 + 512 + 512 + 2 * MIB),
        (sound_vhdx, 12 * MIB),
        (sound_vdi, 2 * MIB + 512),
        (sound_parallels, 2 * MIB),
    ],
)
def test_a_block_that_the_table_no_longer_names(
    tmp_path: Path, build: Callable[[Path], Path], offset: int
) -> None:
    path = build(tmp_path)
    # Block 1 lies behind block 3 in all of them.
    entry = {
        ".vhd": (1536 + 4, b"\xff" * 4), ".vhdx": (3 * MIB + 8, bytes(8)),
        ".vdi": (512 + 4, b"\xff" * 4), ".hds": (64 + 4, bytes(4)),
    }[path.suffix]  # fmt: skip
    with open(path, "r+b") as file:
        file.seek(entry[0])
        file.write(entry[1])
    finding = one(path, "leaked-space")
    assert verdict(finding) == NOTE
    assert finding.evidence[0].offset == offset
    assert finding.remedy is not None and finding.remedy.startswith("vhdfast convert")


def test_parent_locators_are_used(tmp_path: Path) -> None:
    image = DynamicVhd(SIZE, locators=[(b"W2ru", b"x" * 2 * MIB)])
    image.header["locators"] = [(b"W2ru", 2 * MIB, 100, 2048)]
    image.store(0, BODY)
    finding = one(vhd(tmp_path, image), "leaked-space")
    assert verdict(finding) is PASS, "their room is counted up to what a locator may have"


# ---- the sweep, against a plain one -------------------------------------------------------------


@given(
    starts=st.lists(st.integers(0, 60), max_size=12),
    sorts=st.lists(st.integers(0, 1), min_size=12, max_size=12),
    owned=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=3),
    swept=st.integers(1, 5),
)
def test_the_sweep_counts_what_a_plain_one_counts(
    starts: list[int], sorts: list[int], owned: list[tuple[int, int]], swept: int
) -> None:
    sizes, end = (4, 7), 50
    regions = [Region("region", at, at + length) for at, length in owned]
    places = np.array(starts, np.uint64)
    kinds = np.array(sorts[: len(starts)], np.uint64)
    layout = Layout(
        walk=lambda: iter([(np.arange(len(places)), places, kinds)]),
        unit=1, sizes=sizes, start_needed=0, end=end, file_size=end, reserved=regions,
        owned=regions, slack=0, name_of=str, entry_offset=lambda index: index,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(census_of, "SWEPT", swept)
        found = take_census(layout)

    inside = [(at, at + sizes[kind]) for at, kind in zip(starts, sorts, strict=False) if at < end]
    assert found.stored == len(starts)
    assert found.outside.count == sum(at >= end for at in starts)
    assert found.on_metadata.count == sum(
        any(low < region.end and high > region.offset for region in regions) for low, high in inside
    )
    reached, pairs = 0, 0
    for low, high in sorted(inside):
        pairs += low < reached
        reached = max(reached, high)
    assert found.overlaps == pairs
    used = {byte for low, high in inside for byte in range(low, high)}
    used |= {byte for at, length in owned for byte in range(at, at + length)}
    assert found.unowned == len(set(range(end)) - used)
    assert all(set(range(at, at + n)).isdisjoint(used) for at, n in found.first_unowned)


# ---- others -------------------------------------------------------------------------------------


def test_a_parallels_image_in_use(tmp_path: Path) -> None:
    image = parallels(virtual_size=SIZE, in_use=OPEN).write(tmp_path / "disk.hds")
    finding = one(image, "closed-cleanly")
    assert verdict(finding) == WARNING
    assert finding.evidence[0].offset == 44
    assert verdict(one(image, "notices")) is PASS, "it is told once"
    assert verdict(one(sound_parallels(tmp_path), "closed-cleanly")) is PASS


def test_an_image_that_cannot_be_opened_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhdx"
    path.write_bytes(sound_vhdx(tmp_path).read_bytes()[: 512 * KIB])
    names = ("closed-cleanly", "block-places", "leaked-space", "vhdx-states", "vhdx-file-size")
    for name in names:
        assert verdict(one(path, name)) is SKIPPED


def test_the_number_of_blocks_of_a_vdi(tmp_path: Path) -> None:
    path = sound_vdi(tmp_path)
    assert verdict(one(path, "vdi-allocated")) is PASS
    with open(path, "r+b") as file:
        file.seek(0x184)
        file.write(struct.pack("<I", 1))
    finding = one(path, "vdi-allocated", as_is=True)
    assert verdict(finding) == WARNING
    assert (finding.evidence[0].found, finding.evidence[0].expected) == ("1", "2")
    assert finding.evidence[0].offset == 0x184
    assert verdict(one(sound_vhd(tmp_path), "vdi-allocated")) is SKIPPED
