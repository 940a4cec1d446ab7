"""What the tables of all formats have in common: entries that say where stored blocks lie.

Entries come as numpy arrays, a window at a time. What is wrong with them is found here; what to say
of it is the format's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import SourceChangedError
from .extents import Kind, Rows, make_rows
from .files import Source

__all__ = [
    "OVERLAP_BLOCKS",
    "WINDOW_ENTRIES",
    "Block",
    "OverlapSearch",
    "Region",
    "bit_rows",
    "first_on",
    "first_true",
    "misplaced",
    "stored_entries",
]

Indices = npt.NDArray[np.int64] | npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.uint64]

WINDOW_ENTRIES = 1 << 16  # entries of a table that are read at once
# Stored blocks up to which their places are sorted to find overlaps: 4 TiB at 1 MiB a block.
OVERLAP_BLOCKS = 1 << 22
# Sorted places that are compared at once: whole columns would take as much memory again.
COMPARED = 1 << 18


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes [offset, end) of a file that hold something else than blocks."""

    name: str
    offset: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.offset

    def __str__(self) -> str:
        return f"{self.name} [{self.offset:#x}, {self.end:#x})"


def first_true(mask: Mask) -> int | None:
    """Index of the first True, None where there is none."""
    if not mask.any():
        return None
    return int(np.argmax(mask))


def first_on(starts: Places, size: int, regions: Iterable[Region]) -> tuple[int, Region] | None:
    """(index, region) of the first block [start, start + size) that shares bytes with a region."""
    for region in regions:
        at = first_true((starts < region.end) & (starts + np.uint64(size) > region.offset))
        if at is not None:
            return at, region
    return None


def misplaced(
    starts: Places, size: int, end: int, regions: Iterable[Region]
) -> tuple[int, str] | None:
    """(index, what is wrong) of the first block that begins beyond the file or lies on a region.

    size: of a block. end: of the file. A block may be cut short by it.
    """
    at = first_true(starts >= end)
    if at is not None:
        return at, f"is said to lie at {int(starts[at]):#x}, the file ends at {end:#x}"
    found = first_on(starts, size, regions)
    if found is not None:
        at, region = found
        return at, f"is said to lie at {int(starts[at]):#x}, on top of the {region}"
    return None


def bit_rows(
    bits: npt.NDArray[np.uint8], offsets: Places, places: Places, unit: int, absent: Kind
) -> Rows:
    """Rows of blocks of which a bitmap says which sectors are stored.

    bits: a row of ones and zeros for each block. offsets, places: where its first sector lies, in
    the disk and in the file. unit: bytes of a sector. absent: what the others are.
    """
    begins = np.ones(bits.shape, dtype=bool)
    begins[:, 1:] = bits[:, 1:] != bits[:, :-1]
    at = np.flatnonzero(begins.ravel())
    lengths = np.diff(np.append(at, bits.size)).astype(np.uint64) * np.uint64(unit)
    block, sector = np.divmod(at, bits.shape[1])
    within = sector.astype(np.uint64) * np.uint64(unit)
    stored = bits.ravel()[at].astype(bool)
    return make_rows(
        offsets[block] + within,
        lengths,
        np.where(stored, Kind.DATA, absent),
        np.where(stored, places[block] + within, np.uint64(0)),
    )


# ---- overlaps -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Block:
    """A stored block; index, place and sort as the walk over its table gives them."""

    index: int
    place: int
    sort: int


# (indices, places below 2^63, sorts: 0 or 1) of stored blocks, a window of the tables at a time.
Walk = Callable[[], Iterable[tuple[Indices, Places, npt.ArrayLike]]]


def stored_entries(
    read: Callable[[int, int], npt.NDArray[Any]],
    count: int,
    is_stored: Callable[[npt.NDArray[Any]], Mask],
) -> Iterator[tuple[Indices, Places, int]]:
    """A walk over one table of `count` entries that are places: those that stand for a block.

    read: `count` entries from `first` on, of (first, count).
    """
    for first in range(0, count, WINDOW_ENTRIES):
        entries = read(first, min(WINDOW_ENTRIES, count - first))
        used = np.flatnonzero(is_stored(entries))
        yield first + used, entries[used].astype(np.uint64), 0


class OverlapSearch:
    """Looks once for stored blocks that share bytes.

    walk: over all that is stored. sizes: of a block of each sort, in the unit of the places.
    is_complete: None before the search, False where there are more than OVERLAP_BLOCKS.
    """

    def __init__(self, source: Source, walk: Walk, *sizes: int) -> None:
        self._source = source
        self._walk = walk
        self._sizes = np.asarray(sizes, np.uint64)
        self.is_complete: bool | None = None

    def find(self) -> tuple[Block, Block] | None:
        """Two blocks that overlap, in the order of the walk; None without any, or a second time.

        Raises what the walk raises.
        """
        if self.is_complete is not None:
            return None
        kept: list[Places] = []
        total = 0
        for _, marks in self._marks():
            marks.sort()
            # A table that is one hole in a sparse file ends here, not after all its windows.
            if (close := self._close(marks)) is not None:
                return self._named(*close)
            kept.append(marks)
            total += len(marks)
            if total > OVERLAP_BLOCKS:
                self.is_complete = False
                return None
        if len(kept) > 1:
            marks = np.concatenate(kept)
            kept.clear()
            marks.sort()
            if (close := self._close(marks)) is not None:
                return self._named(*close)
        self.is_complete = True
        return None

    def _marks(self) -> Iterator[tuple[Indices, Places]]:
        """Indices, and places with the sort in the lowest bit: both sort and compare at once."""
        for indices, places, sorts in self._walk():
            yield indices, places << np.uint64(1) | np.asarray(sorts, np.uint64)

    def _close(self, marks: Places) -> tuple[int, int] | None:
        for low in range(0, len(marks), COMPARED):
            part = marks[low : low + COMPARED + 1]
            starts = part >> np.uint64(1)
            sizes = self._sizes[(part[:-1] & np.uint64(1)).astype(np.intp)]
            at = first_true(starts[1:] - starts[:-1] < sizes)
            if at is not None:
                return int(part[at]), int(part[at + 1])
        return None

    def _named(self, one: int, other: int) -> tuple[Block, Block]:
        """The first two blocks with these marks: a second walk, for the error alone."""
        found: list[Block] = []
        for indices, marks in self._marks():
            for at in np.flatnonzero((marks == one) | (marks == other))[:2]:
                mark = int(marks[at])
                found.append(Block(int(indices[at]), mark >> 1, mark & 1))
            if len(found) > 1:
                return found[0], found[1]
        raise SourceChangedError(
            "the image's tables changed while they were read",
            path=self._source.path,
            hint="stop what uses the image (a running machine?) or copy a snapshot of it",
        )
