"""The gate that every map passes, and the helpers that formats build rows with."""

from __future__ import annotations

import numpy as np
import pytest

from vhdfast.errors import InternalError
from vhdfast.extents import Extent, ExtentMap, Kind, clip, cut_at_file_end, make_rows, merge


def rows(*columns):  # type: ignore[no-untyped-def]
    """(offset, length, kind, file_offset) each."""
    table = np.array(columns, dtype=object).T
    return make_rows(
        table[0].astype(np.uint64),
        table[1].astype(np.uint64),
        [int(kind) for kind in table[2]],
        table[3].astype(np.uint64),
    )


def plain(table):  # type: ignore[no-untyped-def]
    return [
        (int(r["offset"]), int(r["length"]), Kind(int(r["kind"])), int(r["file_offset"]))
        for r in table
    ]


def test_neighbours_that_continue_each_other_become_one() -> None:
    table = rows((0, 10, Kind.DATA, 100), (10, 10, Kind.DATA, 110), (20, 5, Kind.ZERO, 0),
                 (25, 5, Kind.ZERO, 0), (30, 5, Kind.DATA, 120))  # fmt: skip
    assert plain(merge(table)) == [
        (0, 20, Kind.DATA, 100),
        (20, 10, Kind.ZERO, 0),
        (30, 5, Kind.DATA, 120),
    ]


def test_data_that_lies_elsewhere_in_the_file_stays_apart() -> None:
    table = rows((0, 10, Kind.DATA, 100), (10, 10, Kind.DATA, 50))
    assert len(merge(table)) == 2


def test_clip_cuts_the_first_and_the_last_row() -> None:
    table = rows((0, 100, Kind.DATA, 1000), (100, 100, Kind.ZERO, 0), (200, 100, Kind.DATA, 5000))
    assert plain(clip(table, 30, 200)) == [
        (30, 70, Kind.DATA, 1030),
        (100, 100, Kind.ZERO, 0),
        (200, 30, Kind.DATA, 5000),
    ]


def test_clip_within_one_row() -> None:
    table = rows((0, 100, Kind.DATA, 1000))
    assert plain(clip(table, 10, 5)) == [(10, 5, Kind.DATA, 1010)]


def test_data_beyond_the_end_of_its_file_is_zero() -> None:
    table = rows((0, 100, Kind.DATA, 50), (100, 100, Kind.DATA, 150), (200, 100, Kind.DATA, 900))
    cut, lost = cut_at_file_end(table, 0, 200)
    assert lost == 150
    assert plain(cut) == [
        (0, 100, Kind.DATA, 50),
        (100, 50, Kind.DATA, 150),
        (150, 50, Kind.ZERO, 0),
        (200, 100, Kind.ZERO, 0),
    ]


def test_a_good_map_passes_and_becomes_read_only() -> None:
    window = ExtentMap.checked(0, 20, rows((0, 10, Kind.DATA, 5), (10, 10, Kind.ZERO, 0)), [15], 9)
    assert list(window) == [Extent(0, 10, Kind.DATA, 0, 5), Extent(10, 10, Kind.ZERO)]
    assert not window.rows.flags.writeable


def test_a_prefix_is_enough_and_max_rows_is_kept() -> None:
    table = rows((0, 10, Kind.DATA, 5), (10, 10, Kind.ZERO, 0), (20, 10, Kind.DATA, 0))
    window = ExtentMap.checked(0, 100, table, [15], 2)
    assert (len(window), window.end) == (2, 20)


BAD = {
    "a gap": [(0, 10, Kind.ZERO, 0), (11, 9, Kind.ZERO, 0)],
    "an overlap": [(0, 10, Kind.ZERO, 0), (9, 11, Kind.ZERO, 0)],
    "an empty row": [(0, 0, Kind.ZERO, 0), (0, 20, Kind.ZERO, 0)],
    "a late start": [(1, 19, Kind.ZERO, 0)],
    "beyond the window": [(0, 21, Kind.ZERO, 0)],
    "beyond the source": [(0, 20, Kind.DATA, 81)],
    "a wrap": [(0, 20, Kind.DATA, 2**64 - 10)],
    "no kind": [(0, 20, 4, 0)],
}


@pytest.mark.parametrize("columns", BAD.values(), ids=BAD.keys())
def test_the_gate_refuses(columns: list[tuple[int, int, int, int]]) -> None:
    with pytest.raises(InternalError):
        ExtentMap.checked(0, 20, rows(*columns), [100], 9)


def test_the_gate_refuses_a_source_that_is_not_there() -> None:
    table = make_rows([0], 20, Kind.DATA, 0, 1)
    with pytest.raises(InternalError, match="source 1"):
        ExtentMap.checked(0, 20, table, [100], 9)
