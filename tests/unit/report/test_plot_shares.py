"""Bytes of each kind in each cell, against a count byte range by byte range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vhdfast.extents import ExtentMap, Kind, make_rows
from vhdfast.report.plot_shares import KINDS, Shares

GIB = 1 << 30
TIB = 1 << 40
Rows = list[tuple[int, int, Kind]]


def window(rows: Rows) -> ExtentMap:
    offsets, lengths, kinds = zip(*rows, strict=True)
    made = make_rows(offsets, lengths, kinds)
    return ExtentMap(offsets[0], sum(lengths), made)


def counted(rows: Rows, offset: int, length: int, cell: int) -> list[list[int]]:
    """The same slowly: each row is cut at the border of each cell that it touches."""
    cells = [[0] * -(-length // cell) for _ in KINDS]
    for start, count, kind in rows:
        at = start
        while at < start + count:
            index = (at - offset) // cell
            end = min(start + count, offset + (index + 1) * cell)
            cells[KINDS.index(kind)][index] += end - at
            at = end
    return cells


@pytest.mark.parametrize(
    ("length", "cell", "count"),
    [
        (1, 512, 1),
        (512, 512, 1),
        (513, 512, 2),
        (1 << 20, 512, 2048),
        ((1 << 20) + 1, 1024, 1025),
        (30 * GIB, 16 << 20, 1920),
        (127 * GIB, 64 << 20, 2032),
        (64 * TIB, 32 * GIB, 2048),
        ((1 << 63) - 512, 1 << 52, 2048),
    ],
)
def test_sizes_of_cells(length: int, cell: int, count: int) -> None:
    shares = Shares(0, length)
    assert (shares.cell, shares.count) == (cell, count)
    assert int(shares.lengths.sum()) == length and shares.lengths[0] == min(cell, length)


def test_literal_shares() -> None:
    shares = Shares(0, 4096, max_cells=4)
    assert shares.cell == 1024
    shares.add(
        window(
            [(0, 1000, Kind.DATA), (1000, 100, Kind.ZERO), (1100, 2000, Kind.COMPRESSED),
             (3100, 996, Kind.DATA)]
        )
    )  # fmt: skip
    assert shares.bytes.tolist() == [[1000, 0, 0, 996], [0, 948, 1024, 28], [24, 76, 0, 0]]
    assert shares.totals == {Kind.DATA: 1996, Kind.COMPRESSED: 2000, Kind.ZERO: 100}


def test_no_cells_in_nothing() -> None:
    with pytest.raises(ValueError, match="no cells"):
        Shares(0, 0)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_shares_are_those_of_a_slow_count(data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, 5000))
    lengths = data.draw(st.lists(st.integers(1, 3000), min_size=1, max_size=30))
    kinds = data.draw(
        st.lists(st.sampled_from(KINDS), min_size=len(lengths), max_size=len(lengths))
    )
    starts = [offset + sum(lengths[:n]) for n in range(len(lengths))]
    rows = list(zip(starts, lengths, kinds, strict=True))
    shares = Shares(offset, sum(lengths), max_cells=data.draw(st.integers(1, 40)))
    cut = data.draw(st.integers(0, len(rows)))
    for part in (rows[cut:], rows[:cut]):  # windows in any order
        if part:
            shares.add(window(part))
    assert shares.bytes.tolist() == counted(rows, offset, sum(lengths), shares.cell)
    assert (shares.bytes.sum(axis=0) == shares.lengths).all()


@pytest.mark.large
def test_the_largest_disk_is_counted_to_the_byte() -> None:
    size = (1 << 63) - 512
    shares = Shares(0, size)
    shares.add(window([(0, 1, Kind.DATA), (1, size - 2, Kind.ZERO), (size - 1, 1, Kind.DATA)]))
    data = shares.bytes[0]
    assert (data[0], data[-1], int(data.sum())) == (1, 1, 2)
    assert int(shares.bytes.sum(dtype=np.int64)) == size
