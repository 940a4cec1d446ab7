"""Dynamic and differencing disks: which footer counts, and where their blocks end."""

from __future__ import annotations

import struct

import numpy as np

from ..errors import (
    CorruptImageError,
    UnprovenError,
    UnsupportedImageError,
)
from ..files import SourceFile
from ..formats.vhd.dynamic import COOKIE as HEADER_COOKIE
from ..formats.vhd.dynamic import HEADER_LENGTH, BlockTable, DynamicHeader
from ..formats.vhd.footer import (
    FOOTER_LENGTH,
    NO_OFFSET,
    DiskType,
    Footer,
)
from ..units import MAX_OFFSET
from .base import RepairOptions
from .draft import Copy, Draft, plain

__all__ = ["check_version", "is_dynamic", "open_dynamic"]


def is_dynamic(source: SourceFile, head: Copy | None, end: Copy | None) -> bool:
    """Whether a dynamic header is where a footer puts it, or where it always is."""
    for copy in (end, head):
        footer = None if copy is None else copy.footer
        if copy is None or footer is None or not footer.is_intact:
            continue
        if footer.disk_type == DiskType.FIXED and copy is end:
            return _is_not_fixed(source, footer, copy.offset, head)
        if footer.disk_type in (DiskType.DYNAMIC, DiskType.DIFFERENCING):
            return True
    return source.read(FOOTER_LENGTH, 8) == HEADER_COOKIE and (
        head is not None or (end is not None and end.footer is not None)
    )


def _is_not_fixed(source: SourceFile, footer: Footer, offset: int, head: Copy | None) -> bool:
    """False: what lies at the start of a fixed disk is the guest's. Raises UnprovenError."""
    first = None if head is None else head.footer
    if (
        first is not None
        and first.is_intact
        and first.disk_type != DiskType.FIXED
        and footer.current_size != offset
    ):
        raise UnprovenError(
            "a dynamic VHD begins the file, and the footer of a fixed one with another size ends "
            "it: a disk of the guest's, where the file is cut short",
            path=source.path,
            offset=offset,
            hint="copy the image again and compare checksums",
        )
    return False


def open_dynamic(
    source: SourceFile, options: RepairOptions, head: Copy | None, end: Copy | None
) -> Draft:
    if end is not None and head is not None and end.offset < FOOTER_LENGTH:
        end = None
    copies = [copy.footer for copy in (end, head) if copy is not None and copy.footer is not None]
    intact = [footer for footer in copies if footer.is_intact]
    footer = intact[0] if intact else copies[0]
    if not intact and len({plain(copy) for copy in copies}) + 1 != len(copies):
        raise UnprovenError(
            "no footer of this dynamic VHD has a right checksum, and they do not confirm each "
            "other",
            path=source.path,
            hint="copy the image again and compare checksums",
        )
    if len(intact) == 2 and intact[0] != intact[1]:
        raise UnprovenError(
            "the footer at the end and its copy at the start are both intact and differ: nothing "
            "proves which is right",
            path=source.path,
            hint="convert reads it by the one at the end",
        )
    check_version(source, footer, 0)
    if footer.data_offset == NO_OFFSET or footer.disk_type == DiskType.FIXED:
        raise UnprovenError(
            "the footer is that of a fixed disk, and a dynamic header follows it",
            path=source.path,
        )
    header = DynamicHeader.read(source, footer.data_offset)
    limit = source.size if end is None else end.offset
    table = BlockTable(source, header, footer.current_size, limit)
    if min(header.offset, header.table_offset) < FOOTER_LENGTH:
        raise UnprovenError(
            "the dynamic header or the block allocation table lies where the footer copy belongs",
            path=source.path,
        )
    draft = Draft(source, options, end, head, footer, footer, header)
    draft.data_end = _data_end(source, table, header)
    if draft.data_end > limit:
        raise UnprovenError(
            f"the last block ends at {draft.data_end:#x}, the file's blocks at {limit:#x}: the "
            "file is cut short",
            path=source.path,
            offset=limit,
            hint="copy the image again; convert reads what is there",
        )
    draft.file_end = limit if end is None else end.end
    return draft


def _data_end(source: SourceFile, table: BlockTable, header: DynamicHeader) -> int:
    """Where the last structure of a dynamic disk ends, be it behind the file's end."""
    end = max(FOOTER_LENGTH + HEADER_LENGTH, header.offset + HEADER_LENGTH)
    end = max(end, header.table_offset + 4 * header.max_table_entries)
    for code, _space, length, _reserved, offset in struct.iter_unpack(">4sIIIQ", header.locators):
        if code != bytes(4) and offset + length <= source.size:
            if length and offset < FOOTER_LENGTH:
                raise UnprovenError(
                    "a parent locator lies where the footer copy belongs",
                    path=source.path,
                    offset=offset,
                )
            end = max(end, offset + length)
    unused = np.uint64(0xFFFFFFFF)
    window = 1 << 16
    for first in range(0, table.count, window):
        entries = table.entries(first, min(window, table.count - first))
        stored = entries[entries != unused]
        if len(stored):
            lowest, highest = int(stored.min()) * 512, int(stored.max()) * 512
            if lowest < FOOTER_LENGTH:
                raise CorruptImageError(
                    "a block lies at the start of the file, on top of the footer copy",
                    path=source.path,
                    offset=header.table_offset + 4 * first,
                )
            end = max(end, highest + table.bitmap_size + table.block_size)
    return end


def check_version(source: SourceFile, footer: Footer, offset: int) -> None:
    if footer.version >> 16 != 1 or footer.disk_type not in tuple(DiskType):
        raise UnsupportedImageError(
            f"VHD version {footer.version >> 16}.{footer.version & 0xFFFF}, disk type "
            f"{footer.disk_type}: expected 1.0 and 2, 3 or 4",
            path=source.path,
            offset=offset,
        )
    if not 0 < footer.current_size <= MAX_OFFSET:
        raise UnprovenError(
            f"the footer gives a virtual size of {footer.current_size} bytes",
            path=source.path,
            offset=offset,
        )
