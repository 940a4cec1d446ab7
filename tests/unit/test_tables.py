"""Tables of blocks: what is misplaced, what overlaps, and what a bitmap says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from vhdfast import Image, Kind, open_image, tables
from vhdfast.errors import SourceChangedError
from vhdfast.files import MemorySource
from vhdfast.tables import Block, OverlapSearch, Region, bit_rows, first_on, first_true, misplaced

from ..support import KIB, MIB, pattern
from ..support.build_parallels import parallels
from ..support.build_vdi import vdi
from ..support.build_vhd import DynamicVhd
from ..support.build_vhdx import write_vhdx
from ..support.build_vmdk import write_cowd, write_sparse

NOTHING = MemorySource(b"", "disk")
REGIONS = [Region("header", 0, 100), Region("table", 200, 300)]


def places(*values: int) -> np.ndarray:
    return np.asarray(values, np.uint64)


def test_the_first_true() -> None:
    assert first_true(np.asarray([False, True, True])) == 1
    assert first_true(np.asarray([False, False])) is None
    assert first_true(np.zeros(0, bool)) is None


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        ((100, 190, 300), None),
        ((100, 191), (1, REGIONS[1])),
        ((299,), (0, REGIONS[1])),
        ((250, 99), (1, REGIONS[0])),
    ],
)
def test_the_first_block_on_a_region(starts: tuple[int, ...], expected: object) -> None:
    assert first_on(places(*starts), 10, REGIONS) == expected


def test_a_block_may_be_cut_short_by_the_end_of_the_file() -> None:
    assert misplaced(places(110, 399), 10, 400, REGIONS) is None
    assert misplaced(places(110, 400), 10, 400, REGIONS) == (
        1, "is said to lie at 0x190, the file ends at 0x190",
    )  # fmt: skip
    assert misplaced(places(110, 200), 10, 400, REGIONS) == (
        1, "is said to lie at 0xc8, on top of the table [0xc8, 0x12c)",
    )  # fmt: skip


# ---- overlaps -----------------------------------------------------------------------------------


def search(*windows: tuple[list[int], list[int], object], sizes: tuple[int, ...]) -> OverlapSearch:
    def walk() -> Iterator[tuple[np.ndarray, np.ndarray, object]]:
        for indices, at, sorts in windows:
            yield np.asarray(indices), places(*at), sorts

    return OverlapSearch(NOTHING, walk, *sizes)


def test_neighbours_do_not_overlap() -> None:
    looked = search(([0, 1], [10, 0], 0), ([2], [5], 0), sizes=(5,))
    assert looked.find() is None
    assert looked.is_complete is True


def test_two_blocks_of_different_windows() -> None:
    looked = search(([0, 1], [10, 0], 0), ([7], [4], 0), sizes=(5,))
    assert looked.find() == (Block(1, 0, 0), Block(7, 4, 0))


def test_blocks_of_two_sizes() -> None:
    assert search(([0, 1], [0, 1], [1, 0]), sizes=(5, 1)).find() is None
    found = search(([0, 1], [0, 1], [0, 1]), sizes=(5, 1)).find()
    assert found == (Block(0, 0, 0), Block(1, 1, 1))


def test_one_place_twice() -> None:
    assert search(([4, 9, 11], [3, 0, 3], 0), sizes=(1,)).find() == (
        Block(4, 3, 0), Block(11, 3, 0),
    )  # fmt: skip


def test_what_is_compared_by_and_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "COMPARED", 2)
    for at in range(1, 9):
        starts = [10 * index for index in range(9)]
        starts[at] -= 1
        found = search((list(range(9)), starts, 0), sizes=(10,)).find()
        assert found == (Block(at - 1, starts[at - 1], 0), Block(at, starts[at], 0))


def test_nothing_is_stored() -> None:
    looked = search(([], [], 0), sizes=(1,))
    assert looked.find() is None
    assert looked.is_complete is True


def test_tables_that_change_meanwhile() -> None:
    answers = iter([places(0, 0), places(0, 1)])
    looked = OverlapSearch(NOTHING, lambda: [(np.arange(2), next(answers), 0)], 1)
    with pytest.raises(SourceChangedError):
        looked.find()


def vhd_of(path: Path) -> Path:
    vhd = DynamicVhd(12 * KIB, 4 * KIB)
    for block in range(3):
        vhd.store(block, pattern(block, 4 * KIB))
    return vhd.build().write(path)


BLOCKS = {block: pattern(block, MIB) for block in range(3)}
BUILT: dict[str, Callable[[Path], object]] = {
    "vhd": vhd_of,
    "vhdx": lambda path: write_vhdx(path, virtual_size=3 * MIB, blocks=BLOCKS),
    "vdi": lambda path: vdi(virtual_size=3 * MIB, blocks=BLOCKS).write(path),
    "parallels": lambda path: parallels(virtual_size=3 * MIB, clusters=BLOCKS).write(path),
    "vmdk": lambda path: write_sparse(path, 384, {0: b"a", 1: b"b", 2: b"c"}),
    "vmdk, COWD": lambda path: write_cowd(path, 384, {0: b"a", 1: b"b", 2: b"c"}, grain=128),
}


def codes_of(image: Image) -> set[str]:
    for _ in image.windows():
        pass
    return {notice.code for notice in image.notices}


@pytest.mark.parametrize("what", BUILT)
def test_too_many_blocks_are_read_unchecked_and_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = tmp_path / "disk"
    BUILT[what](path)
    for limit, noticed in ((3 + what.startswith("vmdk"), False), (2, True)):
        monkeypatch.setattr(tables, "OVERLAP_BLOCKS", limit)
        with open_image(path, what.partition(",")[0]) as image:
            assert ("overlaps-not-checked" in codes_of(image)) is noticed


# ---- bitmaps ------------------------------------------------------------------------------------


def test_rows_of_bits() -> None:
    bits = np.asarray([[1, 1, 0, 1], [0, 0, 1, 1]], np.uint8)
    rows = bit_rows(bits, places(4000, 8000), places(100, 50), 10, Kind.ZERO)
    assert [(int(r["offset"]), int(r["length"]), int(r["kind"]), int(r["file_offset"]))
            for r in rows] == [
        (4000, 20, Kind.DATA, 100),
        (4020, 10, Kind.ZERO, 0),
        (4030, 10, Kind.DATA, 130),
        (8000, 20, Kind.ZERO, 0),
        (8020, 20, Kind.DATA, 70),
    ]  # fmt: skip
