"""The VHD as it is, and as it is to be."""

from __future__ import annotations

import dataclasses
import shlex
import struct
from dataclasses import dataclass, field

import numpy as np

from ..containers import CONTAINERS, Container
from ..errors import (
    AmbiguousFormatError,
    CorruptImageError,
    TargetError,
    UnprovenError,
    UnsupportedImageError,
    VhdfastError,
)
from ..files import SourceFile
from ..formats import FORMATS, Glimpse, ImageFormat, detect
from ..formats.raw import RawImage
from ..formats.vhd import VhdImage
from ..formats.vhd.dynamic import COOKIE as HEADER_COOKIE
from ..formats.vhd.dynamic import HEADER_LENGTH, BlockTable, DynamicHeader
from ..formats.vhd.footer import (
    COOKIE,
    FOOTER_LENGTH,
    LARGEST_GEOMETRY,
    NO_OFFSET,
    OLD_FOOTER_LENGTH,
    STRAY_SEARCH,
    DiskType,
    Footer,
)
from ..streams import STREAMS, Stream
from ..units import MAX_OFFSET
from .base import Finding, RepairOptions
from .proving import mend_fixed

__all__ = ["Copy", "Draft", "open_draft", "plain"]


def plain(footer: Footer) -> Footer:
    """A footer without its checksum."""
    return dataclasses.replace(footer, stored_checksum=0, checksum=0)


@dataclass(frozen=True, slots=True)
class Copy:
    """A footer as it lies in the file: its bytes (511 or 512) and where they begin."""

    offset: int
    data: bytes

    @property
    def footer(self) -> Footer | None:
        return Footer.parse(self.data)

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass
class Draft:
    """What repairs look at and change.

    end, head: the footer at the end, and the copy at the start of a dynamic disk, as they are;
    None where there is none. old_footer: the one that counts, as it is; footer: as it is to be.
    """

    source: SourceFile
    options: RepairOptions
    end: Copy | None
    head: Copy | None
    old_footer: Footer
    footer: Footer
    header: DynamicHeader | None = None
    fix_header: bool = False  # its checksum is to be put right
    data_end: int = 0  # of a dynamic disk: where its last block, table or locator ends
    file_end: int = 0  # where the footer's last byte lies, or the file ends where it has none
    drop_behind: bool = False  # what lies behind the footer is to be removed
    move_gpt: bool = False
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_fixed(self) -> bool:
        return self.old_footer.disk_type == DiskType.FIXED

    @property
    def subformat(self) -> str:
        return DiskType(self.old_footer.disk_type).name.lower()

    @property
    def disk_end(self) -> int:
        """Where a fixed disk's bytes end in the file: its footer begins there."""
        return self.source.size if self.end is None else self.end.offset

    def found(
        self, code: str, message: str, repaired: bool = True, offset: int | None = None
    ) -> None:
        self.findings.append(Finding(code, message, repaired, offset))

    def set(self, **fields: object) -> None:
        """Fields of the footer that is to be."""
        self.footer = dataclasses.replace(self.footer, **fields)  # type: ignore[arg-type]

    def resize(self, size: int) -> None:
        """Another size; the geometry then is the one that no reader computes a size from."""
        self.set(current_size=size, original_size=size, geometry=LARGEST_GEOMETRY)

    def unproven(self, message: str, offset: int | None, hint: str) -> UnprovenError:
        return UnprovenError(message, path=self.source.path, offset=offset, hint=hint)


def open_draft(source: SourceFile, options: RepairOptions) -> Draft:
    """Find out what VHD this is, damaged or not.

    Raises UnsupportedImageError for what is none, AmbiguousFormatError, UnprovenError,
    CorruptImageError, InvalidImageError; TargetError for a device.
    """
    if source.is_device:
        raise TargetError("only files are changed in place, not devices", path=source.path)
    head = _copy(source, 0, FOOTER_LENGTH)
    end = _end(source, head)
    _check_other_formats(source)
    last = source.read(max(0, source.size - FOOTER_LENGTH), FOOTER_LENGTH)
    mended = mend_fixed(last, source.size)
    if _is_dynamic(source, head, end):
        if mended is not None:
            raise UnprovenError(
                "a dynamic VHD begins the file, and what may be a fixed one's footer ends it",
                path=source.path,
            )
        return _open_dynamic(source, options, head, end)
    if end is None:
        if mended is None:
            raise _no_footer(source)
        end = Copy(source.size - FOOTER_LENGTH, last)
        footer, what = mended
        draft = Draft(source, options, end, None, footer, footer)
        draft.found("footer-damaged", f"the footer's {what} is damaged", offset=end.offset)
    else:
        draft = _open_fixed(source, options, end)
    draft.file_end = end.end
    return draft


def _copy(source: SourceFile, offset: int, length: int) -> Copy | None:
    data = source.read(offset, length) if 0 <= offset <= source.size - length else b""
    return Copy(offset, data) if data.startswith(COOKIE) else None


def _end(source: SourceFile, head: Copy | None) -> Copy | None:
    """The footer at the end, or the last one near it."""
    for length in (FOOTER_LENGTH, OLD_FOOTER_LENGTH):
        copy = _copy(source, source.size - length, length)
        if copy is not None and copy.offset > 0:
            return copy
    start = max(0, source.size - STRAY_SEARCH)
    tail = source.read(start, STRAY_SEARCH)
    at = len(tail)
    while (at := tail.rfind(COOKIE, 0, at)) > 0:
        copy = _copy(source, start + at, FOOTER_LENGTH)
        footer = None if copy is None else copy.footer
        if copy is not None and footer is not None and footer.is_intact:
            if footer.disk_type == DiskType.FIXED and footer.current_size == copy.offset:
                return copy
            # One of a dynamic disk lies among its blocks where the guest has VHDs of its own.
            if head is not None and head.footer == footer and copy.offset % FOOTER_LENGTH == 0:
                return copy
    return None


def _check_other_formats(source: SourceFile) -> None:
    """A file that is something else besides is not touched. Raises AmbiguousFormatError."""
    glimpse = Glimpse(source)
    kinds: dict[str, type[ImageFormat] | type[Container] | type[Stream]] = {
        **FORMATS, **CONTAINERS, **STREAMS
    }  # fmt: skip
    for name, kind in kinds.items():
        if kind is not VhdImage and (evidence := kind.probe(glimpse)) is not None:
            if VhdImage.probe(glimpse) is None:
                raise _no_vhd(source, f"a {name} file")
            raise AmbiguousFormatError(
                f"the file is a VHD and {name} ({evidence}) at once, and is left alone",
                path=source.path,
                hint="make a new file: vhdfast convert --from FORMAT",
            )


def _no_vhd(source: SourceFile, what: str) -> UnsupportedImageError:
    return UnsupportedImageError(
        f"this is {what}; only VHDs are repaired in place",
        path=source.path,
        hint=f"make a new file: vhdfast convert {shlex.quote(source.path)} NEW.vhd",
    )


def _no_footer(source: SourceFile) -> VhdfastError:
    if VhdImage.residue(Glimpse(source)) is None and detect(source) is RawImage:
        return UnsupportedImageError(
            "this is a raw disk: there is no VHD footer, nor what is left of one",
            path=source.path,
            hint="convert --in-place makes a VHD of it, convert a new file",
        )
    return UnprovenError(
        "there is no VHD footer at the end of the file, and nothing that proves what it said",
        path=source.path,
        hint="if it is a raw disk, vhdfast convert --from raw reads it",
    )


def _open_fixed(source: SourceFile, options: RepairOptions, end: Copy) -> Draft:
    footer = end.footer
    assert footer is not None
    if footer.is_intact:
        _check_version(source, footer, end.offset)
        return Draft(source, options, end, None, footer, footer)
    mended = mend_fixed(end.data.ljust(FOOTER_LENGTH, b"\0"), end.offset + FOOTER_LENGTH)
    if mended is None:
        raise UnprovenError(
            f"the footer's checksum is {footer.stored_checksum:#010x}, expected "
            f"{footer.checksum:#010x}, and more than one of its fields is damaged",
            path=source.path,
            offset=end.offset,
            hint="an intact copy of the file would prove the values; vhdfast convert --from raw "
            "reads the disk as it is",
        )
    right, what = mended
    draft = Draft(source, options, end, None, right, right)
    code = "footer-checksum" if what == "checksum" else "footer-damaged"
    draft.found(code, f"the footer's {what} is damaged", offset=end.offset)
    return draft


def _check_version(source: SourceFile, footer: Footer, offset: int) -> None:
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


# ---- dynamic and differencing -------------------------------------------------------------------


def _is_dynamic(source: SourceFile, head: Copy | None, end: Copy | None) -> bool:
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


def _open_dynamic(
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
    _check_version(source, footer, 0)
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
