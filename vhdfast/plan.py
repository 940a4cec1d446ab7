"""The map after the decision: known zeros removed, cut into segments.

A segment is the unit of work, of progress and of retry. Segments are cut at multiples of
CUT_ALIGNMENT of the virtual disk, so that no two of them touch the same granule of the target, and
not inside a compressed unit, so that none is decoded twice. They hold at most SEGMENT_BYTES of data
(CLONED_SEGMENT_BYTES where next to nothing is copied) and SEGMENT_ROWS rows wherever such a cut
allows it.

What goes block by block (a target that stores blocks, a digest) gets the disk in `blocks` instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .cloning import Cloning
from .extents import MAX_ROWS, ExtentMap, Kind, Rows, clip, concatenate
from .image import Image
from .ranges import busy_ranges
from .units import MIB, round_down, round_up

__all__ = ["Segment", "Survey", "blocks", "segment_budget", "segments", "survey"]

SEGMENT_BYTES = 16 * MIB
# The same where nearly all is cloned, which takes about as long for many bytes as for few.
CLONED_SEGMENT_BYTES = 256 * MIB
NEARLY_ALL = 15 / 16
SEGMENT_ROWS = 8192
CUT_ALIGNMENT = MIB
KEPT_ROWS = MAX_ROWS  # of windows that a survey keeps: 2.5 MiB


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows that one worker copies in one go: DATA and COMPRESSED, ascending.

    [offset, offset + length) is the part of the virtual disk that the segment answers for, known
    zeros included; all `segments` together cover the disk.
    """

    offset: int
    length: int
    rows: Rows
    stored: int  # bytes of its rows, decoded


@dataclass(frozen=True, slots=True)
class Survey:
    """What a walk over the whole map found, in bytes.

    whole: all windows of the map, where they have KEPT_ROWS at most: making them once more may take
    longer than the copy. blocks: how many blocks hold data, where their size was given. cloneable:
    of the data, what need not be copied.
    """

    virtual_size: int
    data: int
    zero: int
    whole: Sequence[ExtentMap] | None
    blocks: int = 0
    cloneable: int = 0


def survey(image: Image, block_size: int = 0, cloning: Cloning | None = None) -> Survey:
    """Walk the map once: how much there is to copy. Memory does not grow with the image."""
    data = count = counted_to = cloneable = rows = 0
    kept: list[ExtentMap] = []
    for window in image.windows():
        data += window.bytes_of(Kind.DATA, Kind.COMPRESSED)
        if cloning is not None:
            cloneable += cloning.count(window.rows)
        if block_size:
            for low, high in busy_ranges([window.rows], block_size):
                # The first block may have been counted with the window before.
                count += (high - max(low, counted_to)) // block_size
                counted_to = high
        rows += len(window.rows)
        if rows <= KEPT_ROWS:
            kept.append(window)
        else:
            kept.clear()
    zero = image.virtual_size - data
    whole = kept if rows <= KEPT_ROWS else None
    return Survey(image.virtual_size, data, zero, whole, count, cloneable)


def segments(
    image: Image, known: Sequence[ExtentMap] | None = None, budget: int = SEGMENT_BYTES
) -> Iterator[Segment]:
    """The segments of an image, in ascending order, one window of its map at a time.

    known: all windows of its map where the caller has them already. budget: bytes of data in one.
    """
    alignment = CUT_ALIGNMENT
    if image.layer.unit_size > alignment:
        alignment = round_up(image.layer.unit_size, CUT_ALIGNMENT)
    for rows, start, end in _parts(image, known, alignment):
        yield from _cut(rows, start, end, alignment, budget)


def blocks(
    image: Image, block_size: int, known: Sequence[ExtentMap] | None = None
) -> Iterator[Segment]:
    """A segment for each block of the disk that has data, in ascending order.

    Blocks begin at multiples of block_size; the last one ends with the disk.
    """
    for rows, _, _ in _parts(image, known, block_size):
        starts = rows["offset"].copy()
        ends = starts + rows["length"]
        for low, high in busy_ranges([rows], block_size):
            for offset in range(low, high, block_size):
                length = min(block_size, image.virtual_size - offset)
                first = int(np.searchsorted(ends, np.uint64(offset), side="right"))
                last = int(np.searchsorted(starts, np.uint64(offset + length), side="left"))
                chosen = clip(rows[first:last], offset, length)
                yield Segment(offset, length, chosen, int(chosen["length"].sum(dtype=np.uint64)))


def _parts(
    image: Image, known: Sequence[ExtentMap] | None, alignment: int
) -> Iterator[tuple[Rows, int, int]]:
    """(rows that are not ZERO, start, end) of parts of the disk that end on the alignment."""
    windows: Iterable[ExtentMap] = image.windows() if known is None else known
    start = 0
    kept: list[Rows] = []  # rows after the last cut, waiting for the next window
    for window in windows:
        rows = window.rows[window.rows["kind"] != Kind.ZERO]
        rows = concatenate([*kept, rows]) if kept else rows
        is_last = window.end == image.virtual_size
        end = window.end if is_last else round_down(window.end, alignment)
        if end > start:
            yield (rows if is_last else clip(rows, start, end - start)), start, end
            rest = clip(rows, end, window.end - end) if end < window.end else rows[:0]
            kept = [rest] if len(rest) else []
            start = end
        else:
            kept = [rows] if len(rows) else []


def segment_budget(found: Survey) -> int:
    """Bytes of data that a segment of the surveyed image may hold."""
    is_cloned = found.cloneable > 0 and found.cloneable >= NEARLY_ALL * found.data
    return CLONED_SEGMENT_BYTES if is_cloned else SEGMENT_BYTES


def _cut(rows: Rows, start: int, end: int, alignment: int, budget: int) -> Iterator[Segment]:
    """Cut rows of [start, end) into segments; a Python step for each segment, not for each row."""
    ends = rows["offset"] + rows["length"]
    totals = np.zeros(len(rows) + 1, dtype=np.uint64)
    np.cumsum(rows["length"], out=totals[1:])
    while start < end:
        first = int(np.searchsorted(ends, np.uint64(start), side="right"))
        if first == len(rows):
            yield Segment(start, end - start, rows[:0], 0)
            return
        into = max(0, start - int(rows[first]["offset"]))
        target = int(totals[first]) + into + budget
        last = min(
            int(np.searchsorted(totals, np.uint64(target), side="left")) - 1,
            first + SEGMENT_ROWS,
            len(rows) - 1,
        )
        # The row in which the budget runs out, and where in it.
        within = min(target - int(totals[last]), int(rows[last]["length"]))
        budget_end = int(rows[last]["offset"]) + within
        is_all = last == len(rows) - 1 and within == int(rows[last]["length"])
        stop = end if is_all else round_down(budget_end, alignment)
        if stop <= start:
            stop = round_up(start + 1, alignment)
        stop = min(stop, end)
        chosen = clip(rows[first : last + 1], start, stop - start)
        yield Segment(start, stop - start, chosen, int(chosen["length"].sum(dtype=np.uint64)))
        start = stop
