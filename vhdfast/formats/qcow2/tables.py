"""L2 entries: what each cluster of the disk is, and where it lies.

Source: QEMU, docs/interop/qcow2, "Cluster mapping", "Extended L2 Entries".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...extents import Kind, Rows, clip, in_order, make_rows
from ...files import Source
from ...tables import Mask, Places, first_true
from .header import Header
from .levels import Layout, TwoLevels, Window

__all__ = ["ClusterTable"]

Words = npt.NDArray[np.uint64]

PLACE_BITS = 0x00FFFFFFFFFFFE00
COPIED = 1 << 63
COMPRESSED = 1 << 62
READS_AS_ZERO = 1
SUBCLUSTERS = 32
EXTENDED_ENTRIES = 1 << 13
_ALL = np.uint64(0xFFFFFFFF)
_LANES = np.arange(SUBCLUSTERS, dtype=np.uint64)


class ClusterTable:
    """Rows of the disk that one L1 table describes: the active one, or a snapshot's.

    data: the source of standard clusters, number `data_index` of the image's.
    """

    def __init__(
        self,
        source: Source,
        header: Header,
        l1: tuple[int, int, int],
        virtual_size: int,
        data: Source,
        data_index: int,
        ask_holes: bool,
    ) -> None:
        """l1: offset, entries, and where in the file these are said."""
        self.header = header
        self.cluster_size = header.cluster_size
        self.virtual_size = virtual_size
        self.data = data
        self.data_index = data_index
        self.source = source
        entry_size = 16 if header.is_extended else 8
        offset, size, field = l1
        self.levels = TwoLevels(
            source,
            Layout(
                l1_offset=offset,
                l1_size=size,
                l2_entries=self.cluster_size // entry_size,
                entry_size=entry_size,
                cluster_size=self.cluster_size,
                virtual_size=virtual_size,
                place_bits=PLACE_BITS,
                other_bits=COPIED,
                alignment=self.cluster_size,
                header_end=self.cluster_size,
            ),
            field,
            ask_holes,
        )
        # With version 2 and with subclusters, the flag for zeros is a reserved bit.
        self.has_zero_flag = header.version >= 3 and not header.is_extended
        known = PLACE_BITS | COPIED | COMPRESSED | (READS_AS_ZERO if self.has_zero_flag else 0)
        self._reserved = np.uint64(~known & (1 << 64) - 1)
        # Of a compressed cluster's descriptor: the offset takes the low bits, the number of
        # further sectors those up to bit 61.
        self._sectors_shift = 62 - (header.cluster_bits - 8)
        self._packed_place = np.uint64((1 << self._sectors_shift) - 1)

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        """Rows of a prefix of [offset, offset + length), at least one."""
        first = offset // self.cluster_size
        last = -(-(offset + length) // self.cluster_size)
        # A cluster of subclusters may take 32 rows: more entries would be read than are used.
        wanted = min(max_rows, EXTENDED_ENTRIES) if self.header.is_extended else max_rows
        window = self.levels.window(first, last, wanted)
        rows, end = self._rows(window, max(max_rows, SUBCLUSTERS))
        rows = in_order([rows, window.gap_rows(self.cluster_size)])
        return clip(rows, offset, min(offset + length, end * self.cluster_size) - offset)

    def _rows(self, window: Window, max_rows: int) -> tuple[Rows, int]:
        """The rows of the clusters that have entries, up to the cluster that is returned."""
        entries, clusters = window.entries[:, 0], window.clusters
        places = entries & np.uint64(PLACE_BITS)
        packed = entries & np.uint64(COMPRESSED) != 0
        # Only data files have a cluster at offset 0: an image has its header there.
        has_place = places != 0
        if self.header.has_data_file:
            has_place |= entries & np.uint64(COPIED) != 0
        if self.header.is_extended:
            bitmaps = window.entries[:, 1]
            stored, zeros = bitmaps & _ALL, bitmaps >> np.uint64(32)
        else:
            is_zero = self.has_zero_flag & (entries & np.uint64(READS_AS_ZERO) != 0)
            stored = np.where(has_place & ~is_zero, _ALL, np.uint64(0))
            zeros = np.where(is_zero, _ALL, np.uint64(0))
        stored[packed], zeros[packed] = 0, 0
        self._check(clusters, entries, stored, zeros, has_place, packed)

        is_mixed = ~(packed | (stored == _ALL) | (zeros == _ALL) | ((stored == 0) & (zeros == 0)))
        end = window.end
        if is_mixed.any():
            cost = np.cumsum(np.where(is_mixed, SUBCLUSTERS, 1))
            kept = max(1, int(np.searchsorted(cost, max_rows, side="right")))
            if kept < len(clusters):
                end = int(clusters[kept])
                entries, clusters, places = entries[:kept], clusters[:kept], places[:kept]
                stored, zeros = stored[:kept], zeros[:kept]
                packed, is_mixed = packed[:kept], is_mixed[:kept]
        kinds = np.where(stored == _ALL, Kind.DATA, Kind.UNALLOCATED).astype(np.uint8)
        kinds[zeros == _ALL] = Kind.ZERO
        guest = clusters * np.uint64(self.cluster_size)
        rows = make_rows(
            guest,
            self.cluster_size,
            kinds,
            np.where(stored == _ALL, places, np.uint64(0)),
            np.where(stored == _ALL, self.data_index, 0),
        )
        if packed.any():
            self._pack(rows, clusters, entries, packed)
        if is_mixed.any():
            pieces = self._subclusters(
                guest[is_mixed], places[is_mixed], stored[is_mixed], zeros[is_mixed]
            )
            counts = np.where(is_mixed, SUBCLUSTERS, 1)
            rows = rows.repeat(counts)
            rows[is_mixed.repeat(counts)] = pieces
        return rows, end

    def _check(
        self,
        clusters: Places,
        entries: Words,
        stored: Words,
        zeros: Words,
        has_place: Mask,
        packed: Mask,
    ) -> None:
        """Raise CorruptImageError for the first entry that cannot be."""
        if not len(clusters):
            return
        places = entries & np.uint64(PLACE_BITS)

        def refuse(wrong: Mask, problem: str) -> None:
            at = first_true(wrong)
            if at is not None:
                text = problem.format(entry=int(entries[at]), place=int(places[at]))
                raise self.levels.corrupt(int(clusters[at]), text)

        refuse(
            ~packed & (entries & self._reserved != 0),
            "has entry {entry:#018x}, which has reserved bits set",
        )
        refuse(
            ~packed & (places & np.uint64(self.cluster_size - 1) != 0),
            f"is said to lie at {{place:#x}}, no multiple of {self.cluster_size}",
        )
        used = stored != 0
        refuse(stored & zeros != 0, "has subclusters that are both stored and zeros")
        refuse(used & ~has_place, "has stored subclusters and no place")
        if self.header.has_data_file:
            refuse(packed, "is compressed, which no cluster with a data file can be")
            refuse(
                used & (places != clusters * np.uint64(self.cluster_size)),
                "is said to lie at {place:#x} of the data file, expected it where it lies in the "
                "disk",
            )
        else:
            refuse(
                ~packed & (places == 0) & (zeros == 0) & (entries & np.uint64(COPIED) != 0),
                "has entry {entry:#018x}: its own, and at no place",
            )
        refuse(
            used & (places >= np.uint64(self.data.size)),
            f"is said to lie at {{place:#x}}, {self._data_file()} ends at {self.data.size:#x}",
        )
        if not self.header.has_data_file:
            chosen = np.flatnonzero(used)
            self.levels.check_metadata(clusters[chosen], places[chosen], self.cluster_size)

    def _data_file(self) -> str:
        return "the data file" if self.header.has_data_file else "the file"

    def _pack(self, rows: Rows, clusters: Places, entries: Words, packed: Mask) -> None:
        """Make COMPRESSED rows of those that are."""
        descriptors = entries[packed] & np.uint64(COMPRESSED - 1)
        starts = descriptors & self._packed_place
        sectors = descriptors >> np.uint64(self._sectors_shift)
        at = first_true(starts >= np.uint64(self.source.size))
        if at is not None:
            raise self.levels.corrupt(
                int(clusters[packed][at]),
                f"is compressed and said to lie at {int(starts[at]):#x}, the file ends at "
                f"{self.source.size:#x}",
            )
        # The last sector may hold the beginning of something else: only where it starts counts.
        self.levels.check_metadata(clusters[packed], starts, 1)
        rows["kind"][packed] = Kind.COMPRESSED
        rows["codec"][packed] = self.header.codec
        rows["file_offset"][packed] = starts
        rows["file"][packed] = 0
        rows["stored_length"][packed] = (sectors + np.uint64(1)) * np.uint64(512) - (
            starts & np.uint64(511)
        )
        rows["decoded_length"][packed] = self.cluster_size

    def _subclusters(self, guest: Places, places: Places, stored: Words, zeros: Words) -> Rows:
        """32 rows for each cluster."""
        size = np.uint64(self.cluster_size // SUBCLUSTERS)
        is_stored = (stored[:, None] >> _LANES) & np.uint64(1) != 0
        is_zero = (zeros[:, None] >> _LANES) & np.uint64(1) != 0
        kinds = np.where(is_stored, Kind.DATA, np.where(is_zero, Kind.ZERO, Kind.UNALLOCATED))
        at = np.where(is_stored, places[:, None] + _LANES * size, np.uint64(0))
        return make_rows(
            (guest[:, None] + _LANES * size).reshape(-1),
            size,
            kinds.reshape(-1),
            at.reshape(-1),
            np.where(is_stored, self.data_index, 0).reshape(-1),
        )
