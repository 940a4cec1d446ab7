"""The block allocation table: where the payload blocks lie.

Source: [MS-VHDX] 2.5 "BAT". Entries are 64 bits, little-endian: the state in bits 0-2, the offset
in MiB in bits 20-63. After each chunk of payload entries comes one for the chunk's sector bitmap,
in fixed and dynamic disks too, where it is never used.

A differencing disk asks its parent for blocks that are not present, and for the sectors of
partially present ones that the bitmap leaves clear (2.4 "Blocks").
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ...errors import DAMAGED, CorruptImageError
from ...extents import Kind, Rows, clip, in_order, make_rows
from ...files import Source
from ...tables import (
    WINDOW_ENTRIES,
    Indices,
    OverlapSearch,
    Places,
    Region,
    bit_rows,
    first_true,
    misplaced,
)
from ...units import MIB
from .headers import HEADER_SECTION
from .metadata import Metadata

__all__ = ["BlockTable"]

# Sectors that one sector bitmap block of 1 MiB speaks for.
SECTORS_IN_CHUNK = 1 << 23
BITMAP_SIZE = MIB
NOT_PRESENT = 0
FULLY_PRESENT = 6  # of a sector bitmap's entry: present
PARTIALLY_PRESENT = 7
# Undefined, zero, unmapped, and unmapped as specification 0.95 numbered it.
_READS_AS_ZERO = (1, 2, 3, 5)
# Entries of a window of a disk with partially present blocks, of which it has room for few.
DIFFERENCING_ENTRIES = 1 << 13
# Bits of sector bitmaps that are turned into rows at once: of at most 1024 blocks.
BIT_BATCH = 1 << 18

_NONE: npt.NDArray[np.intp] = np.zeros(0, dtype=np.intp)


class BlockTable:
    """Reads the table in windows, never whole. source: the file as its log leaves it."""

    def __init__(
        self, source: Source, region: Region, metadata: Metadata, reserved: list[Region]
    ) -> None:
        self.source = source
        self.region = region
        self.block_size = metadata.block_size
        self.virtual_size = metadata.virtual_size
        self.chunk_ratio = SECTORS_IN_CHUNK * metadata.logical_sector_size // self.block_size
        self.count = -(-self.virtual_size // self.block_size)
        self.reserved = [Region("header section", 0, HEADER_SECTION), *reserved]
        self.overlaps = OverlapSearch(
            source, self.all_stored, self.block_size // MIB, BITMAP_SIZE // MIB
        )
        self.has_parent = metadata.has_parent
        self.sector_size = metadata.logical_sector_size
        self.sectors = self.block_size // self.sector_size
        chunks = -(-self.count // self.chunk_ratio)
        # The last entry is the last block's, or the last bitmap's where there are bitmaps.
        self.length = chunks * (self.chunk_ratio + 1) if self.has_parent else (
            self.count + chunks - 1
        )  # fmt: skip
        needed = 8 * self.length
        if needed > region.length:
            raise CorruptImageError(
                f"the BAT region has {region.length} bytes, {self.count} blocks of "
                f"{self.block_size} bytes need {needed}",
                path=source.path,
                offset=region.offset,
                hint=DAMAGED,
            )

    def _index(self, block: int) -> int:
        return block + block // self.chunk_ratio

    def entries(self, first: int, count: int) -> Places:
        """The payload entries of `count` blocks; the sector bitmaps' are left out."""
        base = self._index(first)
        span = self._index(first + count - 1) - base + 1
        data = self.source.read_exact(self.region.offset + 8 * base, 8 * span, "BAT")
        blocks = np.arange(first, first + count, dtype=np.int64)
        indices = blocks + blocks // self.chunk_ratio - base
        entries: Places = np.frombuffer(data, dtype="<u8")[indices]
        return entries

    def _bitmap_entries(self, chunks: Indices) -> Places:
        """The sector bitmaps' entries of some chunks, ascending and within one window."""
        indices = chunks * (self.chunk_ratio + 1) + self.chunk_ratio
        base, span = int(indices[0]), int(indices[-1] - indices[0]) + 1
        data = self.source.read_exact(self.region.offset + 8 * base, 8 * span, "BAT")
        entries: Places = np.frombuffer(data, dtype="<u8")[indices - base]
        return entries

    def name_of(self, index: int) -> str:
        """What the entry at `index` of the table stands for."""
        chunk, within = divmod(index, self.chunk_ratio + 1)
        if within == self.chunk_ratio:
            return f"the sector bitmap of chunk {chunk}"
        return f"block {index - chunk}"

    def _corrupt(self, index: int, problem: str) -> CorruptImageError:
        """An error about the entry at `index` of the table."""
        return CorruptImageError(
            f"{self.name_of(index)} {problem}",
            path=self.source.path,
            offset=self.region.offset + 8 * index,
            hint="the block allocation table is damaged: copy the image again",
        )

    def _stored(self, first: int) -> tuple[Indices, Places]:
        """(indices, places in MiB) of the entries of a window that stand for bytes in the file."""
        length = min(WINDOW_ENTRIES, self.length - first)
        data = self.source.read_exact(self.region.offset + 8 * first, 8 * length, "BAT")
        entries = np.frombuffer(data, dtype="<u8")
        states = entries & np.uint64(7)
        present = states == FULLY_PRESENT
        if self.has_parent:
            present |= states == PARTIALLY_PRESENT
        used = np.flatnonzero(present)
        indices = first + used
        chunks, within = np.divmod(indices, self.chunk_ratio + 1)
        is_bitmap = within == self.chunk_ratio
        if self.has_parent:
            # The last chunk's bitmap comes behind entries of blocks that the disk does not have.
            counts = np.where(is_bitmap, states[used] == FULLY_PRESENT,
                              indices - chunks < self.count)  # fmt: skip
        else:
            counts = ~is_bitmap
        return indices[counts], entries[used[counts]] >> np.uint64(20)

    def all_stored(self) -> Iterator[tuple[Indices, Places, npt.ArrayLike]]:
        """The same of the whole table, with 1 for what is a sector bitmap."""
        for first in range(0, self.length, WINDOW_ENTRIES):
            indices, places = self._stored(first)
            yield indices, places, indices % (self.chunk_ratio + 1) == self.chunk_ratio

    def check_overlaps(self) -> None:
        """Raise CorruptImageError where two blocks share bytes. The table is read once."""
        pair = self.overlaps.find()
        if pair is not None:
            one, other = pair
            raise self._corrupt(
                other.index,
                f"at {other.place * MIB:#x} overlaps {self.name_of(one.index)} at "
                f"{one.place * MIB:#x}: blocks take {self.block_size} bytes each"
                + (f", bitmaps {BITMAP_SIZE}" if self.has_parent else ""),
            )

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        """Rows of a prefix of [offset, offset + length), at least one; DATA of source 0."""
        self.check_overlaps()
        first = offset // self.block_size
        last = -(-(offset + length) // self.block_size)
        window = DIFFERENCING_ENTRIES if self.has_parent else WINDOW_ENTRIES
        entries = self.entries(first, min(last - first, max_rows, window))
        states = (entries & np.uint64(7)).astype(np.uint8)
        partial = np.flatnonzero(states == PARTIALLY_PRESENT) if self.has_parent else _NONE
        batch = max(1, BIT_BATCH // self.sectors)
        if len(partial) > batch:
            stop = int(partial[batch])
            entries, states, partial = entries[:stop], states[:stop], partial[:batch]
        kinds = np.zeros(len(entries), dtype=np.uint8)
        stored = states == FULLY_PRESENT
        stored[partial] = True
        kinds[stored] = Kind.DATA
        absent = states == NOT_PRESENT
        kinds[absent] = Kind.UNALLOCATED
        zero = np.isin(states, _READS_AS_ZERO)
        kinds[zero] = Kind.ZERO
        at = first_true(~(stored | absent | zero))
        if at is not None:
            kind, also = ("with", ", 7 (partially stored)") if self.has_parent else ("without", "")
            raise self._corrupt(
                self._index(first + at),
                f"has state {int(states[at])}, which a disk {kind} a parent cannot have, "
                f"expected 6 (stored){also} or 0, 1, 2, 3, 5 "
                f"({'not stored' if self.has_parent else 'zeros'})",
            )
        places = np.where(stored, entries >> np.uint64(20), np.uint64(0)) * np.uint64(MIB)
        blocks = np.arange(first, first + len(entries), dtype=np.int64)
        used = np.flatnonzero(stored)
        self._check_places(
            blocks[used] + blocks[used] // self.chunk_ratio, places[used], self.block_size
        )
        offsets = blocks.astype(np.uint64) * np.uint64(self.block_size)
        rows = make_rows(offsets, self.block_size, kinds, places)
        if len(partial):
            whole = np.ones(len(entries), dtype=bool)
            whole[partial] = False
            pieces = self._sector_rows(blocks[partial], places[partial])
            rows = in_order([rows[whole], pieces])
        return clip(rows, offset, length)

    def _sector_rows(
        self, blocks: Indices, places: Places
    ) -> Rows:
        """Rows of partially present blocks: what their bitmaps mark, and what the parent has."""
        bits = np.unpackbits(self._bitmaps(blocks), axis=1, count=self.sectors, bitorder="little")
        offsets = blocks.astype(np.uint64) * np.uint64(self.block_size)
        return bit_rows(bits, offsets, places, self.sector_size, Kind.UNALLOCATED)

    def _bitmaps(self, blocks: Indices) -> npt.NDArray[np.uint8]:
        """The sectors' bits of some blocks, a row each."""
        of_block, within = np.divmod(blocks, self.chunk_ratio)
        chunks, which = np.unique(of_block, return_inverse=True)
        entries = self._bitmap_entries(chunks)
        indices = chunks * (self.chunk_ratio + 1) + self.chunk_ratio
        missing = np.flatnonzero(entries & np.uint64(7) != FULLY_PRESENT)
        if len(missing):
            at = int(missing[0])
            block = int(blocks[np.flatnonzero(which == at)[0]])
            raise self._corrupt(
                int(indices[at]),
                f"has state {int(entries[at]) & 7}, expected 6 (present): block {block} is "
                "partially present",
            )
        places = (entries >> np.uint64(20)) * np.uint64(MIB)
        self._check_places(indices, places, BITMAP_SIZE)
        size = self.sectors // 8
        starts = places[which] + within.astype(np.uint64) * np.uint64(size)
        beyond = np.flatnonzero(starts + np.uint64(size) > self.source.size)
        if len(beyond):
            raise self._corrupt(
                int(indices[which[beyond[0]]]),
                f"is cut short by the end of the file at {self.source.size:#x}: what it says of "
                f"block {int(blocks[beyond[0]])} is missing",
            )
        return self.source.gather(starts, size)

    def _check_places(
        self, indices: Indices, starts: Places, size: int
    ) -> None:
        """The blocks of `size` bytes that some entries stand for lie clear of the metadata.

        The last one may be cut short by the end of the file.
        """
        wrong = misplaced(starts, size, self.source.size, self.reserved)
        if wrong is not None:
            at, problem = wrong
            raise self._corrupt(int(indices[at]), problem)
