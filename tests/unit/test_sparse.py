"""Sources of which another one holds the pieces, against a file that has all its bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import pattern
from vhdfast import sparse
from vhdfast.errors import CorruptImageError
from vhdfast.extents import Codec, Kind, make_rows
from vhdfast.files import MemorySource
from vhdfast.ranges import split_zeros
from vhdfast.sparse import SparseSource

SIZE = 400
BEFORE = 7  # bytes of the other source in front of the pieces


def build(cuts: Sequence[int], size: int = SIZE) -> tuple[SparseSource, bytes]:
    """Every second range between the cuts is stored, and the bytes of the file."""
    bounds = sorted({cut for cut in cuts if cut < size})
    pieces = [(low, high - low) for low, high in zip(bounds[::2], bounds[1::2], strict=False)]
    content, stored = bytearray(size), pattern(9, BEFORE)
    for start, length in pieces:
        content[start : start + length] = pattern(start, length)
        stored += pattern(start, length)
    starts = np.array([start for start, _ in pieces], np.int64)
    lengths = np.array([length for _, length in pieces], np.int64)
    whole = MemorySource(stored + b"behind", "whole")
    return SparseSource(whole, BEFORE, starts, lengths, size, "disk"), bytes(content)


CUTS = st.lists(st.integers(0, SIZE), max_size=30)


@settings(max_examples=200, deadline=None)
@given(cuts=CUTS, ranges=st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 90)), max_size=9))
def test_its_bytes_are_those_of_the_file(cuts: list[int], ranges: list[tuple[int, int]]) -> None:
    source, content = build(cuts)
    for offset, length in ranges:
        assert source.read(offset, length) == content[offset : offset + length]
    within = [(offset, min(length, SIZE - offset)) for offset, length in ranges]
    expected = [content[offset : offset + length] for offset, length in within]
    assert source.read_ranges(within, "x") == expected


@settings(max_examples=200, deadline=None)
@given(
    cuts=CUTS, offset=st.integers(0, SIZE - 1), length=st.integers(1, SIZE), asked=st.integers(1, 9)
)
def test_zeros_are_what_no_piece_holds(
    cuts: list[int], offset: int, length: int, asked: int
) -> None:
    source, content = build(cuts)
    length = min(length, SIZE - offset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse, "ASKED", asked)
        zeros, end = source.find_zeros(offset, length)
    assert offset < end <= offset + length
    found = [at for low, high in zeros.tolist() for at in range(low, high)]
    assert found == [at for at in range(offset, end) if not content[at]]
    assert len(zeros) <= asked + 1


@settings(max_examples=200, deadline=None)
@given(cuts=CUTS, lengths=st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_rows_cut_at_the_holes_are_found_in_the_other_source(
    cuts: list[int], lengths: list[int]
) -> None:
    source, content = build(cuts)
    ends = [end for end in np.cumsum(lengths).tolist() if end <= SIZE]
    starts = [0, *ends[:-1]] if ends else []
    if not starts:
        return
    sizes = np.diff([0, *ends])
    rows = make_rows(np.array(starts), sizes, Kind.DATA, np.array(starts))
    rows = source.locate(split_zeros(source, 0, rows, 1000), 0, 5)
    out = bytearray(ends[-1])
    for row in rows:
        at, length, place = (int(row[name]) for name in ("offset", "length", "file_offset"))
        if row["kind"] == Kind.DATA:
            assert row["file"] == 5
            out[at : at + length] = source.whole.read(place, length)
    assert bytes(out) == content[: len(out)]
    assert int(rows["length"].sum()) == len(out)


def test_pieces_side_by_side_are_one() -> None:
    whole = MemorySource(pattern(1, 30), "whole")
    starts, lengths = np.array([10, 20, 50], np.int64), np.array([10, 10, 10], np.int64)
    source = SparseSource(whole, 0, starts, lengths, 100, "disk")
    rows = make_rows(np.array([0]), 20, Kind.DATA, np.array([10]))
    located = source.locate(rows, 0, 1)
    assert located["file"].tolist() == [1]
    assert located["file_offset"].tolist() == [0]


def packed(offset: int, stored: int) -> np.ndarray:  # type: ignore[type-arg]
    rows = make_rows(np.array([0]), 64, Kind.COMPRESSED, np.array([offset]))
    rows["stored_length"], rows["decoded_length"], rows["codec"] = stored, 64, Codec.ZLIB
    return rows


@pytest.mark.parametrize(
    ("offset", "stored", "file", "place"),
    [
        (100, 40, 1, BEFORE),
        (120, 20, 1, BEFORE + 20),
        (120, 21, 0, 120),  # the last byte is in a hole
        (90, 20, 0, 90),
        (0, 20, 0, 0),
        (200, 10, 0, 200),
    ],
)
def test_a_compressed_unit_with_a_hole_stays_where_it_is(
    offset: int, stored: int, file: int, place: int
) -> None:
    source, _ = build([100, 140])
    row = source.locate(packed(offset, stored), 0, 1)[0]
    assert (row["file"], row["file_offset"]) == (file, place)


def test_rows_of_other_sources_stay_as_they_are() -> None:
    source, _ = build([100, 140])
    rows = make_rows(np.array([0]), 20, Kind.DATA, np.array([100]), 3)
    assert source.locate(rows, 0, 1)["file"].tolist() == [3]


def test_a_file_that_is_all_hole() -> None:
    source, content = build([])
    assert source.read(0, SIZE) == content
    assert source.find_zeros(0, SIZE)[0].tolist() == [[0, SIZE]]


def test_reads_beyond_the_end() -> None:
    source, _ = build([100, 140])
    assert source.read(SIZE + 5, 10) == b""
    with pytest.raises(CorruptImageError, match="ends after 10"):
        source.read_exact(SIZE - 10, 20, "table")
    with pytest.raises(CorruptImageError, match="ends after 10"):
        source.read_ranges([(0, 10), (SIZE - 10, 20)], "table")
