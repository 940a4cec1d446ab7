"""Ranges of sources: joined for fewer requests, and cut along what a server knows to be zeros."""

from __future__ import annotations

import random
import threading

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.far import Listed
from vhdfast.errors import CorruptImageError
from vhdfast.extents import Kind, concatenate, make_rows, merge
from vhdfast.files import FileSlice, MemorySource, Source
from vhdfast.ranges import join_ranges, split_zeros
from vhdfast.remote.base import BLOCK, CACHED_BLOCKS, MAX_AHEAD, BlockCache, shown_url

SIZE = 400


def i64(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64)


def test_ranges_within_the_gap_are_joined() -> None:
    spans = join_ranges(i64(100, 0, 15, 300), i64(110, 10, 20, 310), 5)
    assert spans.lows.tolist() == [0, 100, 300]
    assert spans.highs.tolist() == [20, 110, 310]
    assert spans.order.tolist() == [1, 2, 0, 3]
    assert spans.group.tolist() == [0, 0, 1, 2]
    assert spans.total == 40


def test_a_range_inside_another_does_not_shorten_the_span() -> None:
    spans = join_ranges(i64(0, 10, 60), i64(100, 20, 70), 0)
    assert (spans.lows.tolist(), spans.highs.tolist()) == ([0], [100])


class Knowing(Source):
    """Which bytes of it are zeros is known; each answer tells of at most `reach` bytes."""

    knows_zeros = True
    path = "knowing"

    def __init__(self, zero: list[bool], reach: int) -> None:
        self.zero = zero
        self.size = len(zero)
        self.reach = reach

    def fileno(self) -> None:
        return None

    def find_zeros(self, offset: int, length: int) -> tuple[npt.NDArray[np.int64], int]:
        assert length > 0 and offset + length <= self.size
        end = min(offset + length, offset + self.reach)
        found: list[tuple[int, int]] = []
        for at in range(offset, end):
            if self.zero[at]:
                if found and found[-1][1] == at:
                    found[-1] = (found[-1][0], at + 1)
                else:
                    found.append((at, at + 1))
        return np.array(found, np.int64).reshape(-1, 2), end


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[tuple[int, int, int]], list[bool], int, int]:
    """(rows as (length, kind, file offset), which bytes are zeros, reach, max_rows)."""
    seed = draw(st.integers(0, 1 << 30))
    number = random.Random(seed)
    zero: list[bool] = []
    while len(zero) < SIZE:
        zero += [number.random() < 0.5] * number.choice((1, 3, 10, 50))
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        length = number.randint(1, 60)
        kind = number.choice((Kind.DATA, Kind.DATA, Kind.ZERO, Kind.COMPRESSED))
        rows.append((length, int(kind), number.randrange(SIZE - length)))
    return rows, zero[:SIZE], draw(st.sampled_from((1, 7, 1000))), draw(st.sampled_from((1, 5, 99)))


@settings(max_examples=200, deadline=None)
@given(cases(), st.sampled_from((0, 5, 1000)))
def test_exactly_what_is_known_to_be_zero_becomes_zero(
    case: tuple[list[tuple[int, int, int]], list[bool], int, int], gap: int
) -> None:
    given_rows, zero, reach, max_rows = case
    source = Knowing(zero, reach)
    kinds = []  # of each byte: what it must become
    offset = 0
    parts = []
    for length, kind, place in given_rows:
        parts.append(make_rows(np.array([offset]), length, kind, place, 0))
        for at in range(place, place + length):
            kinds.append((1, 0) if kind == 1 or (kind == 2 and zero[at]) else (kind, at))
        offset += length
    rows = concatenate(parts)
    rows["file_offset"][rows["kind"] == Kind.ZERO] = 0
    before = rows.copy()
    end = at = 0
    while end < offset:
        left = rows[np.cumsum(rows["length"]) > at]
        left = left.copy()
        # The rest of the map, as a format would give it from `end` on.
        skip = end - int(left[0]["offset"])
        if left[0]["kind"] == Kind.COMPRESSED and skip:
            raise AssertionError("a compressed row was cut")
        left[0]["offset"] += skip
        left[0]["length"] -= skip
        if left[0]["kind"] == Kind.DATA:
            left[0]["file_offset"] += skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("vhdfast.ranges.ASK_GAP", gap)
            patch.setattr("vhdfast.ranges.MAX_QUESTIONS", 4)
            found = split_zeros(source, 0, left, max_rows)
        assert len(found) and found["length"].all()
        unknown = len(found) == 1 and found[0] == left[0]
        for row in found:
            assert row["offset"] == end
            for step in range(int(row["length"])):
                kind, place = kinds[end + step]
                if row["kind"] == Kind.DATA:
                    assert row["file_offset"] + step == place or unknown
                else:
                    assert row["kind"] == kind
                    assert kind == Kind.COMPRESSED or row["file_offset"] == 0
            end += int(row["length"])
        at = end
    assert (rows == before).all()


def test_rows_of_other_files_are_left_alone() -> None:
    rows = make_rows(np.array([0, 100]), 100, Kind.DATA, [0, 0], [0, 1])
    found = merge(split_zeros(Knowing([True] * 100, 1000), 1, rows, 99))
    assert [(int(r["offset"]), int(r["kind"]), int(r["file"])) for r in found] == [
        (0, Kind.DATA, 0),
        (100, Kind.ZERO, 0),
    ]


def test_many_rows_over_the_same_zeros_do_not_multiply() -> None:
    zero = [at % 2 == 0 for at in range(2000)]
    rows = make_rows(np.arange(1000) * 2000, 2000, Kind.DATA, np.zeros(1000))
    found = split_zeros(Knowing(zero, 2000), 0, rows, 2000)
    assert 2000 <= len(found) <= 8001
    assert (found["offset"][1:] == (found["offset"] + found["length"])[:-1]).all()


def test_a_slice_knows_what_its_whole_knows() -> None:
    whole = Knowing([False] * 50 + [True] * 50, 1000)
    part = FileSlice(whole, 40, 30, "part")
    ranges, end = part.find_zeros(5, 25)
    assert (ranges.tolist(), end) == ([[10, 30]], 30)


# ---- reading ------------------------------------------------------------------------------------


CONTENT = random.Random(1).randbytes(3_000_001)


@pytest.mark.parametrize("size", [1, 64, 5000])
def test_gathering_from_afar_and_from_memory_is_the_same(size: int) -> None:
    number = random.Random(size)
    offsets = [number.randrange(len(CONTENT) - size + 1) for _ in range(200)]
    places = np.array([*offsets, *offsets[:3], len(CONTENT) - size], np.uint64)
    near = MemorySource(CONTENT, "memory").gather(places, size)
    source = Listed(CONTENT)
    assert (source.gather(places, size) == near).all()
    assert bytes(near[0]) == CONTENT[offsets[0] : offsets[0] + size]
    assert len(source.requests) == 1
    fetched = sum(length for _, length in source.requests[0])
    assert fetched <= 2 * size * len(places)


def test_gathering_beyond_the_end_is_corrupt() -> None:
    with pytest.raises(CorruptImageError, match="ends at"):
        Listed(CONTENT).gather(np.array([0, len(CONTENT) - 3], np.uint64), 4)


def test_a_slice_of_a_remote_source_reads_several_ranges_at_once() -> None:
    source = Listed(CONTENT)
    part = FileSlice(source, 1000, 2000, "part")
    assert part.read_ranges([(0, 5), (1990, 10)], "x") == [CONTENT[1000:1005], CONTENT[2990:3000]]
    assert source.requests == [[(1000, 5), (2990, 10)]]
    with pytest.raises(CorruptImageError, match="the file ends after 9"):
        part.read_ranges([(1991, 10)], "x")


def test_the_cache_keeps_no_more_than_its_bound() -> None:
    size = 3 * CACHED_BLOCKS * BLOCK
    cache = BlockCache(lambda offset, length: bytes(length), size)
    for index in range(0, 3 * CACHED_BLOCKS, 2):
        cache.read(index * BLOCK + 5, 10)
    assert len(cache._blocks) <= CACHED_BLOCKS
    assert len(cache._runs) < 100


def test_reading_ahead_grows_to_its_bound() -> None:
    requests: list[tuple[int, int]] = []

    def fetch(offset: int, length: int) -> bytes:
        requests.append((offset, length))
        return bytes(length)

    cache = BlockCache(fetch, 64 << 20)
    for at in range(0, 32 << 20, 4096):
        cache.read(at, 4096)
    lengths = [length for _, length in requests]
    assert lengths[:4] == [BLOCK, 2 * BLOCK, 4 * BLOCK, 8 * BLOCK]
    assert max(lengths) == MAX_AHEAD


def test_threads_share_the_cache() -> None:
    source = Listed(CONTENT)
    wrong: list[int] = []

    def read(seed: int) -> None:
        number = random.Random(seed)
        for _ in range(300):
            at, length = number.randrange(len(CONTENT)), number.randrange(1, 200_000)
            if source.read(at, length) != CONTENT[at : at + length]:
                wrong.append(at)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host/d.raw", "http://host/d.raw"),
        ("http://me:secret@host/d.raw", "http://me:***@host/d.raw"),
        ("HTTPS://me:sec:ret@host:80/d", "HTTPS://me:***@host:80/d"),
        ("https://host/d.vhd?sv=1&sig=secret#x", "https://host/d.vhd"),
        ("https://host/a@b:c@d", "https://host/a@b:c@d"),
        ("nbd+unix:///x?socket=/run/s", "nbd+unix:///x?socket=/run/s"),
        ("http://host/a\x1b[31m", "http://host/a?[31m"),
    ],
)
def test_urls_in_messages(url: str, shown: str) -> None:
    assert shown_url(url) == shown
