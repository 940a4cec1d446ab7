"""Byte ranges: which of a source are asked for together, which read as zeros, which hold data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .extents import Kind, Rows
from .units import MIB

if TYPE_CHECKING:
    from .files import Source

__all__ = ["Spans", "busy_ranges", "join_ranges", "split_zeros"]

# Rows closer than this in their source are asked about together.
ASK_GAP = 16 * MIB
# Questions for one window of a map: what it covers shrinks where more would be needed.
MAX_QUESTIONS = 64
# Pieces that rows are cut into, for each row that is wanted.
PIECES_PER_ROW = 4


@dataclass(frozen=True, slots=True)
class Spans:
    """Ranges joined to spans, both ascending.

    order: the ranges, ascending. group: the span of each, in that order. lows, highs: the spans.
    """

    order: npt.NDArray[np.intp]
    group: npt.NDArray[np.intp]
    lows: npt.NDArray[np.int64]
    highs: npt.NDArray[np.int64]

    @property
    def total(self) -> int:
        """Bytes of all spans."""
        return int((self.highs - self.lows).sum())


def join_ranges(starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], gap: int) -> Spans:
    """Ranges that overlap, touch or are at most `gap` bytes apart become one span.

    starts, ends: at least one range, below 2^62.
    """
    order = np.argsort(starts, kind="stable")
    reach = np.maximum.accumulate(ends[order])
    fresh = np.flatnonzero(starts[order][1:] > reach[:-1] + gap) + 1
    group = np.searchsorted(fresh, np.arange(len(order)), side="right")
    lows = starts[order][np.concatenate(([0], fresh))]
    highs = reach[np.concatenate((fresh - 1, [len(order) - 1]))]
    return Spans(order, group, lows, highs)


def busy_ranges(maps: Sequence[Rows], block: int) -> list[tuple[int, int]]:
    """(start, end) of what holds a row that is not ZERO in any map, grown to whole blocks.

    maps: rows of the same disk each, ascending. The answer is ascending, and no two ranges touch.
    """
    stored = [rows[rows["kind"] != Kind.ZERO] for rows in maps]
    unit = np.uint64(block)
    starts = np.concatenate([rows["offset"] for rows in stored]) // unit * unit
    ends = np.concatenate([rows["offset"] + rows["length"] for rows in stored])
    if not len(starts):
        return []
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    ends = (ends + unit - np.uint64(1)) // unit * unit
    fresh = np.flatnonzero(starts[1:] > ends[:-1]) + 1
    lows = starts[np.concatenate(([0], fresh))]
    highs = ends[np.concatenate((fresh - 1, [len(ends) - 1]))]
    return list(zip(lows.tolist(), highs.tolist(), strict=True))


def split_zeros(source: Source, file: int, rows: Rows, max_rows: int) -> Rows:
    """The rows with what `source`, which they call `file`, knows to be zeros made ZERO.

    A prefix of what the rows cover: it ends where more than MAX_QUESTIONS would have to be asked
    or more than about max_rows rows would result. Raises ReadError.
    """
    chosen = np.flatnonzero((rows["kind"] == Kind.DATA) & (rows["file"] == file))
    if not len(chosen):
        return rows
    starts = rows["file_offset"][chosen].astype(np.int64)
    ends = starts + rows["length"][chosen].astype(np.int64)
    spans = join_ranges(starts, ends, ASK_GAP)
    known, zeros = _ask(source, spans, max_rows)

    known_to = np.empty(len(chosen), np.int64)
    known_to[spans.order] = known[spans.group]
    unsure = np.flatnonzero(known_to < ends)
    if len(unsure):
        first = int(unsure[0])
        row = int(chosen[first])
        # How much of the first row that is not known as a whole is known.
        part = int(known_to[first] - starts[first])
        if part > 0:
            rows = rows[: row + 1].copy()
            rows["length"][row] = part
            ends[first] = known_to[first]
            chosen, starts, ends = chosen[: first + 1], starts[: first + 1], ends[: first + 1]
        else:
            # A map goes forward whatever is known: an unknown first row stays as it is.
            rows = rows[: max(row, 1)]
            chosen, starts, ends = chosen[:first], starts[:first], ends[:first]
    return _cut(rows, chosen, starts, ends, zeros, PIECES_PER_ROW * max_rows)


def _ask(
    source: Source, spans: Spans, limit: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(up to where each span is known, ranges of zeros as rows of (start, end), ascending).

    Spans are asked about in the order in which the rows need them.
    """
    known = spans.lows.copy()
    needed = np.full(len(known), len(spans.order), np.intp)
    np.minimum.at(needed, spans.group, spans.order)
    found: list[npt.NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
    questions = count = 0
    for span in np.argsort(needed, kind="stable"):
        low, high = int(spans.lows[span]), int(spans.highs[span])
        while low < high and questions < MAX_QUESTIONS and count <= limit:
            ranges, low = source.find_zeros(low, high - low)
            found.append(ranges)
            count += len(ranges)
            questions += 1
        known[span] = low
        if low < high:
            break
    zeros = np.concatenate(found)
    return known, zeros[np.argsort(zeros[:, 0], kind="stable")]


def _cut(
    rows: Rows,
    chosen: npt.NDArray[np.intp],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    zeros: npt.NDArray[np.int64],
    limit: int,
) -> Rows:
    """Cut the chosen rows, which lie at [starts, ends) of their source, along `zeros`."""
    if not len(chosen) or not len(zeros):
        return rows
    low = np.searchsorted(zeros[:, 1], starts, side="right")
    high = np.searchsorted(zeros[:, 0], ends, side="left")
    # A row that n ranges of zeros touch becomes n of ZERO between n + 1 of DATA; empty ones go.
    counts = np.ones(len(rows), np.int64)
    counts[chosen] = 2 * np.maximum(high - low, 0) + 1
    totals = np.cumsum(counts)
    if totals[-1] > limit:
        stop = max(1, int(np.searchsorted(totals, limit, side="right")))
        rows, counts, totals = rows[:stop], counts[:stop], totals[:stop]
        kept = int(np.searchsorted(chosen, stop))
        chosen, starts, ends = chosen[:kept], starts[:kept], ends[:kept]
        low = low[:kept]
        if not kept:
            return rows
    pieces = rows.repeat(counts)
    shares = counts[chosen]
    owner = np.repeat(np.arange(len(chosen)), shares)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(shares) - shares, shares)
    at = (totals - counts)[chosen][owner] + step
    last = step == shares[owner] - 1
    is_zero = step % 2 == 1
    index = low[owner] + step // 2  # of the range that the piece is, or that follows it
    bounds = np.concatenate((zeros, zeros[-1:]))  # so that the last piece may look one further
    piece_starts = np.where(is_zero, bounds[index, 0], bounds[np.maximum(index - 1, 0), 1])
    piece_starts = np.where(step == 0, starts[owner], piece_starts)
    piece_ends = np.where(is_zero, bounds[index, 1], bounds[index, 0])
    piece_ends = np.where(last, ends[owner], piece_ends)
    piece_starts = np.clip(piece_starts, starts[owner], ends[owner])
    piece_ends = np.clip(piece_ends, piece_starts, ends[owner])
    pieces["offset"][at] += (piece_starts - starts[owner]).astype(np.uint64)
    pieces["length"][at] = (piece_ends - piece_starts).astype(np.uint64)
    pieces["file_offset"][at] = np.where(is_zero, 0, piece_starts).astype(np.uint64)
    pieces["kind"][at[is_zero]] = Kind.ZERO
    pieces["file"][at[is_zero]] = 0
    return pieces[pieces["length"] > 0]
