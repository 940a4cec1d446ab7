"""What a differencing VHD says of its parent: where it lies, and which one it is.

Source: Virtual Hard Disk Image Format Specification 1.0 (Microsoft, 2006), "Dynamic Disk Header
Format" and "Implementing a Differencing Hard Disk".
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import CorruptImageError, printable
from ...files import Source
from ...windows_names import from_file_url, lookup_names
from ..base import Notify
from .dynamic import DynamicHeader
from .footer import EPOCH

if TYPE_CHECKING:
    from . import VhdImage

__all__ = ["ParentLocators", "check_parent", "read_locators"]

LOCATORS_AT = 576  # in the dynamic header
MAX_LOCATOR = 64 << 10  # bytes; Hyper-V reserves as much for a path
# Seconds by which the file systems of two machines may put a time differently (FAT: two).
TIME_TOLERANCE = 2

_ENTRY = struct.Struct(">4sIIIQ")
assert _ENTRY.size == 24

_RELATIVE = (b"W2ru", b"Wi2r")
_ABSOLUTE = (b"W2ku", b"Wi2k")
_DEPRECATED = (b"Wi2r", b"Wi2k")
_URL = b"MacX"
_ALIAS = b"Mac "  # a record of the Mac OS, not a path
_NONE = bytes(4)


@dataclass(frozen=True, slots=True)
class ParentLocators:
    """names: what to look for the parent under, best first. details: for people."""

    names: list[str]
    details: dict[str, object]


def read_locators(source: Source, header: DynamicHeader, notify: Notify) -> ParentLocators:
    """Read the parent locators. One that cannot be is noticed and left out."""
    relative: list[str] = []
    absolute: list[str] = []
    details: dict[str, object] = {"parent name": printable(header.parent_name)}
    for index, entry in enumerate(_ENTRY.iter_unpack(header.locators)):
        # The reserved space is in sectors by the specification and in bytes by most writers.
        code, _space, length, _reserved, offset = entry
        if code == _NONE or not length:
            continue
        label = f"parent locator {printable(code.decode('latin-1'))}"
        if length > MAX_LOCATOR or offset > source.size - length:
            notify(
                "parent-locator",
                f"a {label} is said to be {length} bytes at {offset:#x}, expected at most "
                f"{MAX_LOCATOR} within the file's {source.size}; it is left out",
                header.offset + LOCATORS_AT + index * _ENTRY.size,
            )
            continue
        data = source.read_exact(offset, length, label)
        name: str | None
        if code in _RELATIVE:
            name = _windows_text(code, data)
            relative.append(name)
        elif code in _ABSOLUTE:
            name = _windows_text(code, data)
            absolute.append(name)
        elif code == _URL:
            name = data.decode("utf-8", "replace").split("\0", 1)[0]
            path = from_file_url(name)
            absolute += [] if path is None else [path]
        else:
            name = "(an alias record)" if code == _ALIAS else "(of an unknown kind)"
        details.setdefault(label, printable(name))
    absolute.append(header.parent_name)
    return ParentLocators(lookup_names(relative, absolute), details)


def _windows_text(code: bytes, data: bytes) -> str:
    """A path in UTF-16: little-endian by custom, big-endian where the zeros show it.

    The specification does not say what the deprecated kinds hold: bytes where none is zero.
    """
    whole = data[: len(data) & ~1]
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = whole.decode("utf-16", "replace")
    elif code in _DEPRECATED and 0 not in data.rstrip(b"\0"):
        text = data.decode("utf-8", "surrogateescape")
    else:
        even, odd = data[0::2].count(0), data[1::2].count(0)
        text = whole.decode("utf-16-be" if even > odd else "utf-16-le", "replace")
    return text.split("\0", 1)[0]


def check_parent(
    child: VhdImage, header: DynamicHeader, parent: VhdImage, notify: Notify
) -> None:
    """Whether this is the parent that the changes were made to. Raises CorruptImageError.

    Its identifier must be the right one. Its time says little, since it is often that of a file
    that was copied afterwards: a difference is noticed.
    """
    found = parent.footer.unique_id
    if found != header.parent_id:
        raise CorruptImageError(
            f"the parent {printable(parent.source.path)} has unique id {found}, expected "
            f"{header.parent_id}",
            path=child.source.path,
            offset=header.offset + 40,
            hint="the wrong file lies under the parent's name: name the right one with "
            "--parent FILE",
        )
    times = {parent.footer.timestamp, *_modified(parent.source)}
    wanted = header.parent_time
    if wanted and all(abs(time - wanted) > TIME_TOLERANCE for time in times):
        notify(
            "parent-timestamp",
            f"the parent was last changed at {wanted} by this image's account, at "
            f"{parent.footer.timestamp} by its own footer's (seconds since 2000), and its file at "
            "another time: if it was written to since, this disk is not what it was",
            header.offset + 56,
        )
    if parent.virtual_size != child.virtual_size:
        notify(
            "parent-size",
            f"the parent has {parent.virtual_size} bytes, this disk {child.virtual_size}",
            None,
        )


def _modified(source: Source) -> list[int]:
    """When the file was last written to, in seconds since the footer's epoch."""
    descriptor = source.fileno()
    if descriptor is None or source.is_device:
        return []
    return [int(os.fstat(descriptor).st_mtime) - EPOCH]
