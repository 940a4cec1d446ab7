"""VHD, as Virtual PC, Hyper-V, Azure and everyone after them write it.

Source: Virtual Hard Disk Image Format Specification 1.0 (Microsoft, 2006).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import CUT_SHORT, CorruptImageError, InvalidImageError, UnsupportedImageError
from ...extents import Kind, Rows, make_rows
from ...files import Source
from ...tables import first_true
from ...units import MAX_OFFSET, MIB, format_bytes, round_up
from ..base import Glimpse, ImageFormat, ImageInfo, OpenOptions
from .dynamic import BlockTable, DynamicHeader
from .footer import (
    COOKIE,
    FOOTER_LENGTH,
    OLD_FOOTER_LENGTH,
    STRAY_SEARCH,
    DiskType,
    Footer,
    find_stray_footer,
)
from .parent import ParentLocators, check_parent, read_locators
from .producer import identify

__all__ = ["VhdImage"]


@dataclass(frozen=True, slots=True)
class _Copy:
    """A footer and where it was found."""

    offset: int
    footer: Footer


class VhdImage(ImageFormat):
    """A fixed, dynamic or differencing VHD."""

    name = "vhd"
    title = "VHD: fixed, dynamic, differencing (Virtual PC, Hyper-V, Azure)"
    suffixes = (".vhd", ".avhd", ".vpc")

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        if glimpse.size >= FOOTER_LENGTH and glimpse.at(-FOOTER_LENGTH, 8) == COOKIE:
            return "a VHD footer at its end"
        if glimpse.size >= OLD_FOOTER_LENGTH and glimpse.at(-OLD_FOOTER_LENGTH, 8) == COOKIE:
            return "a 511-byte VHD footer at its end"
        return "a VHD footer copy at its start" if glimpse.at(0, 8) == COOKIE else None

    @classmethod
    def residue(cls, glimpse: Glimpse) -> str | None:
        if glimpse.at(FOOTER_LENGTH, 8) == b"cxsparse":
            return "a dynamic VHD header at offset 0x200, but no footer copy before it"
        stray = find_stray_footer(glimpse.at(-STRAY_SEARCH, STRAY_SEARCH), glimpse.size)
        if stray is None:
            return None
        behind = glimpse.size - stray - FOOTER_LENGTH
        return f"a VHD footer at offset {stray:#x} with {behind} bytes behind it"

    def __init__(self, source: Source, options: OpenOptions) -> None:
        super().__init__(source, options)
        self.table: BlockTable | None = None
        self.header: DynamicHeader | None = None
        self.locators: ParentLocators | None = None
        head, at_end = self._copy_at(0), self._copy_at_end()
        if at_end is not None and head is not None and _is_guests(at_end, head):
            at_end = None
        self.footer = self._choose(at_end, head)
        # Where the trailing footer begins, or the file ends: no disk data lies beyond.
        self.limit = source.size if at_end is None else at_end.offset
        behind = source.size - self.limit - FOOTER_LENGTH
        if behind > 0:
            self.notice(
                "bytes-after-footer",
                f"{behind} bytes follow the footer, which belongs at the very end; they are left "
                "out",
                self.limit,
            )
        self._check_footer()
        if self.footer.disk_type == DiskType.FIXED:
            self._open_fixed()
        else:
            self._open_dynamic()
        self.notice_newer_states()
        self._notice_rounded_size()

    # ---- footers --------------------------------------------------------------------------------

    def _copy_at(self, offset: int) -> _Copy | None:
        footer = Footer.parse(self.source.read(offset, FOOTER_LENGTH))
        return None if footer is None else _Copy(offset, footer)

    def _copy_at_end(self) -> _Copy | None:
        """The trailing footer, also where bytes follow it or its last byte was never written."""
        size = self.source.size
        for length in (FOOTER_LENGTH, OLD_FOOTER_LENGTH):
            if size >= length and (copy := self._copy_at(size - length)) and copy.offset > 0:
                return copy
        start = max(0, size - STRAY_SEARCH)
        stray = find_stray_footer(self.source.read(start, STRAY_SEARCH), size)
        copy = None if stray is None else self._copy_at(stray)
        return copy if copy and copy.offset and copy.footer.is_intact else None

    def _choose(self, end: _Copy | None, head: _Copy | None) -> Footer:
        """The footer to go by, of the one at the end and the copy at the start.

        A fixed disk has only the one at the end: what lies at its start is the guest's. A damaged
        one that only says so, though no size fits, gives way to an intact copy at the start.
        """
        if end is not None and end.footer.disk_type == DiskType.FIXED:
            fits = end.footer.current_size == end.offset
            if fits or end.footer.is_intact or head is None or not head.footer.is_intact:
                head = None
        copies = [copy for copy in (end, head) if copy is not None]
        if not copies:
            raise CorruptImageError(
                "there is no VHD footer, neither at the end nor at the start",
                path=self.source.path,
                hint="the image is cut short or is no VHD: copy it again, or drop --from vhd",
            )
        intact = [copy for copy in copies if copy.footer.is_intact]
        if not intact:
            return self._prove_without_checksum(copies)
        for copy in copies:
            if not copy.footer.is_intact:
                self.notice(
                    "footer-checksum",
                    f"one of the two footers has checksum {copy.footer.stored_checksum:#010x}, "
                    f"expected {copy.footer.checksum:#010x}; the other one is used",
                    copy.offset,
                )
        chosen = intact[0].footer
        if chosen.disk_type != DiskType.FIXED and len(copies) == 1:
            where, missing = ("start", "end") if end is None else ("end", "start")
            self.notice(
                "footer-missing",
                f"there is no footer at the {missing}; the one at the {where} is used",
            )
        if len(intact) == 2 and intact[0].footer != intact[1].footer:
            self.notice(
                "footers-differ",
                "the footer at the end and its copy at the start differ; the one at the end is "
                "used",
            )
        return chosen

    def _prove_without_checksum(self, copies: list[_Copy]) -> Footer:
        """A footer with a wrong checksum, where its values prove themselves another way.

        Some tools change the identifier and leave the checksum: then both copies still agree, or
        the size of a fixed disk still fits its file.
        """
        copy = copies[0]
        footer = copy.footer
        fits = footer.disk_type == DiskType.FIXED and footer.current_size == copy.offset
        agree = len(copies) == 2 and copies[0].footer == copies[1].footer
        if not fits and not agree:
            raise CorruptImageError(
                f"the footer's checksum is {footer.stored_checksum:#010x}, expected "
                f"{footer.checksum:#010x}, and nothing else confirms its values",
                path=self.source.path,
                offset=copy.offset + 64,
                hint="the footer is damaged: copy the image again and compare checksums; where "
                "those bytes are a raw disk's own, say --from raw",
            )
        why = "its size fits the file" if fits else "both copies of the footer agree"
        self.notice(
            "footer-checksum",
            f"the footer's checksum is {footer.stored_checksum:#010x}, expected "
            f"{footer.checksum:#010x}; it is used because {why}",
            copy.offset,
        )
        return footer

    def _check_footer(self) -> None:
        footer, path = self.footer, self.source.path
        if footer.version >> 16 != 1:
            raise UnsupportedImageError(
                f"VHD version {footer.version >> 16}.{footer.version & 0xFFFF}, expected 1.0",
                path=path,
            )
        if footer.disk_type not in (DiskType.FIXED, DiskType.DYNAMIC, DiskType.DIFFERENCING):
            raise UnsupportedImageError(
                f"VHD disk type {footer.disk_type}, expected 2 (fixed), 3 (dynamic) or 4 "
                "(differencing)",
                path=path,
            )
        if not 0 < footer.current_size <= MAX_OFFSET:
            raise InvalidImageError(
                f"the footer gives a virtual size of {footer.current_size} bytes", path=path
            )
        if footer.saved_state:
            self.notice(
                "saved-state",
                "the machine was saved, not shut down: its memory is not in this image, and file "
                "systems on it may be inconsistent",
            )

    def _notice_rounded_size(self) -> None:
        size = self.footer.current_size
        producer = identify(self.footer, self.source.size)
        if self.options.trail or size % MIB == 0 or producer is None:
            return  # a parent's size counts for nothing
        if producer.is_qemu and producer.is_chs_rounded:
            self.notice(
                "qemu-chs-size",
                f"qemu-img rounded the size up to whole cylinders, {size} bytes, which is no whole "
                "number of MiB and is refused by Azure; converting to a fixed VHD keeps every byte "
                f"and makes it {format_bytes(round_up(size, MIB))}",
            )

    def _chosen_size(self) -> int:
        footer = self.footer
        if not self.options.chs_size:
            return footer.current_size
        if footer.chs_size == 0:
            raise InvalidImageError(
                f"the footer's geometry is {footer.geometry}, which spans no bytes",
                path=self.source.path,
                hint="leave out --chs-size",
            )
        return footer.chs_size

    # ---- fixed ----------------------------------------------------------------------------------

    def _open_fixed(self) -> None:
        wanted = self._chosen_size()
        if self.limit == self.source.size:
            raise InvalidImageError(
                "the footer of a fixed disk belongs behind its data, here it is at the start",
                path=self.source.path,
                offset=0,
            )
        self.is_flat = True
        self.virtual_size = min(wanted, self.limit)
        if wanted > self.limit:
            self.notice(
                "size-beyond-file",
                f"the footer gives {wanted} bytes, the file holds {self.limit} before it; only "
                "those are read",
                self.limit,
            )
        elif wanted < self.limit:
            self.notice(
                "size-below-file",
                f"the footer gives {wanted} bytes, the file holds {self.limit} before it; the "
                "rest is left out",
                self.limit,
            )

    # ---- dynamic --------------------------------------------------------------------------------

    def _open_dynamic(self) -> None:
        header = DynamicHeader.read(self.source, self.footer.data_offset)
        self.header = header
        self.virtual_size = self._chosen_size()
        if self.options.chs_size:  # a geometry may span more than the disk has blocks for
            self.virtual_size = min(
                self.virtual_size, max(1, header.max_table_entries) * header.block_size
            )
        differencing = self.footer.disk_type == DiskType.DIFFERENCING
        self.table = BlockTable(self.source, header, self.virtual_size, self.limit)
        if not header.is_intact:
            self._prove_header(header)
        if differencing:
            self.locators = read_locators(self.source, header, self.notice)
            parent = self.open_parent(self.locators.names, "vhd", "parent")
            assert isinstance(parent, VhdImage)
            check_parent(self, header, parent, self.notice)

    def _prove_header(self, header: DynamicHeader) -> None:
        """A header with a wrong checksum is used where its table has just the entries needed."""
        needed = -(-self.footer.current_size // header.block_size)
        if header.max_table_entries not in (needed, needed + 1):
            raise CorruptImageError(
                f"the dynamic header's checksum is {header.stored_checksum:#010x}, expected "
                f"{header.checksum:#010x}, and its {header.max_table_entries} entries do not fit "
                f"the {needed} blocks of the disk",
                path=self.source.path,
                offset=header.offset + 36,
                hint="the header is damaged: copy the image again and compare checksums",
            )
        self.notice(
            "header-checksum",
            f"the dynamic header's checksum is {header.stored_checksum:#010x}, expected "
            f"{header.checksum:#010x}; it is used because its table fits the disk's size",
            header.offset,
        )

    # ---- what the rest of vhdfast asks ----------------------------------------------------------

    def info(self) -> ImageInfo:
        footer = self.footer
        details: dict[str, object] = {
            "current size": footer.current_size,
            "original size": footer.original_size,
            "size by geometry": footer.chs_size,
            "creator code": footer.creator.decode("latin-1"),
            "creator host": footer.creator_host.decode("latin-1"),
            "timestamp": footer.timestamp,
            "saved state": bool(footer.saved_state),
        }
        if self.table is not None and self.header is not None:
            details["table entries"] = self.header.max_table_entries
            details["table offset"] = self.header.table_offset
        if self.locators is not None and self.header is not None:
            details["parent unique id"] = str(self.header.parent_id)
            details["parent timestamp"] = self.header.parent_time
            details.update(self.locators.details)
        return self.make_info(
            DiskType(footer.disk_type).name.lower(),
            block_size=None if self.table is None else self.table.block_size,
            creator=footer.creator_name,
            geometry=footer.geometry,
            identifiers={"unique id": str(footer.unique_id)},
            details=details,
        )

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        if self.table is None:
            return make_rows(np.array([offset]), length, Kind.DATA, offset)
        rows = self.table.rows(offset, length, max_rows)
        if self.table.overlaps.is_complete is False:
            self.notice_no_overlap_search("blocks")
        if self.limit == self.source.size:
            self._check_not_cut(rows)
        rows = self.cut_at_end(rows, "block", size=self.limit)
        if self.table.empty_bitmaps and self.parent is None:
            self.notice(
                "empty-bitmaps",
                "blocks are stored of which no sector is marked as written; they read as zeros",
            )
        return rows

    def _check_not_cut(self, rows: Rows) -> None:
        """Raise CorruptImageError where a file without a footer at its end ends in a block.

        Old writers left a last block short, but put the footer behind it: this file was cut.
        """
        ends = rows["file_offset"] + rows["length"]
        at = first_true((rows["kind"] == Kind.DATA) & (ends > self.limit))
        if at is None:
            return
        assert self.table is not None
        raise CorruptImageError(
            f"block {int(rows['offset'][at]) // self.table.block_size} has data up to "
            f"{int(ends[at]):#x}, the file ends at {self.limit:#x} without a footer",
            path=self.source.path,
            offset=self.limit,
            hint=CUT_SHORT,
        )


def _is_guests(end: _Copy, head: _Copy) -> bool:
    """Whether the footer near the end is data of the dynamic disk that the copy at 0 begins.

    So it is where the disk holds a VHD of its own, and the file was cut before its own footer.
    """
    one, other = end.footer, head.footer
    if not one.is_intact or not other.is_intact or other.disk_type == DiskType.FIXED:
        return False
    if one.disk_type == DiskType.FIXED:
        return one.current_size != end.offset
    return one.unique_id != other.unique_id and one.current_size != other.current_size
