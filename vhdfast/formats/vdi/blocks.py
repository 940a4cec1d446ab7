"""The block map: 32-bit numbers of stored blocks.

Block n lies at data_offset + n * (block_extra + block_size), its data behind the extra bytes.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from ...errors import CorruptImageError
from ...extents import Kind, Rows, clip, make_rows
from ...files import Source
from ...tables import WINDOW_ENTRIES, OverlapSearch, first_true, stored_entries
from .header import Header

__all__ = ["BlockMap"]

FREE = 0xFFFFFFFF  # never written
DISCARDED = 0xFFFFFFFE  # zeros, in a differencing image too

class BlockMap:
    """Reads the map in windows, never whole."""

    def __init__(self, source: Source, header: Header) -> None:
        self.source = source
        self.header = header
        # What the disk does not use of a larger map says nothing.
        self.count = -(-header.virtual_size // header.block_size)
        walk = partial(stored_entries, self.entries, self.count, lambda found: found < DISCARDED)
        self.overlaps = OverlapSearch(source, walk, 1)

    def entries(self, first: int, count: int) -> npt.NDArray[np.uint32]:
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
        """Raise CorruptImageError where two blocks are one in the file. The map is read once."""
        pair = self.overlaps.find()
        if pair is not None:
            block, other = pair
            raise self._corrupt(
                other.index,
                f"is stored block {other.place}, and so is block {block.index}: each has its own",
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
        at = first_true(stored & (places >= self.source.size))
        if at is not None:
            raise self._corrupt(
                first + at,
                f"is stored block {int(entries[at])} at {int(places[at]):#x}, the file ends at "
                f"{self.source.size:#x}",
            )
        absent = np.where(entries == FREE, Kind.UNALLOCATED, Kind.ZERO)
        kinds = np.where(stored, Kind.DATA, absent)
        offsets = np.arange(first, first + len(entries), dtype=np.uint64) * np.uint64(size)
        rows = make_rows(offsets, size, kinds, np.where(stored, places, np.uint64(0)))
        return clip(rows, offset, length)
