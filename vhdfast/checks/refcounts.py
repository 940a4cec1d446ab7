"""How often the clusters of a qcow2 image are used, and how often the image says they are.

Source: QEMU, docs/interop/qcow2, "Host cluster management", "Bitmaps". Every table, block and
cluster is counted once for each that names it: what the active L1 table and those of the snapshots
lead to, the refcounts' own tables, the snapshot table, and what persistent bitmaps take.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..errors import InvalidImageError, UnsupportedImageError
from ..files import Source
from ..formats.qcow2 import Qcow2Image
from ..formats.qcow2.header import LENGTH_AT, walk_extensions
from ..formats.qcow2.snapshots import walk
from ..formats.qcow2.tables import COMPRESSED, COPIED, PLACE_BITS
from ..tables import Places
from ..units import MIB, SECTOR, format_bytes

__all__ = ["Refcounts", "WrongCounts", "count_references"]

# Host clusters that are counted at once: three bytes each, 60 MiB together.
WINDOW = 20 << 20
MAX_WINDOWS = 4
MAX_TABLES = 32 * MIB  # of L1 tables, of bitmap tables and of the refcount table, each together
MAX_L2 = 2048 * MIB  # of L2 tables, of which each is read once a window
MAX_L2_TABLES = 1 << 20
MAX_BITMAPS = 65535
BATCH = 8 * MIB  # of L2 tables in one step
STEP = 1 << 20  # refcounts in one step
LARGEST = 0xFFFF  # counts from here on are one and the same
SHOWN = 4

_COUNTS_AT, _COUNTS = 48, struct.Struct(">QI")  # the refcount table: offset, clusters
_ORDER_AT = 96
_BITMAPS, _BITMAPS_EXTENSION = 0x23852875, struct.Struct(">IIQQ")
_BITMAP = struct.Struct(">QIIBBHI")
_BITMAPS_ARE_VALID = 1  # of the auto-clear features
_PLACES = np.uint64(PLACE_BITS)
Counts = npt.NDArray[np.uint16]
_NONE: Places = np.zeros(0, np.uint64)


@dataclass(slots=True)
class WrongCounts:
    """Host clusters that are wrong: how many, and (offset, found, expected) of the first."""

    count: int = 0
    first: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, places: Places, found: Iterable[int], expected: Iterable[int]) -> None:
        self.count += len(places)
        room = SHOWN - len(self.first)
        for row in zip(places[:room].tolist(), found, expected, strict=False):
            self.first.append((int(row[0]), int(row[1]), int(row[2])))


@dataclass(slots=True)
class Refcounts:
    """What was counted.

    leaks: clusters with a refcount above what uses them. shortages: with one below. copied:
    entries whose 'copied' flag is not what the refcount says (found, expected: the flag).
    misplaced: entries that lead outside the file, or to no cluster's border.
    """

    clusters: int
    leaks: WrongCounts = field(default_factory=WrongCounts)
    shortages: WrongCounts = field(default_factory=WrongCounts)
    copied: WrongCounts = field(default_factory=WrongCounts)
    misplaced: WrongCounts = field(default_factory=WrongCounts)


def count_references(image: Qcow2Image) -> Refcounts:
    """Count.

    Raises UnsupportedImageError where there is more to count than is counted, and what reading the
    tables raises.
    """
    return _Counting(image).run()


class _Counting:
    """One count. All that is named but L2 entries is gathered first; these are walked over."""

    def __init__(self, image: Qcow2Image) -> None:
        self.source: Source = image.source
        self.header = image.header
        self.size = image.header.cluster_size
        self.bits = image.header.cluster_bits
        self.clusters = -(-self.source.size // self.size)
        self.found = Refcounts(self.clusters)
        self.l1_bytes = 0
        if self.clusters > MAX_WINDOWS * WINDOW:
            raise UnsupportedImageError(
                f"the file has {self.clusters} clusters, up to {MAX_WINDOWS * WINDOW} are counted",
                path=self.source.path,
            )
        self.blocks = self._refcount_blocks()
        self.active_entries = self._l1(self.header.l1_offset, self.header.l1_size)
        self.ranges: list[tuple[int, int]] = [(0, self.size)]  # (offset, bytes) used once
        self.ranges.append((self.header.l1_offset, 8 * self.header.l1_size))
        active = self.active_entries & _PLACES
        self.active = np.unique(active)
        named = np.concatenate([active, *self._snapshots()])
        self.tables, self.weights = np.unique(self._proper(named), return_counts=True)
        if len(self.tables) > min(MAX_L2_TABLES, MAX_L2 // self.size):
            raise UnsupportedImageError(
                f"{len(self.tables)} L2 tables of {format_bytes(self.size)} each, up to "
                f"{MAX_L2_TABLES} and {format_bytes(MAX_L2)} are read",
                path=self.source.path,
            )
        self.single = [self._proper(self.blocks[self.blocks != 0]), self._bitmaps()]
        offset, clusters = self.counts_table
        self.ranges.append((offset, clusters * self.size))

    # ---- what is named --------------------------------------------------------------------------

    def _too_much(self, what: str) -> UnsupportedImageError:
        return UnsupportedImageError(
            f"the {what} take more than {format_bytes(MAX_TABLES)}", path=self.source.path
        )

    def _words(self, offset: int, count: int, what: str) -> Places:
        data = self.source.read_exact(offset, 8 * count, what)
        return np.frombuffer(data, ">u8").astype(np.uint64)

    def _proper(self, places: Places) -> Places:
        """Those in the file, on a cluster's border; the others are counted as misplaced."""
        good = (places & np.uint64(self.size - 1) == 0) & (places < np.uint64(self.source.size))
        wrong = places[~good]
        self.found.misplaced.add(wrong, [0] * len(wrong), [0] * len(wrong))
        proper: Places = places[good]
        return proper

    def _refcount_blocks(self) -> Places:
        """Where the refcount blocks lie, 0 for those that are not there."""
        self.counts_table = offset, clusters = _COUNTS.unpack(
            self.source.read_exact(_COUNTS_AT, _COUNTS.size, "qcow2 header")
        )
        if clusters * self.size > MAX_TABLES:
            raise self._too_much("refcount table's clusters")
        order = 4
        if self.header.version >= 3:
            order = int.from_bytes(self.source.read_exact(_ORDER_AT, 4, "qcow2 header"), "big")
        if order > 6:
            raise InvalidImageError(
                f"refcounts have 2^{order} bits, up to 64 there are",
                path=self.source.path,
                offset=_ORDER_AT,
            )
        self.order = order
        self.in_block = self.size * 8 >> order
        blocks = self._words(offset, clusters * self.size // 8, "refcount table")
        blocks &= np.uint64(~(SECTOR - 1) & (1 << 64) - 1)
        return np.trim_zeros(blocks, "b")

    def _l1(self, offset: int, count: int) -> Places:
        """The entries of an L1 table that name an L2 table."""
        self.l1_bytes += 8 * count
        if self.l1_bytes > MAX_TABLES:
            raise self._too_much("L1 tables")
        entries = self._words(offset, count, "L1 table")
        named: Places = entries[entries & _PLACES != 0]
        return named

    def _snapshots(self) -> list[Places]:
        found: list[Places] = []
        end = self.header.snapshots_offset
        for snapshot in walk(self.source, self.header):
            found.append(self._l1(snapshot.l1_offset, snapshot.l1_size) & _PLACES)
            self.ranges.append((snapshot.l1_offset, 8 * snapshot.l1_size))
            end = snapshot.end
        self.ranges.append((self.header.snapshots_offset, end - self.header.snapshots_offset))
        return found

    def _bitmaps(self) -> Places:
        """Clusters that hold bits of persistent bitmaps; their tables join the ranges."""
        header = self.header
        if header.version < 3 or not header.autoclear & _BITMAPS_ARE_VALID:
            return _NONE
        start = int.from_bytes(self.source.read_exact(LENGTH_AT, 4, "qcow2 header"), "big")
        for kind, _, content in walk_extensions(self.source, start, self.size):
            if kind == _BITMAPS and len(content) >= _BITMAPS_EXTENSION.size:
                count, _, length, offset = _BITMAPS_EXTENSION.unpack_from(content)
                break
        else:
            return _NONE
        if count > MAX_BITMAPS or length > MAX_TABLES:
            raise self._too_much("bitmaps")
        self.ranges.append((offset, length))
        directory = self.source.read_exact(offset, length, "bitmap directory")
        places: list[Places] = []
        at = total = 0
        for _ in range(count):
            if at + _BITMAP.size > length:
                break
            table, entries, _, _, _, name, extra = _BITMAP.unpack_from(directory, at)
            at += -(-(_BITMAP.size + name + extra) // 8) * 8
            total += 8 * entries
            if total > MAX_TABLES:
                raise self._too_much("bitmap tables")
            self.ranges.append((table, 8 * entries))
            named = self._words(table, entries, "bitmap table") & _PLACES
            places.append(named[named != 0])
        return self._proper(np.concatenate(places)) if places else _NONE

    # ---- counting -------------------------------------------------------------------------------

    def run(self) -> Refcounts:
        for low in range(0, self.clusters, WINDOW):
            self._window(low, min(self.clusters, low + WINDOW))
        return self.found

    def _window(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.counts: Counts = np.zeros(high - low, np.uint16)
        self.is_one = np.zeros(high - low, bool)
        for first in range(low, high, STEP):
            stored = self._stored(first, min(high, first + STEP))
            self.is_one[first - low : first - low + len(stored)] = stored == 1
        for offset, length in self.ranges:
            self._add_range(offset, length)
        for places in self.single:
            self._add(places >> np.uint64(self.bits), 1)
        for weight, tables in self._by_weight():
            self._add(tables >> np.uint64(self.bits), weight)
            self._walk(tables, weight)
        self._check_flags(self.active_entries)
        for first in range(low, high, STEP):
            self._compare(first, self._stored(first, min(high, first + STEP)))

    def _by_weight(self) -> Iterator[tuple[int, Places]]:
        """The L2 tables that are named once, those that are named twice …"""
        if not len(self.tables):
            return
        order = np.argsort(self.weights, kind="stable")
        weights, first = np.unique(self.weights[order], return_index=True)
        yield from zip(weights.tolist(), np.split(self.tables[order], first[1:]), strict=True)

    def _stored(self, first: int, end: int) -> Counts:
        """The refcounts of the clusters [first, end), up to LARGEST."""
        unit = min(self.in_block, STEP)  # a block, or what is looked at of one
        starts = np.arange(first, end, unit)
        at, within = starts // self.in_block, starts % self.in_block
        blocks = np.zeros(len(starts), np.uint64)
        known = at < len(self.blocks)
        blocks[known] = self.blocks[at[known]]
        there = (blocks != 0) & (blocks <= np.uint64(max(0, self.source.size - self.size)))
        values = np.zeros((len(starts), unit), np.uint16)
        if there.any():
            places = blocks[there] + (within[there] << self.order >> 3).astype(np.uint64)
            data = self.source.gather(places, unit << self.order >> 3)
            values[there] = _unpacked(data, self.order)
        found: Counts = values.reshape(-1)[: end - first]
        return found

    def _add_range(self, offset: int, length: int) -> None:
        """Bytes that are used once, all their clusters."""
        if length <= 0:
            return
        first, last = offset // self.size, (offset + length - 1) // self.size
        if last >= self.clusters and self.low == 0:
            self.found.misplaced.add(np.array([offset], np.uint64), [0], [0])
        begin, end = max(first, self.low) - self.low, min(last + 1, self.high) - self.low
        if begin < end:
            part = self.counts[begin:end]
            part += (part < LARGEST).astype(np.uint16)

    def _add(self, clusters: Places, weight: int) -> None:
        """Count each of the clusters `weight` times, those in the window."""
        inside = clusters[(clusters >= np.uint64(self.low)) & (clusters < np.uint64(self.high))]
        if not len(inside):
            return
        inside = np.sort(inside, kind="stable")  # as good as sorted, mostly
        begins = np.flatnonzero(np.concatenate(([True], inside[1:] != inside[:-1])))
        times = np.diff(np.append(begins, len(inside))) * weight
        at = (inside[begins] - np.uint64(self.low)).astype(np.intp)
        self.counts[at] = np.minimum(self.counts[at] + times, LARGEST).astype(np.uint16)

    def _walk(self, tables: Places, weight: int) -> None:
        """Count what the entries of L2 tables name, each `weight` times."""
        words = 2 if self.header.is_extended else 1
        step = max(1, BATCH // self.size)
        for at in range(0, len(tables), step):
            part = tables[at : at + step]
            entries = self._entries(part)[:, ::words]
            is_active = np.isin(part, self.active)
            packed = entries & np.uint64(COMPRESSED) != 0
            self._count_packed(entries[packed], weight)
            if self.header.has_data_file:
                continue
            places = entries & _PLACES
            used = ~packed & (places != 0)
            border = places & np.uint64(self.size - 1) == 0
            if self.low == 0:
                outside = places >= np.uint64(self.clusters * self.size)
                wrong = places[used & (~border | outside)]
                self.found.misplaced.count += len(wrong) * (weight - 1)
                self.found.misplaced.add(wrong, [0] * len(wrong), [0] * len(wrong))
            used &= border
            self._add(places[used] >> np.uint64(self.bits), weight)
            self._check_flags(entries[used & is_active[:, None]])

    def _entries(self, tables: Places) -> npt.NDArray[np.uint64]:
        """The words of some tables, a row each; a table that the file cuts short ends in zeros."""
        room = max(0, self.source.size - self.size + 1)
        whole = tables < np.uint64(room)
        words = np.zeros((len(tables), self.size // 8), np.uint64)
        if whole.any():
            data = self.source.gather(tables[whole], self.size)
            words[whole] = data.view(">u8")
        return words

    def _count_packed(self, entries: Places, weight: int) -> None:
        """Compressed clusters: each of the clusters that its sectors lie in."""
        if not len(entries):
            return
        shift = 62 - (self.bits - 8)
        descriptors = entries & np.uint64(COMPRESSED - 1)
        starts = descriptors & np.uint64((1 << shift) - 1)
        sectors = (descriptors >> np.uint64(shift)) + np.uint64(1)
        first = starts >> np.uint64(self.bits)
        ends = starts // np.uint64(SECTOR) + sectors
        last = (ends * np.uint64(SECTOR) - np.uint64(1)) >> np.uint64(self.bits)
        self._add(first, weight)
        for step in (1, 2):  # a unit of up to twice a cluster and a sector touches three
            more = first + np.uint64(step)
            self._add(more[more <= last], weight)
        if self.low == 0:
            wrong = starts[(last >= np.uint64(self.clusters)) & (first < last)]
            wrong = np.concatenate((wrong, starts[first >= np.uint64(self.clusters)]))
            self.found.misplaced.count += len(wrong) * (weight - 1)
            self.found.misplaced.add(wrong, [0] * len(wrong), [0] * len(wrong))
            flagged = starts[entries & np.uint64(COPIED) != 0]
            self.found.copied.add(flagged, [1] * len(flagged), [0] * len(flagged))

    # ---- judging --------------------------------------------------------------------------------

    def _check_flags(self, entries: Places) -> None:
        """The 'copied' flag is set where the refcount is one, and only there."""
        places = entries & _PLACES
        clusters = places >> np.uint64(self.bits)
        inside = (clusters >= np.uint64(self.low)) & (clusters < np.uint64(self.high))
        inside &= places & np.uint64(self.size - 1) == 0
        entries, places, clusters = entries[inside], places[inside], clusters[inside]
        flags = entries & np.uint64(COPIED) != 0
        expected = self.is_one[(clusters - np.uint64(self.low)).astype(np.intp)]
        wrong = flags != expected
        self.found.copied.add(places[wrong], flags[wrong].tolist(), expected[wrong].tolist())

    def _compare(self, first: int, stored: Counts) -> None:
        counts = self.counts[first - self.low :][: len(stored)]
        for wrong, into in (
            (np.flatnonzero(stored > counts), self.found.leaks),
            (np.flatnonzero(stored < counts), self.found.shortages),
        ):
            places = (np.uint64(first) + wrong.astype(np.uint64)) << np.uint64(self.bits)
            into.add(places, stored[wrong[:SHOWN]].tolist(), counts[wrong[:SHOWN]].tolist())


def _unpacked(data: npt.NDArray[np.uint8], order: int) -> Counts:
    """Refcounts of 2^order bits, a row for each row of bytes; up to LARGEST."""
    if order >= 3:
        values = data.view(np.dtype(f">u{1 << order - 3}"))
        bounded: Counts = np.minimum(values.astype(np.uint64), LARGEST).astype(np.uint16)
        return bounded
    # Below a byte the lowest bits come first.
    width = 1 << order
    shifts = np.arange(0, 8, width, dtype=np.uint8)
    parts = data[:, :, None] >> shifts & np.uint8((1 << width) - 1)
    counts: Counts = parts.reshape(len(data), -1).astype(np.uint16)
    return counts
