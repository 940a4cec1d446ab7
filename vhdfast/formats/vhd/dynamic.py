"""The dynamic header, the block allocation table and the sector bitmaps.

Dynamic and differencing disks have them. In a differencing one, what is not stored is the parent's.

Source: Virtual Hard Disk Image Format Specification 1.0 (Microsoft, 2006), "Dynamic Disk Header
Format", "Block Allocation Table and Data Blocks". All fields are big-endian.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from ..._native import vhd_checksum
from ...errors import (
    CUT_SHORT,
    DAMAGED,
    CorruptImageError,
    InvalidImageError,
    UnsupportedImageError,
)
from ...extents import Kind, Rows, clip, in_order, make_rows
from ...files import Source
from ...tables import (
    OverlapSearch,
    Places,
    Region,
    bit_rows,
    first_on,
    first_true,
    stored_entries,
)
from ...units import SECTOR, round_up
from .footer import NO_OFFSET

__all__ = ["HEADER_LENGTH", "UNUSED", "BlockTable", "DynamicHeader", "pack_header"]

COOKIE = b"cxsparse"
HEADER_LENGTH = 1024
UNUSED = 0xFFFFFFFF
# Bitmaps read at once, in bytes, and bits turned into rows at once: both bound memory.
BITMAP_BATCH = 1 << 20
BIT_BATCH = 1 << 18

_LAYOUT = struct.Struct(">8sQQIIII16sII512s192s256s")
assert _LAYOUT.size == HEADER_LENGTH


@dataclass(frozen=True, slots=True)
class DynamicHeader:
    """The header's fields; `read` has checked those that reading depends on."""

    offset: int
    table_offset: int
    max_table_entries: int
    block_size: int
    stored_checksum: int
    checksum: int
    parent_id: uuid.UUID
    parent_time: int  # seconds since the footer's EPOCH
    parent_name: str  # as it stands there
    locators: bytes  # eight entries of 24 bytes

    @property
    def is_intact(self) -> bool:
        return self.stored_checksum == self.checksum

    @classmethod
    def read(cls, source: Source, offset: int) -> DynamicHeader:
        """Read and check the header at `offset`."""
        if offset > source.size - HEADER_LENGTH:
            raise CorruptImageError(
                f"the footer puts the dynamic header at {offset:#x}, the file has "
                f"{source.size} bytes",
                path=source.path,
                hint=CUT_SHORT,
            )
        data = source.read_exact(offset, HEADER_LENGTH, "dynamic header")
        (
            cookie, _next, table_offset, version, entries, block_size, stored_checksum, parent_id,
            parent_time, _reserved, parent_name, locators, _rest,
        ) = _LAYOUT.unpack(data)  # fmt: skip
        if cookie != COOKIE:
            raise CorruptImageError(
                f"the dynamic header begins with {cookie!r}, expected {COOKIE!r}",
                path=source.path,
                offset=offset,
                hint=DAMAGED,
            )
        if version >> 16 != 1:
            raise UnsupportedImageError(
                f"dynamic header version {version >> 16}.{version & 0xFFFF}, expected 1.0",
                path=source.path,
                offset=offset + 24,
            )
        if block_size < SECTOR or block_size & (block_size - 1):
            raise InvalidImageError(
                f"a block of {block_size} bytes, expected a power of two of at least {SECTOR}",
                path=source.path,
                offset=offset + 32,
                hint="the dynamic header is damaged: copy the image again",
            )
        return cls(
            offset=offset,
            table_offset=table_offset,
            max_table_entries=entries,
            block_size=block_size,
            stored_checksum=stored_checksum,
            checksum=vhd_checksum(data),
            parent_id=uuid.UUID(bytes=parent_id),
            parent_time=parent_time,
            parent_name=parent_name.decode("utf-16-be", "replace").split("\0", 1)[0],
            locators=locators,
        )


def pack_header(table_offset: int, entries: int, block_size: int) -> bytes:
    """The 1024 bytes of the header of a dynamic disk, which has no parent."""
    data = _LAYOUT.pack(
        COOKIE, NO_OFFSET, table_offset, 0x00010000, entries, block_size, 0, bytes(16), 0, 0, b"",
        b"", b"",
    )  # fmt: skip
    return data[:36] + struct.pack(">I", vhd_checksum(data)) + data[40:]


class BlockTable:
    """Where the blocks of a VHD lie. Reads the table in windows, never whole.

    limit: where block data ends at the latest, bytes (the trailing footer, or the file's end).
    """

    def __init__(
        self, source: Source, header: DynamicHeader, virtual_size: int, limit: int
    ) -> None:
        self.source = source
        self.header = header
        self.virtual_size = virtual_size
        self.limit = limit
        self.block_size = header.block_size
        self.sectors = header.block_size // SECTOR
        self.bitmap_size = round_up(-(-self.sectors // 8), SECTOR)
        self.count = -(-virtual_size // self.block_size)
        self.empty_bitmaps = 0
        self._check_bounds()
        table = header.table_offset
        self.reserved = [
            Region("footer copy", 0, SECTOR),
            Region("dynamic header", header.offset, header.offset + HEADER_LENGTH),
            Region("block allocation table", table, table + 4 * self.count),
        ]
        self.stride = (self.bitmap_size + self.block_size) // SECTOR
        walk = partial(stored_entries, self.entries, self.count, lambda found: found != UNUSED)
        self.overlaps = OverlapSearch(source, walk, self.stride)

    def _check_bounds(self) -> None:
        header = self.header
        if header.max_table_entries < self.count:
            raise CorruptImageError(
                f"the table has {header.max_table_entries} entries, a disk of "
                f"{self.virtual_size} bytes needs {self.count} blocks of {self.block_size} bytes",
                path=self.source.path,
                offset=header.offset + 28,
                hint="the header is damaged: copy the image again",
            )
        if header.table_offset + 4 * self.count > self.source.size:
            raise CorruptImageError(
                f"the block allocation table spans [{header.table_offset:#x}, "
                f"{header.table_offset + 4 * self.count:#x}), the file has {self.source.size} "
                "bytes",
                path=self.source.path,
                offset=header.offset + 16,
                hint=CUT_SHORT,
            )

    def entries(self, first: int, count: int) -> Places:
        """Table entries as sector numbers; UNUSED where a block is not stored."""
        at = self.header.table_offset + 4 * first
        data = self.source.read_exact(at, 4 * count, "block allocation table")
        return np.frombuffer(data, dtype=">u4").astype(np.uint64)

    def _corrupt(self, block: int, problem: str) -> CorruptImageError:
        return CorruptImageError(
            f"block {block} {problem}",
            path=self.source.path,
            offset=self.header.table_offset + 4 * block,
            hint="the block allocation table is damaged: copy the image again",
        )

    def check_overlaps(self) -> None:
        """Raise CorruptImageError where two blocks share bytes. The table is read once."""
        pair = self.overlaps.find()
        if pair is not None:
            block, other = pair
            raise self._corrupt(
                other.index,
                f"at {other.place * SECTOR:#x} overlaps block {block.index} at "
                f"{block.place * SECTOR:#x}: blocks take {self.stride * SECTOR} bytes each",
            )

    def _check_places(self, first: int, entries: Places) -> None:
        """Each used block lies within the file and clear of the metadata."""
        used = np.flatnonzero(entries != UNUSED)
        starts = entries[used] * np.uint64(SECTOR)
        at = first_true(starts + np.uint64(self.bitmap_size) >= self.limit)
        if at is not None:
            raise self._corrupt(
                first + int(used[at]),
                f"is said to lie at {int(starts[at]):#x}, the file's blocks end at "
                f"{self.limit:#x}",
            )
        found = first_on(starts, self.stride * SECTOR, self.reserved)
        if found is not None:
            at, region = found
            raise self._corrupt(
                first + int(used[at]), f"is said to lie at {int(starts[at]):#x}, on top of the "
                f"{region}"
            )  # fmt: skip

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        """Rows of a prefix of [offset, offset + length), at least one."""
        self.check_overlaps()
        first = offset // self.block_size
        last = -(-(offset + length) // self.block_size)
        entries = self.entries(first, min(last - first, max(max_rows, 1)))
        used = np.flatnonzero(entries != UNUSED)
        batch = max(1, BITMAP_BATCH // self.bitmap_size)
        if len(used) > batch:
            entries = entries[: used[batch]]
            used = used[:batch]
        self._check_places(first, entries)

        starts = entries[used] * np.uint64(SECTOR)
        full, bitmaps = self._read_bitmaps(starts)
        partial = np.flatnonzero(~full)
        bits_batch = BIT_BATCH // self.sectors
        low = 0
        if not bits_batch and len(partial) and used[partial[0]] == 0:
            # A block with more bits than are looked at at once: the part that `offset` lies in.
            bits_batch = 1
            within = offset % self.block_size
            low = within // SECTOR // BIT_BATCH * BIT_BATCH
            length = min(length, (low + BIT_BATCH) * SECTOR - within)
        if len(partial) > bits_batch:
            stop = partial[bits_batch]
            entries = entries[: used[stop]]
            used, starts, full, bitmaps = used[:stop], starts[:stop], full[:stop], bitmaps[:stop]
            partial = partial[:bits_batch]

        block_offsets = (first + np.arange(len(entries), dtype=np.uint64)) * np.uint64(
            self.block_size
        )
        data_starts = np.zeros(len(entries), dtype=np.uint64)
        data_starts[used] = starts + np.uint64(self.bitmap_size)
        kinds = np.full(len(entries), Kind.UNALLOCATED, dtype=np.uint8)
        kinds[used] = Kind.DATA
        rows = make_rows(block_offsets, self.block_size, kinds, data_starts)
        if len(partial):
            whole = np.ones(len(entries), dtype=bool)
            whole[used[partial]] = False
            bitmaps = bitmaps[partial]
            self.empty_bitmaps += int((~bitmaps.any(axis=1)).sum())
            shift = np.uint64(low * SECTOR)
            # Bits are most significant first.
            bits = np.unpackbits(
                bitmaps[:, low // 8 : (low + BIT_BATCH) // 8], axis=1,
                count=min(self.sectors, BIT_BATCH),
            )  # fmt: skip
            pieces = bit_rows(
                bits, block_offsets[used[partial]] + shift, data_starts[used[partial]] + shift,
                SECTOR, Kind.UNALLOCATED,
            )  # fmt: skip
            rows = in_order([rows[whole], pieces])
        return clip(rows, offset, min(length, self.virtual_size - offset))

    def are_full(self, starts: Places) -> npt.NDArray[np.bool_]:
        """Whether all sectors are marked of blocks at these offsets, within the file."""
        return self._read_bitmaps(starts)[0]

    def _read_bitmaps(
        self, starts: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
        """(whether all sectors of the block are marked, the bitmaps) of blocks at `starts`."""
        bitmaps = self.source.gather(starts, self.bitmap_size)
        width = -(-self.sectors // 8)
        bitmaps = bitmaps[:, :width]
        all_set = (0xFF << (8 * width - self.sectors)) & 0xFF if self.sectors < 8 else 0xFF
        bitmaps = bitmaps & np.uint8(all_set)
        full: npt.NDArray[np.bool_] = (bitmaps == all_set).all(axis=1)
        return full, bitmaps
