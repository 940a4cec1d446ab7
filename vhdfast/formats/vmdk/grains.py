"""Two levels of tables that say where each grain lies, read in windows.

All sparse extents have them: a grain directory, whose entries lead to grain tables, whose entries
lead to grains. How an entry is written differs; subclasses say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import CUT_SHORT, CorruptImageError, UnsupportedImageError
from ...extents import MAX_ROWS, Kind, Rows, clip, in_order, make_rows
from ...files import Source
from ...tables import Block, OverlapSearch, Region, first_true, misplaced

__all__ = ["GrainTables"]

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

# Sorts of stored blocks.
GRAIN, TABLE = 0, 1

# Directory entries in one window: of those without a table each is one row.
DIRECTORY_WINDOW = 1 << 14
# 64 TiB in the smallest grains, of 4 KiB. A directory that is one hole is read to its end.
MAX_DIRECTORY = 1 << 25
TABLES_DAMAGED = "the grain tables are damaged: copy the image again and compare checksums"


@dataclass(frozen=True, slots=True)
class Window:
    """What some entries of the directory say; `end` is the first entry that is not among them."""

    end: int
    absent: U64  # first grains of runs of entries whose grains are all of one kind
    absent_counts: U64  # entries in each run
    absent_kinds: U8
    tables: U64  # where the others' tables lie
    owners: U64  # the entries that lead to them
    numbers: U64  # grains of those tables
    kinds: U8
    places: U64


class GrainTables(ABC):
    """The tables of one sparse extent.

    length: of the extent, bytes. grain_size: bytes. reserved: what no grain may lie on. stride:
    bytes from where a grain begins that no other grain may begin in.
    """

    entry: str  # numpy's name of an entry's type

    def __init__(
        self,
        source: Source,
        file: int,
        *,
        length: int,
        grain_size: int,
        table_entries: int,
        directory: int,
        reserved: list[Region],
        stride: int | None = None,
    ) -> None:
        self.source = source
        self.file = file
        self.length = length
        self.grain_size = grain_size
        self.table_entries = table_entries
        self.directory = directory
        self.stride = grain_size if stride is None else stride
        self.width = np.dtype(self.entry).itemsize
        self.table_size = table_entries * self.width
        self.cover = grain_size * table_entries
        self.count = -(-length // self.cover)
        if self.count > MAX_DIRECTORY:
            raise UnsupportedImageError(
                f"the grain directory has {self.count} entries for {length} bytes, at most "
                f"{MAX_DIRECTORY} are read",
                path=source.path,
                hint="convert the image with the program that made it",
            )
        end = directory + self.count * self.width
        if end > source.size:
            raise CorruptImageError(
                f"the grain directory takes [{directory:#x}, {end:#x}), the file has "
                f"{source.size:#x} bytes",
                path=source.path,
                offset=min(directory, source.size),
                hint=CUT_SHORT,
            )
        self.reserved = [*reserved, Region("grain directory", directory, end)]
        self.overlaps = OverlapSearch(source, self._stored, self.stride, self.table_size)

    @abstractmethod
    def locate_tables(self, first: int, entries: npt.NDArray[np.uint64]) -> tuple[U8, U64]:
        """Kinds (DATA: there is a table) and places of the tables of entries from `first` on.

        Places may be anything; they are checked here.
        """

    @abstractmethod
    def locate_grains(self, entries: U64) -> tuple[U8, U64]:
        """Kinds and places of grains; places that cannot be are 2^63."""

    # ---- reading --------------------------------------------------------------------------------

    def _window(self, first: int, last: int, most: int, grain: int = 0) -> Window:
        """Of directory entries [first, last) as many as give about `most` rows, at least one.

        Of the grains in their tables only those from number `grain` on, and at most `most`.
        """
        count = min(last - first, DIRECTORY_WINDOW, max(most, 1))
        where = self.directory + first * self.width
        data = self.source.read_exact(where, count * self.width, "grain directory")
        entries = np.frombuffer(data, self.entry).astype(np.uint64)
        kinds, places = self.locate_tables(first, entries)
        stored = kinds == Kind.DATA
        room = max(most, self.table_entries)
        taken = _most_within(~stored + _firsts(places, stored) * self.table_entries, room)
        kinds, stored, places = kinds[:taken].copy(), stored[:taken], places[:taken]
        self._check_tables(first, np.flatnonzero(stored), places[stored])
        distinct, which = np.unique(places[stored], return_inverse=True)
        gathered = self.source.gather(distinct, self.table_size).reshape(-1)
        tables = gathered.view(self.entry).reshape(-1, self.table_entries)
        # Many entries may lead to one table that says the same of all its grains.
        same = (tables == tables[:, :1]).all(axis=1)
        same_kinds, _ = self.locate_grains(tables[:, 0].astype(np.uint64))
        same &= same_kinds != Kind.DATA
        at = np.flatnonzero(stored)
        stored[at[same[which]]] = False
        kinds[at] = np.where(same, same_kinds, np.uint8(Kind.DATA))[which]
        which = which[~same[which]]

        taken = _most_within(np.where(stored, self.table_entries, 1), room)
        kinds, stored, places = kinds[:taken], stored[:taken], places[:taken]
        which = which[: int(stored.sum())]
        indices = np.arange(first, first + taken, dtype=np.uint64) * np.uint64(self.table_entries)
        grains = tables[which].reshape(-1).astype(np.uint64)
        within = np.arange(self.table_entries, dtype=np.uint64)
        numbers = (indices[stored][:, None] + within[None, :]).reshape(-1)
        # What the last table says of grains behind the disk's end means nothing.
        low, high = np.searchsorted(numbers, (grain, -(-self.length // self.grain_size)))
        wanted = slice(int(low), min(int(high), int(low) + most))
        grain_kinds, grain_places = self.locate_grains(grains[wanted])
        begins = ~stored
        begins[1:] &= stored[:-1] | (kinds[1:] != kinds[:-1])
        runs = np.flatnonzero(begins)
        counts = np.diff(np.append(np.cumsum(~stored)[runs] - 1, int((~stored).sum())))
        return Window(
            first + taken, indices[runs], counts.astype(np.uint64), kinds[runs], places[stored],
            indices[stored] // np.uint64(self.table_entries), numbers[wanted], grain_kinds,
            grain_places,
        )  # fmt: skip

    def _check_tables(self, first: int, used: npt.NDArray[np.intp], starts: U64) -> None:
        room = self.source.size - self.table_size
        at = first_true(starts > room if room >= 0 else np.ones(len(starts), bool))
        if at is not None:
            entry = first + int(used[at])
            raise CorruptImageError(
                f"entry {entry} of the grain directory puts its table at {int(starts[at]):#x}, "
                f"the file has {self.source.size:#x} bytes",
                path=self.source.path,
                offset=self.directory + entry * self.width,
                hint=TABLES_DAMAGED,
            )

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        """Rows of a prefix of [offset, offset + length): DATA, ZERO and UNALLOCATED.

        Grains lie within the file at their beginnings. Raises CorruptImageError.
        """
        first, last = offset // self.cover, -(-(offset + length) // self.cover)
        most = min(max_rows, MAX_ROWS)
        window = self._window(first, last, most, offset // self.grain_size)
        grain_size = np.uint64(self.grain_size)
        absent = make_rows(
            window.absent * grain_size, window.absent_counts * np.uint64(self.cover),
            window.absent_kinds,
        )  # fmt: skip
        present = make_rows(
            window.numbers * grain_size, grain_size, window.kinds,
            np.where(window.kinds == Kind.DATA, window.places, np.uint64(0)), self.file,
        )  # fmt: skip
        rows = clip(in_order([absent, present]), offset, length)[:most]
        self._check_grains(rows)
        return rows

    def _check_grains(self, rows: Rows) -> None:
        stored = np.flatnonzero(rows["kind"] == Kind.DATA)
        starts = rows["file_offset"][stored] - rows["offset"][stored] % np.uint64(self.grain_size)
        wrong = misplaced(starts, self.stride, self.source.size, [])
        if wrong is not None:
            at, problem = wrong
            raise self.corrupt(int(rows["offset"][stored[at]]) // self.grain_size, problem)

    def corrupt(self, number: int, problem: str) -> CorruptImageError:
        """The error for a grain, at its place in its table."""
        entry, within = divmod(number, self.table_entries)
        at = self.directory + entry * self.width
        data = self.source.read(at, self.width)
        if len(data) == self.width:
            kinds, places = self.locate_tables(
                entry, np.frombuffer(data, self.entry).astype(np.uint64)
            )
            if kinds[0] == Kind.DATA:
                at = int(places[0]) + within * self.width
        return CorruptImageError(
            f"grain {number} {problem}", path=self.source.path, offset=at, hint=TABLES_DAMAGED
        )

    # ---- overlaps -------------------------------------------------------------------------------

    def check_overlaps(self) -> None:
        """Raise CorruptImageError where grains or tables share bytes, or lie on metadata.

        All tables are read once.
        """
        pair = self.overlaps.find()
        if pair is None:
            return
        one, other = pair
        grain = other if other.sort == GRAIN else one
        if grain.sort == GRAIN:
            raise self.corrupt(
                grain.index,
                f"at {grain.place:#x} shares bytes: {_said(one)} and {_said(other)}",
            )
        raise CorruptImageError(
            f"{_said(one)} and {_said(other)} share bytes",
            path=self.source.path,
            offset=self.directory + other.index * self.width,
            hint=TABLES_DAMAGED,
        )

    def _stored(self) -> Iterator[tuple[U64, U64, int]]:
        """Stored grains, then the tables that lead to them, window by window.

        Tables whose grains are all of one kind, and none stored, may well be one and the same.
        """
        first = 0
        while first < self.count:
            window = self._window(first, self.count, MAX_ROWS)
            stored = window.kinds == Kind.DATA
            numbers, places = window.numbers[stored], window.places[stored]
            wrong = misplaced(places, self.stride, self.source.size, self.reserved)
            if wrong is not None:
                at, problem = wrong
                raise self.corrupt(int(numbers[at]), problem)
            yield numbers, places, GRAIN
            yield window.owners, window.tables, TABLE
            first = window.end


def _said(block: Block) -> str:
    what = "grain" if block.sort == GRAIN else "the grain table of directory entry"
    return f"{what} {block.index} at {block.place:#x}"


def _firsts(places: U64, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which of the chosen places are there for the first time."""
    mask = np.zeros(len(places), bool)
    at = np.flatnonzero(chosen)
    mask[at[np.unique(places[at], return_index=True)[1]]] = True
    return mask


def _most_within(costs: npt.NDArray[np.int64], room: int) -> int:
    """How many of the first together cost no more than `room`, at least one."""
    return max(1, int(np.searchsorted(np.cumsum(costs), room, side="right")))
