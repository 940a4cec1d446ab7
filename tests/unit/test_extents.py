"""The gate that every map passes, and the helpers that formats build rows with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vhdfast.errors import InternalError
from vhdfast.extents import (
    EXTENT,
    Codec,
    Extent,
    ExtentMap,
    Kind,
    clip,
    cut_at_file_end,
    make_rows,
    merge,
    overlay,
)


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


# ---- overlay and clip, against a model that knows each byte --------------------------------------

UNIT = 30  # decoded bytes of every compressed unit
PIECES = st.lists(
    st.tuples(
        st.integers(0, 6),  # gap before it
        st.integers(1, 12),
        st.sampled_from(list(Kind)),
        st.integers(0, 40),  # file_offset
        st.integers(0, 2),  # file
        st.integers(0, UNIT - 12),  # skip
    ),
    max_size=10,
)


def layer(pieces, gaps=True):  # type: ignore[no-untyped-def]
    """EXTENT rows; gaps between them, or none."""
    table, at = np.zeros(len(pieces), dtype=EXTENT), 0
    for row, (gap, length, kind, file_offset, file, skip) in zip(table, pieces, strict=True):
        at += gap if gaps else 0
        row["offset"], row["length"], row["kind"] = at, length, kind
        if kind >= Kind.DATA:
            row["file_offset"], row["file"] = file_offset, file
        if kind == Kind.COMPRESSED:
            row["stored_length"], row["decoded_length"] = 7, UNIT
            row["skip"], row["codec"] = skip, Codec.ZSTD
        at += length
    return table


def each_byte(table):  # type: ignore[no-untyped-def]
    """{offset: where its byte comes from}."""
    found = {}
    for row in table:
        kind = Kind(int(row["kind"]))
        for at in range(int(row["length"])):
            where = [kind]
            if kind == Kind.DATA:
                where += [int(row["file"]), int(row["file_offset"]) + at]
            elif kind == Kind.COMPRESSED:
                where += [int(row["file"]), int(row["file_offset"]), int(row["stored_length"]),
                          int(row["decoded_length"]), int(row["codec"]), int(row["skip"]) + at]
            offset = int(row["offset"]) + at
            assert offset not in found, "rows overlap"
            found[offset] = tuple(where)
    return found


@settings(deadline=None)
@given(top=PIECES, base=PIECES)
def test_overlay_of_any_layers(top, base):  # type: ignore[no-untyped-def]
    above, below = layer(top, gaps=False), layer(base)
    below["kind"][below["kind"] == Kind.UNALLOCATED] = Kind.ZERO
    expected, under = each_byte(above), each_byte(below)
    for offset, where in expected.items():
        if where[0] == Kind.UNALLOCATED:
            expected[offset] = under.get(offset, (Kind.ZERO,))
    before = (above.copy(), below.copy())
    rows = overlay(above, below)
    assert each_byte(rows) == expected
    assert (rows["offset"][1:] >= rows["offset"][:-1] + rows["length"][:-1]).all()
    assert (rows["length"] > 0).all()
    assert (above == before[0]).all() and (below == before[1]).all(), "neither is changed"


@settings(deadline=None)
@given(pieces=PIECES, offset=st.integers(0, 100), length=st.integers(0, 60))
def test_clip_of_any_rows(pieces, offset, length):  # type: ignore[no-untyped-def]
    table = layer(pieces)
    expected = {at: where for at, where in each_byte(table).items()
                if offset <= at < offset + length}  # fmt: skip
    assert each_byte(clip(table, offset, length)) == expected


def test_overlay_near_the_end_of_what_offsets_can_say() -> None:
    top = make_rows([0, 2**62], [2**62, 2**62 - 1], Kind.UNALLOCATED)
    base = make_rows([2**62 - 5], 10, Kind.DATA, 2**63 - 20)
    assert plain(overlay(top, base)) == [
        (0, 2**62 - 5, Kind.ZERO, 0),
        (2**62 - 5, 5, Kind.DATA, 2**63 - 20),
        (2**62, 5, Kind.DATA, 2**63 - 15),
        (2**62 + 5, 2**62 - 6, Kind.ZERO, 0),
    ]


def test_overlay_without_a_base_is_zero() -> None:
    top = make_rows([0, 10], 10, [Kind.UNALLOCATED, Kind.DATA], 5)
    top["file_offset"][0] = 0
    assert plain(overlay(top, top[:0])) == [(0, 10, Kind.ZERO, 0), (10, 10, Kind.DATA, 5)]
