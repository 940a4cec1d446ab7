"""Segments: all of the data, once, cut on MiB borders, bounded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vhdfast.extents import Kind
from vhdfast.formats.base import ImageFormat, OpenOptions
from vhdfast.image import Image
from vhdfast.plan import (
    CUT_ALIGNMENT,
    SEGMENT_BYTES,
    Survey,
    blocks,
    segment_budget,
    segments,
    survey,
)

MIB = 1 << 20


class Disk(ImageFormat):
    """A disk of given data ranges whose bytes lie in /dev/zero's stead: only the map counts."""

    def __init__(self, size, ranges, step):  # type: ignore[no-untyped-def]
        from vhdfast.extents import make_rows
        from vhdfast.files import MemorySource

        source = MemorySource(b"", "memory")
        source.size = size
        self.sources = [source]
        self.source = source  # type: ignore[assignment]
        source.is_device = True  # type: ignore[attr-defined]
        self.options = OpenOptions(ask_holes=False)
        self.notices = []
        self.virtual_size = size
        self._stride = size  # what ImageFormat.__init__ sets
        self._make, self._ranges, self._step = make_rows, ranges, step

    @classmethod
    def probe(cls, glimpse):  # type: ignore[no-untyped-def]
        return None

    def info(self):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def rows(self, offset, length, max_rows):  # type: ignore[no-untyped-def]
        """One row at a time, `step` bytes at most: windows end in odd places."""
        end = min(offset + length, offset + self._step)
        for start, size in self._ranges:
            if start <= offset < start + size:
                return self._make([offset], min(end, start + size) - offset, Kind.DATA, offset)
            if start > offset:
                return self._make([offset], min(end, start) - offset, Kind.ZERO)
        return self._make([offset], end - offset, Kind.ZERO)


def disks():  # type: ignore[no-untyped-def]
    lengths = st.lists(st.tuples(st.integers(1, 40 * MIB), st.integers(1, 40 * MIB)), max_size=6)

    def build(parts, step):  # type: ignore[no-untyped-def]
        at, ranges = 0, []
        for gap, size in parts:
            ranges.append((at + gap, size))
            at += gap + size
        return at + 1, ranges, step

    return st.builds(build, lengths, st.integers(MIB // 2, 50 * MIB))


@settings(max_examples=150, deadline=None)
@given(disks())
def test_segments_cover_the_data_exactly_once(disk) -> None:  # type: ignore[no-untyped-def]
    size, ranges, step = disk
    cut = list(segments(Image(Disk(size, ranges, step))))

    assert [s.offset for s in cut[1:]] == [s.offset + s.length for s in cut[:-1]]
    assert cut[0].offset == 0
    assert cut[-1].offset + cut[-1].length == size
    assert all(s.offset % CUT_ALIGNMENT == 0 for s in cut)
    assert all(s.stored <= SEGMENT_BYTES for s in cut)
    covered: list[list[int]] = []
    for segment in cut:
        assert segment.stored == sum(int(row["length"]) for row in segment.rows)
        for row in segment.rows:
            start, end = int(row["offset"]), int(row["offset"]) + int(row["length"])
            assert segment.offset <= start
            assert end <= segment.offset + segment.length
            assert int(row["file_offset"]) == start
            if covered and covered[-1][1] == start:
                covered[-1][1] = end
            else:
                covered.append([start, end])
    assert covered == [[start, start + length] for start, length in ranges]


def test_the_survey_counts_data_and_zeros() -> None:
    found = survey(Image(Disk(100 * MIB, [(5, 7 * MIB), (50 * MIB, 1)], 3 * MIB)))
    assert (found.data, found.zero) == (7 * MIB + 1, 93 * MIB - 1)


def test_a_survey_keeps_the_windows_of_a_short_map() -> None:
    image = Image(Disk(100 * MIB, [(5, 7 * MIB), (50 * MIB, 1)], 3 * MIB))
    found = survey(image)
    assert found.whole is not None and len(found.whole) > 30
    assert [(part.offset, part.stored) for part in segments(image, found.whole)] == [
        (part.offset, part.stored) for part in segments(image)
    ]


def test_a_survey_keeps_no_windows_of_a_long_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vhdfast.plan.KEPT_ROWS", 5)
    long = survey(Image(Disk(100 * MIB, [(5, 7 * MIB), (50 * MIB, 1)], 3 * MIB)))
    short = survey(Image(Disk(15 * MIB, [], 3 * MIB)))
    assert long.whole is None
    assert short.whole is not None and len(short.whole) == 5


@pytest.mark.parametrize(
    ("cloneable", "budget"),
    [(0, 16 * MIB), (149 * MIB, 16 * MIB), (150 * MIB, 256 * MIB), (160 * MIB, 256 * MIB)],
)
def test_segments_are_long_where_nearly_all_is_cloned(cloneable: int, budget: int) -> None:
    assert segment_budget(Survey(1 << 30, 160 * MIB, 0, None, 0, cloneable)) == budget


def test_a_budget_bounds_segments() -> None:
    image = Image(Disk(100 * MIB, [(0, 100 * MIB)], 200 * MIB))
    assert [part.stored for part in segments(image, None, 64 * MIB)] == [64 * MIB, 36 * MIB]


def test_rows_of_512_bytes_are_cut_on_mib_borders() -> None:
    ranges = [(index * 1024, 512) for index in range(4_000)]
    cut = list(segments(Image(Disk(8 * MIB, ranges, MIB))))
    assert sum(s.stored for s in cut) == 4_000 * 512
    assert all(s.offset % MIB == 0 for s in cut)


@settings(max_examples=150, deadline=None)
@given(disks(), st.sampled_from([MIB, 2 * MIB, 3 * MIB]))
def test_blocks_are_those_with_data_whatever_the_windows(disk, block) -> None:  # type: ignore[no-untyped-def]
    size, ranges, step = disk
    image = Image(Disk(size, ranges, step))
    found = list(blocks(image, block))

    expected = sorted(
        {
            at
            for start, length in ranges
            for at in range(start // block, (start + length - 1) // block + 1)
        }
    )
    assert [part.offset for part in found] == [at * block for at in expected]
    assert survey(image, block).blocks == len(expected)
    for part in found:
        assert part.length == min(block, size - part.offset)
        inside = [
            (max(start, part.offset), min(start + length, part.offset + part.length))
            for start, length in ranges
            if start < part.offset + part.length and start + length > part.offset
        ]
        assert part.stored == sum(end - start for start, end in inside)
        covered: list[list[int]] = []
        for row in part.rows:
            start, end = int(row["offset"]), int(row["offset"]) + int(row["length"])
            assert int(row["file_offset"]) == start
            if covered and covered[-1][1] == start:
                covered[-1][1] = end
            else:
                covered.append([start, end])
        assert [tuple(pair) for pair in covered] == inside
