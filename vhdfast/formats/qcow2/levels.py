"""Tables in two levels: entries of L1 say where L2 tables lie, entries of those where clusters lie.

Source: QEMU, docs/interop/qcow2, "Cluster mapping". Entries are 64 bits, big-endian. qcow of
version 1 maps its clusters the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._native import split_holes
from ...errors import CUT_SHORT, CorruptImageError, InvalidImageError, UnsupportedImageError
from ...extents import Kind, Rows, make_rows
from ...files import Source
from ...tables import Mask, Places, Region, first_on, first_true

__all__ = ["Layout", "TwoLevels", "Window"]

MAX_L1_BYTES = 32 << 20
L1_WINDOW = 1 << 16  # entries of L1 looked at in one step
MAX_ENTRIES = 1 << 16  # entries of L2 turned into rows in one step
MIN_ENTRIES = 256
NO_PLACES: Places = np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Layout:
    """The measures of the two levels; sizes and offsets in bytes.

    place_bits: of an L1 entry, those that hold the offset of its L2 table. other_bits: those that
    may be set besides. alignment: of that offset.
    """

    l1_offset: int
    l1_size: int
    l2_entries: int
    entry_size: int
    cluster_size: int
    virtual_size: int
    place_bits: int
    other_bits: int
    alignment: int
    header_end: int

    @property
    def l2_bytes(self) -> int:
        return self.l2_entries * self.entry_size

    @property
    def needed(self) -> int:
        """L1 entries that the disk needs."""
        return -(-self.virtual_size // (self.l2_entries * self.cluster_size))


@dataclass(frozen=True, slots=True)
class Window:
    """What the tables say of the clusters up to `end`, where they say anything.

    clusters: numbers, ascending. entries: theirs, one row of 64-bit words each. Clusters in
    [gap_starts, gap_ends) have no L2 table.
    """

    clusters: Places
    entries: npt.NDArray[np.uint64]
    gap_starts: Places
    gap_ends: Places
    end: int

    def gap_rows(self, cluster_size: int) -> Rows:
        """Rows of what has no L2 table."""
        size = np.uint64(cluster_size)
        lengths = (self.gap_ends - self.gap_starts) * size
        return make_rows(self.gap_starts * size, lengths, Kind.UNALLOCATED)


class TwoLevels:
    """Reads L1 and L2 in windows, never whole.

    Raises InvalidImageError, UnsupportedImageError and CorruptImageError for what is wrong with L1
    or with where the L2 tables lie. Entries beyond the disk (a machine's saved state) are not
    looked at.
    """

    def __init__(self, source: Source, layout: Layout, l1_field: int, ask_holes: bool) -> None:
        """l1_field: where the file says where L1 lies. ask_holes: of the file system."""
        self.source = source
        self.ask_holes = ask_holes and source.knows_holes
        self.layout = layout
        self._words = layout.entry_size // 8
        end = layout.l1_offset + 8 * layout.l1_size
        if 8 * layout.l1_size > MAX_L1_BYTES:
            raise UnsupportedImageError(
                f"the L1 table has {layout.l1_size} entries, at most {MAX_L1_BYTES // 8} are read",
                path=source.path,
                offset=l1_field,
                hint="make the disk smaller, or its clusters larger (qemu-img convert)",
            )
        if layout.l1_size and layout.l1_offset < layout.header_end:
            raise InvalidImageError(
                f"the L1 table is said to lie at {layout.l1_offset:#x}, in the header, which ends "
                f"at {layout.header_end:#x}",
                path=source.path,
                offset=l1_field,
            )
        if end > source.size:
            raise CorruptImageError(
                f"the L1 table is said to lie at [{layout.l1_offset:#x}, {end:#x}), the file ends "
                f"at {source.size:#x}",
                path=source.path,
                offset=l1_field,
                hint=CUT_SHORT,
            )
        self.used = min(layout.l1_size, layout.needed)
        self.regions = [
            Region("header", 0, layout.header_end),
            Region("L1 table", layout.l1_offset, end),
        ]
        self.tables = self._survey()

    # ---- L1 --------------------------------------------------------------------------------------

    def _survey(self) -> Places:
        """Where the L2 tables lie, sorted. Raises CorruptImageError where they cannot."""
        found = [places[places != 0] for _, places in self._l1_windows()]
        tables = np.concatenate(found) if found else NO_PLACES
        tables.sort()
        close = np.flatnonzero(tables[1:] - tables[:-1] < self.layout.l2_bytes)
        if len(close):
            # One table for two ranges of the disk: a small file could pass for an endless disk.
            one, other = int(tables[close[0]]), int(tables[close[0] + 1])
            raise self._corrupt_l1(
                self._find(other, last=True),
                f"names an L2 table at {other:#x}, on top of the one at {one:#x} of L1 entry "
                f"{self._find(one, last=False)}",
            )
        return tables

    def _l1_windows(self) -> Iterator[tuple[int, Places]]:
        for first in range(0, self.used, L1_WINDOW):
            yield first, self._l1(first, min(L1_WINDOW, self.used - first))

    def _l1(self, first: int, count: int) -> Places:
        """Where the L2 tables of `count` entries lie, 0 for those without one; checked."""
        layout = self.layout
        there = max(0, min(count, self.used - first))
        data = self.source.read_exact(layout.l1_offset + 8 * first, 8 * there, "L1 table")
        raw = np.frombuffer(data, dtype=">u8").astype(np.uint64)
        unknown = raw & np.uint64(~(layout.place_bits | layout.other_bits) & (1 << 64) - 1)
        at = first_true(unknown != 0)
        if at is not None:
            raise self._corrupt_l1(
                first + at, f"is {int(raw[at]):#018x}: reserved bits {int(unknown[at]):#x} are set"
            )
        places: Places = raw & np.uint64(layout.place_bits)
        used = places != 0
        at = first_true(places & np.uint64(layout.alignment - 1) != 0)
        if at is not None:
            raise self._corrupt_l1(
                first + at,
                f"names an L2 table at {int(places[at]):#x}, no multiple of {layout.alignment}",
            )
        room = self.source.size - layout.l2_bytes
        at = first_true(used if room < 0 else places > np.uint64(room))
        if at is not None:
            raise self._corrupt_l1(
                first + at,
                f"names an L2 table at [{int(places[at]):#x}, "
                f"{int(places[at]) + layout.l2_bytes:#x}), the file ends at {self.source.size:#x}",
            )
        stored = np.flatnonzero(used)
        found = first_on(places[stored], layout.l2_bytes, self.regions)
        if found is not None:
            at, region = int(stored[found[0]]), found[1]
            raise self._corrupt_l1(
                first + at, f"names an L2 table at {int(places[at]):#x}, on top of the {region}"
            )
        if there == count:
            return places
        return np.concatenate((places, np.zeros(count - there, dtype=np.uint64)))

    def _find(self, place: int, last: bool) -> int:
        """The first or last L1 entry that names an L2 table at `place`."""
        found = 0
        for first, places in self._l1_windows():
            here = np.flatnonzero(places == np.uint64(place))
            if len(here):
                found = first + int(here[-1 if last else 0])
                if not last:
                    break
        return found

    def _corrupt_l1(self, index: int, problem: str) -> CorruptImageError:
        return CorruptImageError(
            f"L1 entry {index} {problem}",
            path=self.source.path,
            offset=self.layout.l1_offset + 8 * index,
            hint="the image is damaged: copy it again, or run: qemu-img check IMAGE",
        )

    # ---- L2 --------------------------------------------------------------------------------------

    def window(self, first: int, last: int, max_rows: int) -> Window:
        """Entries of a prefix of the clusters [first, last), of at least one of them.

        A few thousand tables of 512 bytes or a part of one of 2 MiB: about max_rows entries.
        """
        count = self.layout.l2_entries
        budget = min(max(max_rows, MIN_ENTRIES), MAX_ENTRIES)
        low = first // count
        high = min(-(-last // count), low + L1_WINDOW)
        tables = self._l1(low, high - low)
        if self.ask_holes:
            self._drop_holes(tables, max(1, budget // count))
        stored = np.flatnonzero(tables)
        if count > budget:
            if tables[0]:
                end = min(first + budget, (low + 1) * count, last)
                start = tables[:1] + np.uint64((first - low * count) * self.layout.entry_size)
                entries = self._l2(start, end - first)
                if not entries.any():
                    gap = np.array([first, end], dtype=np.uint64)
                    return Window(NO_PLACES, entries[:0], gap[:1], gap[1:], end)
                clusters = np.arange(first, end, dtype=np.uint64)
                return Window(clusters, entries, NO_PLACES, NO_PLACES, end)
            stored, high = stored[:0], low + int(stored[0]) if len(stored) else high
        elif len(stored) > budget // count:
            wanted = budget // count
            stored, high = stored[:wanted], low + int(stored[wanted])
        end = min(high * count, last)
        read = self._l2(tables[stored], count).reshape(len(stored), count, self._words)
        # As good as no table.
        filled = read.any(axis=(1, 2))
        tables[stored[~filled]] = 0
        stored, entries = stored[filled], read[filled].reshape(-1, self._words)
        starts = (stored.astype(np.uint64) + np.uint64(low)) * np.uint64(count)
        numbers: Places = np.add.outer(starts, np.arange(count, dtype=np.uint64)).reshape(-1)
        # The first and the last table may reach beyond what is asked for, and beyond the disk.
        asked = (numbers >= np.uint64(first)) & (numbers < np.uint64(end))
        starts, ends = _runs(np.flatnonzero(tables[: high - low] == 0))
        return Window(
            numbers[asked],
            entries[asked],
            np.maximum((starts + np.uint64(low)) * np.uint64(count), np.uint64(first)),
            np.minimum((ends + np.uint64(low)) * np.uint64(count), np.uint64(end)),
            end,
        )

    def _drop_holes(self, tables: Places, wanted: int) -> None:
        """Make those of the next tables 0 that lie in holes of the file: as good as no table.

        All of the next `wanted`, and of more where these are all in holes: a small file may name
        terabytes of them.
        """
        stored = np.flatnonzero(tables)
        done = 0
        while done < len(stored):
            part = stored[done : done + max(wanted, 7 * done)]
            holes = self._are_holes(tables[part])
            tables[part[holes]] = 0
            done += len(part)
            if not holes.all():
                break

    def _are_holes(self, places: Places) -> Mask:
        """Which of the L2 tables at these places lie in holes as a whole."""
        size = np.uint64(self.layout.l2_bytes)
        rows = make_rows(np.arange(len(places), dtype=np.uint64) * size, size, Kind.DATA, places)
        rows = split_holes(self.source, 0, rows, 4 * len(rows))
        whole = rows[(rows["kind"] == Kind.ZERO) & (rows["length"] == size)]
        mask = np.zeros(len(places), dtype=bool)
        mask[(whole["offset"] // size).astype(np.intp)] = True
        return mask

    def _l2(self, places: Places, count: int) -> npt.NDArray[np.uint64]:
        """`count` entries at each of these offsets, as rows of 64-bit words."""
        data = self.source.gather(places, count * self.layout.entry_size)
        return data.reshape(-1).view(">u8").astype(np.uint64).reshape(-1, self._words)

    def corrupt(self, cluster: int, problem: str) -> CorruptImageError:
        """The error for an L2 entry: it names the cluster, and where its entry lies."""
        index, within = divmod(cluster, self.layout.l2_entries)
        place = int(self._l1(index, 1)[0]) + within * self.layout.entry_size
        return CorruptImageError(
            f"cluster {cluster} (L1 entry {index}, L2 entry {within}) {problem}",
            path=self.source.path,
            offset=place,
            hint="the image is damaged: copy it again, or run: qemu-img check IMAGE",
        )

    def check_metadata(self, clusters: Places, starts: Places, size: int) -> None:
        """Raise CorruptImageError for one whose [start, start + size) lies on metadata."""
        found = first_on(starts, size, self.regions)
        if found is not None:
            at, region = found
            raise self.corrupt(
                int(clusters[at]), f"is said to lie at {int(starts[at]):#x}, on top of the {region}"
            )
        if not len(self.tables):
            return
        last = np.searchsorted(self.tables, starts + np.uint64(size), side="left")
        below = self.tables[np.maximum(last, 1) - 1]
        inside = first_true((last > 0) & (below + np.uint64(self.layout.l2_bytes) > starts))
        if inside is not None:
            raise self.corrupt(
                int(clusters[inside]),
                f"is said to lie at {int(starts[inside]):#x}, on top of the L2 table at "
                f"{int(below[inside]):#x}",
            )


def _runs(indices: npt.NDArray[np.intp]) -> tuple[Places, Places]:
    """[start, end) of each run of indices that follow each other."""
    if not len(indices):
        return NO_PLACES, NO_PLACES
    breaks = np.flatnonzero(np.diff(indices) != 1)
    starts = indices[np.concatenate(([0], breaks + 1))]
    ends = indices[np.concatenate((breaks, [len(indices) - 1]))] + 1
    return starts.astype(np.uint64), ends.astype(np.uint64)
