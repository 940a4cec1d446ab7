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

from ...errors import CorruptImageError
from ...extents import MAX_ROWS, Kind, Rows, clip, concatenate, make_rows
from ...files import Source

__all__ = ["GrainTables", "Region"]

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

# Directory entries in one window: of those without a table each is one row.
DIRECTORY_WINDOW = 16384
# Stored grains up to which they are sorted to find overlaps (256 GiB at 64 KiB a grain).
OVERLAP_GRAINS = 1 << 22
COMPARED = 1 << 18
_DAMAGED = "the grain tables are damaged: copy the image again and compare checksums"


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes of the file that no grain may lie on."""

    name: str
    offset: int
    end: int


@dataclass(frozen=True, slots=True)
class Window:
    """What some entries of the directory say; `end` is the first entry that is not among them."""

    end: int
    absent: U64  # number of the first grain of each entry that leads to no table
    absent_kinds: U8
    tables: U64  # where the others' tables lie
    owners: U64  # the entries that lead to them
    numbers: U64  # grains of those tables
    kinds: U8
    places: U64


class GrainTables(ABC):
    """The tables of one sparse extent.

    length: of the extent, bytes. grain_size: bytes. stride: bytes from where a grain begins that
    no other grain may begin in. overlaps_checked: None before, False where there were too many.
    """

    entry: str  # numpy's name of an entry's type
    overlaps_checked: bool | None = None

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
        end = directory + self.count * self.width
        if end > source.size:
            raise CorruptImageError(
                f"the grain directory takes [{directory:#x}, {end:#x}), the file has "
                f"{source.size:#x} bytes",
                path=source.path,
                offset=min(directory, source.size),
                hint="the image is cut short: copy it again and compare checksums",
            )
        self.reserved = [*reserved, Region("grain directory", directory, end)]

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
        count = min(last - first, DIRECTORY_WINDOW)
        where = self.directory + first * self.width
        data = self.source.read_exact(where, count * self.width, "grain directory")
        entries = np.frombuffer(data, self.entry).astype(np.uint64)
        kinds, places = self.locate_tables(first, entries)
        stored = kinds == Kind.DATA
        total = np.cumsum(np.where(stored, self.table_entries, 1))
        taken = max(1, int(np.searchsorted(total, max(most, self.table_entries), side="right")))
        kinds, stored = kinds[:taken], stored[:taken]
        starts = places[:taken][stored]
        self._check_tables(first, np.flatnonzero(stored), starts)
        indices = np.arange(first, first + taken, dtype=np.uint64) * np.uint64(self.table_entries)
        tables = self.source.gather(starts, self.table_size)
        grains = tables.reshape(-1).view(self.entry).astype(np.uint64)
        within = np.arange(self.table_entries, dtype=np.uint64)
        numbers = (indices[stored][:, None] + within[None, :]).reshape(-1)
        # What the last table says of grains behind the disk's end means nothing.
        low, high = np.searchsorted(numbers, (grain, -(-self.length // self.grain_size)))
        wanted = slice(int(low), min(int(high), int(low) + most))
        grain_kinds, grain_places = self.locate_grains(grains[wanted])
        return Window(
            first + taken, indices[~stored], kinds[~stored], starts,
            indices[stored] // np.uint64(self.table_entries), numbers[wanted], grain_kinds,
            grain_places,
        )  # fmt: skip

    def _check_tables(self, first: int, used: npt.NDArray[np.intp], starts: U64) -> None:
        room = self.source.size - self.table_size
        outside = starts > max(room, 0) if room >= 0 else np.ones(len(starts), bool)
        if outside.any():
            at = int(np.flatnonzero(outside)[0])
            entry = first + int(used[at])
            raise CorruptImageError(
                f"entry {entry} of the grain directory puts its table at {int(starts[at]):#x}, "
                f"the file has {self.source.size:#x} bytes",
                path=self.source.path,
                offset=self.directory + entry * self.width,
                hint=_DAMAGED,
            )

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        """Rows of a prefix of [offset, offset + length): DATA, ZERO and UNALLOCATED.

        Grains lie within the file at their beginnings. Raises CorruptImageError.
        """
        first, last = offset // self.cover, -(-(offset + length) // self.cover)
        most = min(max_rows, MAX_ROWS)
        window = self._window(first, last, most, offset // self.grain_size)
        grain_size = np.uint64(self.grain_size)
        absent = make_rows(window.absent * grain_size, self.cover, window.absent_kinds)
        present = make_rows(
            window.numbers * grain_size, grain_size, window.kinds,
            np.where(window.kinds == Kind.DATA, window.places, np.uint64(0)), self.file,
        )  # fmt: skip
        rows = concatenate([absent, present])
        rows = clip(rows[np.argsort(rows["offset"], kind="stable")], offset, length)[:most]
        self._check_grains(rows)
        return rows

    def _check_grains(self, rows: Rows) -> None:
        stored = np.flatnonzero(rows["kind"] == Kind.DATA)
        starts = rows["file_offset"][stored] - rows["offset"][stored] % np.uint64(self.grain_size)
        outside = starts >= self.source.size
        if outside.any():
            at = int(np.flatnonzero(outside)[0])
            number = int(rows["offset"][stored[at]]) // self.grain_size
            raise self.corrupt(
                number,
                f"is said to lie at {int(starts[at]):#x}, the file ends at {self.source.size:#x}",
            )

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
            f"grain {number} {problem}", path=self.source.path, offset=at, hint=_DAMAGED
        )

    # ---- overlaps -------------------------------------------------------------------------------

    def check_overlaps(self) -> None:
        """Raise CorruptImageError where grains or tables share bytes, or lie on metadata.

        All tables are read once. Sets overlaps_checked, to False where there are too many grains.
        """
        if self.overlaps_checked is not None:
            return
        kept: list[U64] = []
        total = 0
        for numbers, grains, tables in self._everything():
            self._check_reserved(numbers, grains)
            kept += [grains << np.uint64(1), tables << np.uint64(1) | np.uint64(1)]
            total += len(grains)
            if total > OVERLAP_GRAINS:
                self.overlaps_checked = False
                return
        marks = np.concatenate(kept) if kept else np.zeros(0, np.uint64)
        kept.clear()
        marks.sort()
        # By and by: whole columns of four million grains would take as much memory again.
        for low in range(0, len(marks), COMPARED):
            part = marks[low : low + COMPARED + 1]
            starts = part >> np.uint64(1)
            sizes = np.where(part & np.uint64(1) == 1, self.table_size, self.stride)
            close = np.flatnonzero(starts[1:] - starts[:-1] < sizes[:-1].astype(np.uint64))
            if len(close):
                self._report_overlap(part[close[0]], part[close[0] + 1])
        self.overlaps_checked = True

    def _everything(self) -> Iterator[tuple[U64, U64, U64]]:
        """(numbers of stored grains, their places, places of their tables), window by window.

        Tables without a stored grain may well be one and the same.
        """
        first = 0
        while first < self.count:
            window = self._window(first, self.count, MAX_ROWS)
            stored = window.kinds == Kind.DATA
            numbers, places = window.numbers[stored], window.places[stored]
            outside = np.flatnonzero(places >= self.source.size)
            if len(outside):
                at = int(outside[0])
                raise self.corrupt(
                    int(numbers[at]),
                    f"is said to lie at {int(places[at]):#x}, the file ends at "
                    f"{self.source.size:#x}",
                )
            used = np.isin(window.owners, numbers // np.uint64(self.table_entries))
            yield numbers, places, window.tables[used]
            first = window.end

    def _check_reserved(self, numbers: U64, places: U64) -> None:
        for region in self.reserved:
            inside = (places < region.end) & (places + np.uint64(self.stride) > region.offset)
            if inside.any():
                at = int(np.flatnonzero(inside)[0])
                raise self.corrupt(
                    int(numbers[at]),
                    f"is said to lie at {int(places[at]):#x}, on top of the {region.name} "
                    f"[{region.offset:#x}, {region.end:#x})",
                )

    def _report_overlap(self, one: np.uint64, other: np.uint64) -> None:
        places = (int(one) >> 1, int(other) >> 1)
        what = ["grain table" if int(mark) & 1 else "grain" for mark in (one, other)]
        for numbers, grains, _ in self._everything():
            found = np.flatnonzero((grains == places[0]) | (grains == places[1]))
            if len(found):
                number, place = int(numbers[found[-1]]), int(grains[found[-1]])
                raise self.corrupt(
                    number,
                    f"at {place:#x} shares bytes: a {what[0]} at {places[0]:#x} and a {what[1]} "
                    f"at {places[1]:#x}",
                )
        raise CorruptImageError(
            f"the {what[0]} at {places[0]:#x} and the {what[1]} at {places[1]:#x} share bytes",
            path=self.source.path,
            offset=places[1],
            hint=_DAMAGED,
        )
