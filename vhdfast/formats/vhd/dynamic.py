"""The dynamic header, the block allocation table and the sector bitmaps.

Dynamic and differencing disks have them. In a differencing one, what is not stored is the parent's.

Source: Virtual Hard Disk Image Format Specification 1.0 (Microsoft, 2006), "Dynamic Disk Header
Format", "Block Allocation Table and Data Blocks". All fields are big-endian.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._native import vhd_checksum
from ...errors import CorruptImageError, InvalidImageError, UnsupportedImageError
from ...extents import Kind, Rows, clip, concatenate, make_rows
from ...files import Source
from ...units import SECTOR, round_up
from ..base import read_each

__all__ = ["BlockTable", "DynamicHeader"]

COOKIE = b"cxsparse"
HEADER_LENGTH = 1024
UNUSED = 0xFFFFFFFF
# Bitmaps read at once, in bytes, and bits turned into rows at once: both bound memory.
BITMAP_BATCH = 1 << 20
BIT_BATCH = 1 << 18
# Tables larger than this (8 TiB at 2 MiB a block) are not sorted to find overlaps.
OVERLAP_ENTRIES = 1 << 22

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
                hint="the image is cut short: copy it again and compare checksums",
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
                hint="the image is damaged: copy it again and compare checksums",
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


class BlockTable:
    """Where the blocks of a VHD lie. Reads the table in windows, never whole.

    limit: where block data ends at the latest, bytes (the trailing footer, or the file's end).
    absent: what a sector is that is not stored: ZERO, or UNALLOCATED where the parent has it.
    """

    def __init__(
        self,
        source: Source,
        header: DynamicHeader,
        virtual_size: int,
        limit: int,
        absent: Kind = Kind.ZERO,
    ) -> None:
        self.source = source
        self.header = header
        self.virtual_size = virtual_size
        self.limit = limit
        self.absent = absent
        self.block_size = header.block_size
        self.sectors = header.block_size // SECTOR
        self.bitmap_size = round_up(-(-self.sectors // 8), SECTOR)
        self.count = -(-virtual_size // self.block_size)
        self.empty_bitmaps = 0
        self._checked = False
        self._check_bounds()

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
                hint="the image is cut short: copy it again and compare checksums",
            )

    @property
    def is_checked_for_overlaps(self) -> bool:
        return self.count <= OVERLAP_ENTRIES

    def entries(self, first: int, count: int) -> npt.NDArray[np.uint64]:
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
        if self._checked or not self.is_checked_for_overlaps:
            return
        self._checked = True
        entries = self.entries(0, self.count).astype(np.uint32)
        used = np.sort(entries[entries != UNUSED])
        stride = (self.bitmap_size + self.block_size) // SECTOR
        close = np.flatnonzero(used[1:] - used[:-1] < stride)
        if not len(close):
            return
        one, other = used[close[0]], used[close[0] + 1]
        blocks = np.flatnonzero((entries == one) | (entries == other))[:2]
        raise self._corrupt(
            int(blocks[1]),
            f"at {int(entries[blocks[1]]) * SECTOR:#x} overlaps block {int(blocks[0])} at "
            f"{int(entries[blocks[0]]) * SECTOR:#x}: blocks take {stride * SECTOR} bytes each",
        )

    def _check_places(self, first: int, entries: npt.NDArray[np.uint64]) -> None:
        """Each used block lies within the file and clear of the metadata."""
        used = np.flatnonzero(entries != UNUSED)
        starts = entries[used] * np.uint64(SECTOR)
        ends = starts + np.uint64(self.bitmap_size + self.block_size)
        outside = starts + np.uint64(self.bitmap_size) >= self.limit
        if outside.any():
            at = int(np.flatnonzero(outside)[0])
            raise self._corrupt(
                first + int(used[at]),
                f"is said to lie at {int(starts[at]):#x}, the file's blocks end at "
                f"{self.limit:#x}",
            )
        table = self.header.table_offset
        for what, start, end in (
            ("the footer copy", 0, SECTOR),
            ("the dynamic header", self.header.offset, self.header.offset + HEADER_LENGTH),
            ("the block allocation table", table, table + 4 * self.count),
        ):
            inside = (starts < end) & (ends > start)
            if inside.any():
                at = int(np.flatnonzero(inside)[0])
                raise self._corrupt(
                    first + int(used[at]),
                    f"is said to lie at {int(starts[at]):#x}, on top of {what} "
                    f"[{start:#x}, {end:#x})",
                )

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
        kinds = np.full(len(entries), self.absent, dtype=np.uint8)
        kinds[used] = Kind.DATA
        rows = make_rows(block_offsets, self.block_size, kinds, data_starts)
        if len(partial):
            whole = np.ones(len(entries), dtype=bool)
            whole[used[partial]] = False
            bitmaps = bitmaps[partial]
            self.empty_bitmaps += int((~bitmaps.any(axis=1)).sum())
            shift = np.uint64(low * SECTOR)
            pieces = self._sector_rows(
                bitmaps[:, low // 8 : (low + BIT_BATCH) // 8],
                block_offsets[used[partial]] + shift,
                data_starts[used[partial]] + shift,
            )
            rows = concatenate([rows[whole], pieces])
            rows = rows[np.argsort(rows["offset"], kind="stable")]
        return clip(rows, offset, min(length, self.virtual_size - offset))

    def _read_bitmaps(
        self, starts: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
        """(whether all sectors of the block are marked, the bitmaps) of blocks at `starts`."""
        bitmaps = read_each(self.source, starts, self.bitmap_size)
        width = -(-self.sectors // 8)
        bitmaps = bitmaps[:, :width]
        all_set = (0xFF << (8 * width - self.sectors)) & 0xFF if self.sectors < 8 else 0xFF
        bitmaps = bitmaps & np.uint8(all_set)
        full: npt.NDArray[np.bool_] = (bitmaps == all_set).all(axis=1)
        return full, bitmaps

    def _sector_rows(
        self,
        bitmaps: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.uint64],
        places: npt.NDArray[np.uint64],
    ) -> Rows:
        """Rows of blocks of which some sectors are not marked: those are absent.

        offsets, places: where the sector of each bitmap's first bit lies, in the disk and in the
        file. Bits are most significant first.
        """
        sectors = min(self.sectors, 8 * bitmaps.shape[1])
        bits = np.unpackbits(bitmaps, axis=1, count=sectors)
        begins = np.ones(bits.shape, dtype=bool)
        begins[:, 1:] = bits[:, 1:] != bits[:, :-1]
        at = np.flatnonzero(begins.ravel())
        lengths = np.diff(np.append(at, bits.size)).astype(np.uint64) * np.uint64(SECTOR)
        block, sector = np.divmod(at, sectors)
        within = sector.astype(np.uint64) * np.uint64(SECTOR)
        marked = bits.ravel()[at].astype(bool)
        return make_rows(
            offsets[block] + within,
            lengths,
            np.where(marked, Kind.DATA, self.absent),
            np.where(marked, places[block] + within, 0),
        )
