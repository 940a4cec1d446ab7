"""A dynamic VHD: the blocks of the disk that are not all zero, and a table of where they lie.

Source: Virtual Hard Disk Image Format Specification 1.0 (Microsoft, 2006), "Dynamic Disk Header
Format", "Block Allocation Table and Data Blocks".
"""

from __future__ import annotations

import numpy as np

from .._native import GRANULE
from ..formats.vhd.dynamic import HEADER_LENGTH, UNUSED, pack_header
from ..formats.vhd.footer import FOOTER_LENGTH, DiskType
from ..units import GIB, MIB, SECTOR, round_up
from .base import Constraints, FileOutput, TargetOptions
from .fixed_vhd import make_footer

__all__ = ["DynamicVhd"]

BLOCK_SIZE = 2 * MIB
TABLE_OFFSET = FOOTER_LENGTH + HEADER_LENGTH


class DynamicVhd(FileOutput):
    """Blocks in the order of the disk, one after the other.

    Each has its sector bitmap, all ones, in the last sector before a granule's border: so its data
    can be written past the page cache, and its zeros can be holes.
    """

    name = "dynamic-vhd"
    title = "dynamic VHD, for Hyper-V and others"
    suffix = ".vhd"
    note = "Azure takes no dynamic VHDs: write a fixed-vhd for it"
    format_name = "vhd"
    # 2040 GiB, the largest that Hyper-V and qemu take; its sectors fit the table's 32 bits.
    constraints = Constraints(alignment=MIB, max_size=2040 * GIB, overhead=FOOTER_LENGTH)
    block_size = BLOCK_SIZE
    block_head = bytes(GRANULE - SECTOR) + b"\xff" * SECTOR

    def __init__(self, path: str, virtual_size: int, options: TargetOptions) -> None:
        super().__init__(path, virtual_size, options)
        self._entries = -(-virtual_size // BLOCK_SIZE)
        self._table_end = TABLE_OFFSET + round_up(4 * self._entries, SECTOR)
        self._table = np.full((self._table_end - TABLE_OFFSET) // 4, UNUSED, dtype=">u4")
        self._stored = 0

    def _place_of(self, number: int) -> int:
        """Where the head of the number-th block stored begins."""
        return round_up(self._table_end, GRANULE) + number * (GRANULE + BLOCK_SIZE)

    def place(self, block: int) -> int:
        place = self._place_of(self._stored)
        self._table[block] = (place + GRANULE) // SECTOR - 1
        self._stored += 1
        return place

    def overhead(self, blocks: int) -> int:
        return self._place_of(blocks) - blocks * BLOCK_SIZE + FOOTER_LENGTH

    @property
    def file_size(self) -> int:
        # Without a block the footer lies where the first one would begin without padding: qemu puts
        # its first block there, and takes what it does not overwrite for the block's zeros.
        end = self._place_of(self._stored) if self._stored else self._table_end
        return end + FOOTER_LENGTH

    def last_writes(self) -> list[tuple[int, bytes]]:
        footer = make_footer(self, DiskType.DYNAMIC, self.unique_id, FOOTER_LENGTH)
        header = pack_header(TABLE_OFFSET, self._entries, BLOCK_SIZE)
        # The copy in front comes last: many readers go by it alone.
        return [
            (FOOTER_LENGTH, header + self._table.tobytes()),
            (self.file_size - FOOTER_LENGTH, footer),
            (0, footer),
        ]
