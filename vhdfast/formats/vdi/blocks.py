"""The block map: 32-bit numbers of stored blocks.

Block n lies at data_offset + n * (block_extra + block_size), its data behind the extra bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...errors import CorruptImageError
from ...extents import Kind, Rows, clip, make_rows
from ...files import Source
from .header import DIFFERENCING, Header

__all__ = ["BlockMap"]

FREE = 0xFFFFFFFF  # never written
DISCARDED = 0xFFFFFFFE  # zeros, in a differencing image too
# Stored blocks up to which the map is sorted to find overlaps (4 TiB at 1 MiB a block).
OVERLAP_BLOCKS = 1 << 22
WINDOW_ENTRIES = 1 << 16

_Numbers = npt.NDArray[np.uint32]


class BlockMap:
    """Reads the map in windows, never whole."""

    def __init__(self, source: Source, header: Header) -> None:
        self.source = source
        self.header = header
        self.overlaps_checked: bool | None = None
        self.free_kind = Kind.UNALLOCATED if header.image_type == DIFFERENCING else Kind.ZERO
        # What the disk does not use of a larger map says nothing.
        self.count = -(-header.virtual_size // header.block_size)

    def entries(self, first: int, count: int) -> _Numbers:
        data = self.source.read_exact(self.header.map_offset + 4 * first, 4 * count, "block map")
        return np.frombuffer(data, dtype="<u4")

    def _corrupt(self, block: int, problem: str) -> CorruptImageError:
        return CorruptImageError(
            f"block {block} {problem}",
            path=self.source.path,
            offset=self.header.map_offset + 4 * block,
            hint="the block map is damaged: copy the image again",
        )

    def check_overlaps(self) -> None:
        """Raise CorruptImageError where two blocks are one in the file. The map is read once.

        Sets overlaps_checked, to False where there are too many blocks to keep.
        """
        if self.overlaps_checked is not None:
            return
        kept: list[_Numbers] = []
        total = 0
        for first in range(0, self.count, WINDOW_ENTRIES):
            entries = self.entries(first, min(WINDOW_ENTRIES, self.count - first))
            stored = np.sort(entries[entries < DISCARDED])
            # A map that is one hole in a sparse file ends here, not after all its windows.
            self._check_twice(stored)
            kept.append(stored)
            total += len(stored)
            if total > OVERLAP_BLOCKS:
                self.overlaps_checked = False
                return
        numbers = np.concatenate(kept)
        numbers.sort()
        self._check_twice(numbers)
        self.overlaps_checked = True

    def _check_twice(self, numbers: _Numbers) -> None:
        twice = np.flatnonzero(numbers[1:] == numbers[:-1])
        if not len(twice):
            return
        number = int(numbers[twice[0]])
        found: list[int] = []
        for first in range(0, self.count, WINDOW_ENTRIES):
            entries = self.entries(first, min(WINDOW_ENTRIES, self.count - first))
            found.extend(first + int(at) for at in np.flatnonzero(entries == number)[:2])
            if len(found) > 1:
                break
        raise self._corrupt(
            found[1], f"is stored block {number}, and so is block {found[0]}: each has its own"
        )

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        """Rows of a prefix of [offset, offset + length), at least one; DATA of source 0."""
        self.check_overlaps()
        header = self.header
        size = header.block_size
        first = offset // size
        last = -(-(offset + length) // size)
        entries = self.entries(first, min(last - first, max_rows, WINDOW_ENTRIES))
        stored = entries < DISCARDED
        numbers = np.where(stored, entries, 0).astype(np.uint64)
        # Below 2^32 * 2^29 and a 32-bit offset: no overflow.
        places = numbers * np.uint64(header.stride) + np.uint64(
            header.data_offset + header.block_extra
        )
        outside = np.flatnonzero(stored & (places >= self.source.size))
        if len(outside):
            at = int(outside[0])
            raise self._corrupt(
                first + at,
                f"is stored block {int(entries[at])} at {int(places[at]):#x}, the file ends at "
                f"{self.source.size:#x}",
            )
        kinds = np.where(stored, Kind.DATA, np.where(entries == FREE, self.free_kind, Kind.ZERO))
        offsets = np.arange(first, first + len(entries), dtype=np.uint64) * np.uint64(size)
        rows = make_rows(offsets, size, kinds, np.where(stored, places, np.uint64(0)))
        return clip(rows, offset, length)
