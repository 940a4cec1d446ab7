"""Finding out what VHD a file is, damaged or not."""

from __future__ import annotations

import shlex

from ..containers import CONTAINERS, Container
from ..errors import (
    AmbiguousFormatError,
    TargetError,
    UnprovenError,
    UnsupportedImageError,
    VhdfastError,
)
from ..files import SourceFile
from ..formats import FORMATS, Glimpse, ImageFormat, detect
from ..formats.raw import RawImage
from ..formats.vhd import VhdImage
from ..formats.vhd.footer import (
    COOKIE,
    FOOTER_LENGTH,
    OLD_FOOTER_LENGTH,
    STRAY_SEARCH,
    DiskType,
)
from ..streams import STREAMS, Stream
from .base import RepairOptions
from .draft import Copy, Draft
from .dynamic import check_version, is_dynamic, open_dynamic
from .proving import mend_fixed

__all__ = ["open_draft"]


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
    if is_dynamic(source, head, end):
        if mended is not None:
            raise UnprovenError(
                "a dynamic VHD begins the file, and what may be a fixed one's footer ends it",
                path=source.path,
            )
        return open_dynamic(source, options, head, end)
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
        check_version(source, footer, end.offset)
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
