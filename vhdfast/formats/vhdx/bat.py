"""The block allocation table: where the payload blocks lie.

Source: [MS-VHDX] 2.5 "BAT". Entries are 64 bits, little-endian: the state in bits 0-2, the offset
in MiB in bits 20-63. After each chunk of payload entries comes one for the chunk's sector bitmap,
in fixed and dynamic disks too, where it is never used.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...errors import CorruptImageError
from ...extents import Kind, Rows, clip, make_rows
from ...files import Source
from ...units import MIB
from .headers import HEADER_SECTION, Region
from .metadata import Metadata

__all__ = ["BlockTable"]

# Sectors that one sector bitmap block of 1 MiB speaks for.
SECTORS_IN_CHUNK = 1 << 23
FULLY_PRESENT = 6
# Not present, undefined, zero, unmapped, and unmapped as specification 0.95 numbered it.
_READS_AS_ZERO = (0, 1, 2, 3, 5)
# Stored blocks up to which the table is sorted to find overlaps (4 TiB at 1 MiB a block).
OVERLAP_BLOCKS = 1 << 22
WINDOW_ENTRIES = 1 << 16


class BlockTable:
    """Reads the table in windows, never whole.

    source: the file as its log leaves it. stored_size: where its bytes really end.
    """

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
        self.overlaps_checked: bool | None = None
        needed = 8 * (self.count + (self.count - 1) // self.chunk_ratio)
        if needed > region.length:
            raise CorruptImageError(
                f"the BAT region has {region.length} bytes, {self.count} blocks of "
                f"{self.block_size} bytes need {needed}",
                path=source.path,
                offset=region.offset,
                hint="the image is damaged: copy it again and compare checksums",
            )

    def _index(self, block: int) -> int:
        return block + block // self.chunk_ratio

    def entries(self, first: int, count: int) -> npt.NDArray[np.uint64]:
        """The payload entries of `count` blocks; the sector bitmaps' are left out."""
        base = self._index(first)
        span = self._index(first + count - 1) - base + 1
        data = self.source.read_exact(self.region.offset + 8 * base, 8 * span, "BAT")
        blocks = np.arange(first, first + count, dtype=np.int64)
        indices = blocks + blocks // self.chunk_ratio - base
        entries: npt.NDArray[np.uint64] = np.frombuffer(data, dtype="<u8")[indices]
        return entries

    def _corrupt(self, block: int, problem: str) -> CorruptImageError:
        return CorruptImageError(
            f"block {block} {problem}",
            path=self.source.path,
            offset=self.region.offset + 8 * self._index(block),
            hint="the block allocation table is damaged: copy the image again",
        )

    def check_overlaps(self) -> None:
        """Raise CorruptImageError where two blocks share bytes. The table is read once.

        Sets overlaps_checked, to False where there are too many blocks to keep.
        """
        if self.overlaps_checked is not None:
            return
        kept: list[npt.NDArray[np.uint32]] = []
        total = 0
        for first in range(0, self.count, WINDOW_ENTRIES):
            entries = self.entries(first, min(WINDOW_ENTRIES, self.count - first))
            stored = entries[entries & np.uint64(7) == FULLY_PRESENT] >> np.uint64(20)
            # A place beyond 4 PiB lies outside any file: `rows` says so when it comes there.
            stored = stored[stored < 1 << 32]
            kept.append(stored.astype(np.uint32))
            total += len(stored)
            if total > OVERLAP_BLOCKS:
                self.overlaps_checked = False
                return
        starts = np.concatenate(kept)
        starts.sort()
        stride = self.block_size // MIB
        close = np.flatnonzero(starts[1:] - starts[:-1] < stride)
        if len(close):
            self._report_overlap(int(starts[close[0]]), int(starts[close[0] + 1]))
        self.overlaps_checked = True

    def _report_overlap(self, one: int, other: int) -> None:
        """Find the two blocks at these MiB again, to name them."""
        found: list[tuple[int, int]] = []
        for first in range(0, self.count, WINDOW_ENTRIES):
            entries = self.entries(first, min(WINDOW_ENTRIES, self.count - first))
            places = entries >> np.uint64(20)
            stored = entries & np.uint64(7) == FULLY_PRESENT
            for index in np.flatnonzero(stored & ((places == one) | (places == other)))[:2]:
                found.append((first + int(index), int(places[index]) * MIB))
        (block, at), (second, second_at) = found[:2]
        raise self._corrupt(
            second,
            f"at {second_at:#x} overlaps block {block} at {at:#x}: blocks take {self.block_size} "
            "bytes each",
        )

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        """Rows of a prefix of [offset, offset + length), at least one; DATA of source 0."""
        self.check_overlaps()
        first = offset // self.block_size
        last = -(-(offset + length) // self.block_size)
        entries = self.entries(first, min(last - first, max_rows, WINDOW_ENTRIES))
        states = (entries & np.uint64(7)).astype(np.uint8)
        stored = states == FULLY_PRESENT
        wrong = ~(stored | np.isin(states, _READS_AS_ZERO))
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise self._corrupt(
                first + at,
                f"has state {int(states[at])}, which a disk without a parent cannot have",
            )
        places = np.where(stored, entries >> np.uint64(20), np.uint64(0)) * np.uint64(MIB)
        self._check_places(first, np.flatnonzero(stored), places)
        offsets = np.arange(first, first + len(entries), dtype=np.uint64) * np.uint64(
            self.block_size
        )
        rows = make_rows(
            offsets, self.block_size, np.where(stored, Kind.DATA, Kind.ZERO), places
        )
        return clip(rows, offset, length)

    def _check_places(
        self, first: int, used: npt.NDArray[np.intp], places: npt.NDArray[np.uint64]
    ) -> None:
        starts = places[used]
        outside = starts >= self.source.size
        if outside.any():
            at = int(np.flatnonzero(outside)[0])
            raise self._corrupt(
                first + int(used[at]),
                f"is said to lie at {int(starts[at]):#x}, the file ends at {self.source.size:#x}",
            )
        ends = starts + np.uint64(self.block_size)
        for region in self.reserved:
            inside = (starts < region.end) & (ends > region.offset)
            if inside.any():
                at = int(np.flatnonzero(inside)[0])
                raise self._corrupt(
                    first + int(used[at]),
                    f"is said to lie at {int(starts[at]):#x}, on top of the {region.name} "
                    f"[{region.offset:#x}, {region.end:#x})",
                )
