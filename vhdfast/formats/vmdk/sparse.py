"""Hosted sparse extents (KDMV): of Workstation, Fusion, qemu, and stream-optimized ones of OVF.

Source: VMware, "Virtual Disk Format 5.0", sections "Hosted Sparse Extents" and "Stream-Optimized
Compressed Sparse Extents". All little-endian; places are in sectors.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import (
    CONVERT_ELSEWHERE,
    CUT_SHORT,
    DAMAGED,
    CorruptImageError,
    InvalidImageError,
    UnsupportedImageError,
)
from ...extents import MAX_UNIT, Codec, Kind, Rows
from ...files import Source
from ...tables import Region, first_true
from ...units import MAX_OFFSET, MIB, SECTOR
from ..base import Notify
from .descriptor import MAX_DESCRIPTOR
from .grains import U8, U64, GrainTables
from .parts import TablePart

__all__ = ["MAGIC", "Header", "SparsePart", "read_header"]

MAGIC = b"KDMV"
VERSIONS = (1, 2, 3)
TABLE_ENTRIES = 512
MIN_GRAIN, MAX_GRAIN = 8, 1 << 21  # sectors
GD_AT_END = 0xFFFFFFFFFFFFFFFF
NEW_LINES = b"\n \r\n"
# How far before the end of the file a footer is looked for: some storage pads files.
FOOTER_SEARCH = 4 * MIB

CHECKS_NEW_LINES, HAS_REDUNDANT, HAS_ZEROED, COMPRESSED, MARKERS = 1, 2, 4, 1 << 16, 1 << 17
DEFLATE = 1

_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
assert _HEADER.size == 79
_MARKER = np.dtype([("sector", "<u8"), ("size", "<u4")])
_FOOTER_MARKER = struct.Struct("<QII")
FOOTER_TYPE = 3


@dataclass(frozen=True, slots=True)
class Header:
    """The header, or the footer that stands for it. Sizes and places in sectors.

    at: where it stands, bytes.
    """

    at: int
    version: int
    flags: int
    capacity: int
    grain_size: int
    descriptor_offset: int
    descriptor_size: int
    table_entries: int
    redundant: int
    directory: int
    overhead: int
    unclean: int
    new_lines: bytes
    compression: int

    @property
    def is_compressed(self) -> bool:
        return bool(self.flags & COMPRESSED)


def _unpack(data: bytes, at: int) -> Header:
    return Header(at, *_HEADER.unpack(data)[1:])


def read_header(source: Source) -> Header:
    """The header, checked as far as it goes without tables; the footer where that counts.

    Raises CorruptImageError, InvalidImageError, UnsupportedImageError.
    """
    header = _unpack(source.read_exact(0, _HEADER.size, "sparse extent header"), 0)

    def invalid(what: str, found: object, expected: str, at: int) -> InvalidImageError:
        return InvalidImageError(
            f"the {what} is {found}, expected {expected}", path=source.path, offset=header.at + at
        )

    if header.version not in VERSIONS:
        raise UnsupportedImageError(
            f"the sparse extent has version {header.version}, expected 1, 2 or 3",
            path=source.path,
            offset=4,
            hint=CONVERT_ELSEWHERE,
        )
    if header.capacity > MAX_OFFSET // SECTOR:
        raise invalid("capacity", f"{header.capacity} sectors", "less than 2^54", 12)
    if header.flags & CHECKS_NEW_LINES and header.new_lines != NEW_LINES:
        raise CorruptImageError(
            f"the header's line ends are {header.new_lines!r}, expected {NEW_LINES!r}",
            path=source.path,
            offset=73,
            hint="the file was sent as text: copy it again as binary",
        )
    if header.descriptor_offset and header.descriptor_size:
        length = header.descriptor_size * SECTOR
        if length > MAX_DESCRIPTOR:
            raise invalid("descriptor's size", f"{length} bytes", f"at most {MAX_DESCRIPTOR}", 36)
        if header.descriptor_offset * SECTOR >= source.size:
            raise CorruptImageError(
                f"the descriptor is said to lie at {header.descriptor_offset * SECTOR:#x}, the "
                f"file has {source.size:#x} bytes",
                path=source.path,
                offset=28,
                hint=CUT_SHORT,
            )
    if not header.capacity and header.descriptor_offset:
        return header  # nothing but a place for a descriptor
    size = header.grain_size
    if not MIN_GRAIN <= size <= MAX_GRAIN or size & (size - 1):
        raise invalid("grain size", f"{size} sectors", f"a power of two of 8 to {MAX_GRAIN}", 20)
    if header.table_entries != TABLE_ENTRIES:
        raise invalid("size of grain tables", f"{header.table_entries} entries", "512", 44)
    if header.is_compressed != bool(header.compression):
        raise invalid(
            "compression",
            f"{header.compression} with flags {header.flags:#x}",
            "both to say the same",
            77,
        )
    if header.is_compressed and header.compression != DEFLATE:
        raise UnsupportedImageError(
            f"grains are compressed by method {header.compression}, expected 1 (deflate)",
            path=source.path,
            offset=77,
        )
    if header.is_compressed != bool(header.flags & MARKERS):
        raise UnsupportedImageError(
            "grains are compressed or have markers, expected both or neither "
            f"(flags {header.flags:#x})",
            path=source.path,
            offset=8,
        )
    if header.is_compressed and size * SECTOR > MAX_UNIT:
        raise UnsupportedImageError(
            f"compressed grains of {size * SECTOR} bytes, at most {MAX_UNIT} are read",
            path=source.path,
            offset=20,
        )
    if header.directory == GD_AT_END:
        return _read_footer(source, header)
    return header


def _read_footer(source: Source, header: Header) -> Header:
    """The footer of a stream, whose header was written before anyone knew where its tables lie."""
    end = source.size // SECTOR * SECTOR
    low = max(0, end - FOOTER_SEARCH)
    data = source.read(low, end - low)
    sectors = np.frombuffer(data, "S4")[:: SECTOR // 4]
    wanted = (header.version, header.capacity, header.grain_size, header.table_entries,
              header.compression)  # fmt: skip
    for index in np.flatnonzero(sectors[1:] == MAGIC)[::-1]:
        at = (int(index) + 1) * SECTOR
        if _FOOTER_MARKER.unpack_from(data, at - SECTOR)[1:] != (0, FOOTER_TYPE):
            continue
        footer = _unpack(data[at : at + _HEADER.size], low + at)
        found = (footer.version, footer.capacity, footer.grain_size, footer.table_entries,
                 footer.compression)  # fmt: skip
        if footer.directory != GD_AT_END and found == wanted:
            return footer
    raise CorruptImageError(
        "the header says that the grain directory is named by a footer, and there is none in the "
        f"last {end - low} bytes",
        path=source.path,
        offset=56,
        hint="the stream is cut short: copy it again and compare checksums",
    )


class HostedTables(GrainTables):
    """32-bit entries: a sector; 0 is nothing, and 1 may mean zeros."""

    entry = "<u4"
    has_zeroed = False

    def _kinds(self, entries: U64) -> tuple[U8, U64]:
        kinds = np.full(len(entries), Kind.DATA, np.uint8)
        kinds[entries == 0] = Kind.UNALLOCATED
        if self.has_zeroed:
            kinds[entries == 1] = Kind.ZERO
        return kinds, entries * np.uint64(SECTOR)

    def locate_tables(self, first: int, entries: U64) -> tuple[U8, U64]:
        return self._kinds(entries)

    def locate_grains(self, entries: U64) -> tuple[U8, U64]:
        return self._kinds(entries)


class SparsePart(TablePart):
    """One hosted sparse extent: the first `length` bytes of it."""

    def __init__(
        self, source: Source, file: int, header: Header, length: int, notify: Notify
    ) -> None:
        self.source = source
        self.file = file
        self.header = header
        self.length = length
        self.capacity = header.capacity * SECTOR
        self.grain_size = header.grain_size * SECTOR
        self.unit_size = self.grain_size if header.is_compressed else 0
        self.notify = notify
        self._active: HostedTables | None = None
        if header.unclean:
            self.notice_not_closed(None if file else 72)
        self._redundant = HAS_REDUNDANT & header.flags and header.redundant
        try:
            self._primary: HostedTables | None = self.tables_at(header.directory)
        except CorruptImageError:
            if not self._redundant:
                raise
            self._primary = None
            self._active = self.tables_at(self._redundant)
            self._say_redundant()

    def tables_at(self, directory: int) -> HostedTables:
        """The tables of the grain directory at this sector. Raises CorruptImageError."""
        header = self.header
        reserved = [Region("header", 0, SECTOR)]
        if header.descriptor_offset and header.descriptor_size:
            start = header.descriptor_offset * SECTOR
            reserved.append(Region("descriptor", start, start + header.descriptor_size * SECTOR))
        if header.at:
            reserved.append(Region("footer", header.at, header.at + SECTOR))
        tables = HostedTables(
            self.source, self.file, length=self.capacity, grain_size=self.grain_size,
            table_entries=TABLE_ENTRIES, directory=directory * SECTOR, reserved=reserved,
            stride=SECTOR if header.is_compressed else None,
        )  # fmt: skip
        tables.has_zeroed = bool(header.flags & HAS_ZEROED)
        return tables

    def directories(self) -> tuple[int, int] | None:
        """Where the grain directory and its redundant copy lie, sectors; None without a copy."""
        return (self.header.directory, int(self._redundant)) if self._redundant else None

    def _say_redundant(self) -> None:
        self.notify(
            "grain-directory-damaged",
            f"the grain directory of {self.source.path} or a table of it is damaged; the "
            "redundant one is used",
            None if self.file else self.header.at + 56,
        )

    def _chosen(self) -> HostedTables:
        """The tables to use: the redundant ones where only those are whole."""
        if self._active is not None:
            self.checked(self._active)
            return self._active
        assert self._primary is not None
        try:
            self.checked(self._primary)
        except CorruptImageError:
            spare = self._spare()
            if spare is None:
                raise
            self._active = spare
            self._say_redundant()
            return spare
        self._active = self._primary
        return self._active

    def _spare(self) -> HostedTables | None:
        if not self._redundant:
            return None
        try:
            spare = self.tables_at(self._redundant)
            self.checked(spare)
        except CorruptImageError:
            return None
        return spare

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        tables = self._chosen()
        try:
            return self._rows_of(tables, offset, length, max_rows)
        except CorruptImageError:
            # Of tables that were checked whole only a grain's marker can be wrong.
            if tables is not self._primary or not self._redundant:
                raise
            spare = self._spare()
            if spare is None:
                raise
            rows = self._rows_of(spare, offset, length, max_rows)
            self._active = spare
            self._say_redundant()
            return rows

    def _rows_of(self, tables: HostedTables, offset: int, length: int, max_rows: int) -> Rows:
        rows = tables.rows(offset, length, max_rows)
        return self._packed(rows, tables) if self.header.is_compressed else rows

    def _packed(self, rows: Rows, tables: HostedTables) -> Rows:
        """The same rows with what the grains' markers say of them."""
        at = np.flatnonzero(rows["kind"] == Kind.DATA)
        if not len(at):
            return rows
        grain_size = np.uint64(self.grain_size)
        numbers = rows["offset"][at] // grain_size
        skip = rows["offset"][at] - numbers * grain_size
        places = np.ascontiguousarray(rows["file_offset"][at] - skip)
        room = self.source.size - _MARKER.itemsize
        cut = first_true(places >= max(room, 0))
        if cut is not None:
            raise tables.corrupt(
                int(numbers[cut]),
                f"is said to lie at {int(places[cut]):#x}, the file ends at {self.source.size:#x}",
            )
        if not self.source.can_be_read_natively:
            sizes = self._likely_sizes(places)
        else:
            sizes = self._checked_sizes(numbers, places)
        rows["kind"][at] = Kind.COMPRESSED
        rows["codec"][at] = Codec.ZLIB
        rows["file_offset"][at] = places + np.uint64(_MARKER.itemsize)
        rows["stored_length"][at] = sizes
        rows["skip"][at] = skip
        rows["decoded_length"][at] = np.minimum(
            grain_size, np.uint64(self.capacity) - numbers * grain_size
        )
        return rows

    def _checked_sizes(self, numbers: U64, places: U64) -> U64:
        """Compressed bytes of each grain, by its marker."""
        raw = self.source.gather(places, _MARKER.itemsize)
        markers = raw.reshape(-1).view(_MARKER)
        sizes = markers["size"].astype(np.uint64)
        expected = numbers * np.uint64(self.header.grain_size)
        for wrong, problem, wanted in (
            (markers["sector"] != expected, "sector", expected),
            ((sizes == 0) | (sizes > MAX_UNIT), "size", None),
            (sizes > np.uint64(self.source.size) - places - np.uint64(_MARKER.itemsize), "end",
             None),
        ):  # fmt: skip
            first = first_true(wrong)
            if first is not None:
                raise self._bad_marker(
                    int(numbers[first]), int(places[first]), markers[first], problem,
                    None if wanted is None else int(wanted[first]),
                )  # fmt: skip
        return sizes

    def _likely_sizes(self, places: U64) -> U64:
        """Upper bounds of them, without a request for each marker: up to the next grain.

        What follows a stream is ignored; its own checksum says whether it is whole.
        """
        ends = np.append(np.unique(places), np.uint64(self.source.size))
        following = ends[np.searchsorted(ends, places, side="right")]
        room = following - places - np.uint64(_MARKER.itemsize)
        # Deflate adds five bytes to 16 KiB that do not get smaller.
        most = np.uint64(min(MAX_UNIT, self.grain_size + self.grain_size // 8))
        sizes: U64 = np.minimum(room, most)
        return sizes

    def _bad_marker(
        self, number: int, place: int, marker: Any, problem: str, wanted: int | None
    ) -> CorruptImageError:
        sector, size = int(marker["sector"]), int(marker["size"])
        found = {
            "sector": f"says that it is for sector {sector}, expected {wanted}",
            "size": f"gives {size} compressed bytes, expected 1 to {MAX_UNIT}",
            "end": f"gives {size} compressed bytes, the file ends at {self.source.size:#x}",
        }
        return CorruptImageError(
            f"the marker of grain {number} {found[problem]}",
            path=self.source.path,
            offset=place if problem == "sector" else place + 8,
            hint=DAMAGED,
        )

    def details(self) -> dict[str, Any]:
        header = self.header
        return {
            "version": header.version,
            "flags": header.flags,
            "compressed": header.is_compressed,
            "directory": "footer" if header.at else "header",
        }
