"""The parent locator of a differencing disk: which file its parent is, and where it lies.

Source: [MS-VHDX] 2.6.2.6 "Parent Locator".
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import (
    DAMAGED,
    CorruptImageError,
    InvalidImageError,
    UnsupportedImageError,
    printable,
)
from ...windows_names import lookup_names

if TYPE_CHECKING:
    from . import VhdxImage

__all__ = ["ParentLocator", "check_parent"]

VHDX_LOCATOR = uuid.UUID("b04aefb7-d19e-4a81-b789-25b8e9445913")
MAX_PAIRS = 64  # the specification names five keys
NIL = uuid.UUID(int=0)

_HEADER = struct.Struct("<16sHH")
_ENTRY = struct.Struct("<IIHH")
assert (_HEADER.size, _ENTRY.size) == (20, 12)


@dataclass(frozen=True, slots=True)
class ParentLocator:
    """offset: of the item in the file. pairs: keys and values as they stand there.

    linkages: what the parent's data write GUID may be.
    """

    offset: int
    pairs: dict[str, str]
    linkages: tuple[uuid.UUID, ...]

    @property
    def names(self) -> list[str]:
        """What to look for the parent under, best first: in the order of 2.6.2.6.3."""
        return lookup_names(
            [self.pairs.get("relative_path", "")],
            [self.pairs.get("volume_path", ""), self.pairs.get("absolute_win32_path", "")],
        )

    @property
    def details(self) -> dict[str, object]:
        """The pairs for people."""
        return {
            f"parent locator {printable(key)}": printable(value)
            for key, value in self.pairs.items()
        }

    @classmethod
    def parse(cls, path: str, offset: int, data: bytes) -> ParentLocator:
        """Read the item `data`, at `offset` of the file `path`.

        Raises InvalidImageError, UnsupportedImageError.
        """
        if len(data) < _HEADER.size:
            raise InvalidImageError(
                f"the parent locator has {len(data)} bytes, expected at least {_HEADER.size}",
                path=path,
                offset=offset,
                hint=DAMAGED,
            )
        raw_type, _, count = _HEADER.unpack_from(data)
        kind = uuid.UUID(bytes_le=raw_type)
        if kind != VHDX_LOCATOR:
            raise UnsupportedImageError(
                f"the parent locator is of type {kind}, expected {VHDX_LOCATOR} (VHDX)",
                path=path,
                offset=offset,
                hint="merge the disk into its parent with the program that made it",
            )
        if count > MAX_PAIRS or _HEADER.size + count * _ENTRY.size > len(data):
            raise InvalidImageError(
                f"the parent locator of {len(data)} bytes has {count} entries, expected at most "
                f"{MAX_PAIRS} within it",
                path=path,
                offset=offset + 18,
                hint=DAMAGED,
            )
        pairs: dict[str, str] = {}
        for index in range(count):
            at = _HEADER.size + index * _ENTRY.size
            key_at, value_at, key_length, value_length = _ENTRY.unpack_from(data, at)
            if key_at + key_length > len(data) or value_at + value_length > len(data):
                raise InvalidImageError(
                    f"entry {index} of the parent locator leaves it: [{key_at:#x}, "
                    f"{key_at + key_length:#x}) and [{value_at:#x}, "
                    f"{value_at + value_length:#x}), expected at most {len(data):#x}",
                    path=path,
                    offset=offset + at,
                    hint=DAMAGED,
                )
            key = _text(data[key_at : key_at + key_length])
            if key in pairs:
                raise InvalidImageError(
                    f"the parent locator has {printable(key)!r} twice",
                    path=path,
                    offset=offset + at,
                    hint=DAMAGED,
                )
            pairs[key] = _text(data[value_at : value_at + value_length])
        return cls(offset, pairs, _linkages(path, offset, pairs))


def _text(data: bytes) -> str:
    return data.decode("utf-16-le", "replace").rstrip("\0")


def _linkages(path: str, offset: int, pairs: dict[str, str]) -> tuple[uuid.UUID, ...]:
    found: list[uuid.UUID] = []
    for key in ("parent_linkage", "parent_linkage2"):
        value = pairs.get(key)
        if value is None and key == "parent_linkage2":
            continue
        try:
            linkage = uuid.UUID(value or "")
        except ValueError:
            raise InvalidImageError(
                f"the parent locator's {key} is {printable(value or '(missing)', 80)!r}, expected "
                "a GUID",
                path=path,
                offset=offset,
                hint=DAMAGED,
            ) from None
        # Hyper-V writes the second one as zeros while no merge is under way.
        if linkage != NIL or key == "parent_linkage":
            found.append(linkage)
    return tuple(found)


def check_parent(child: VhdxImage, locator: ParentLocator, parent: VhdxImage) -> None:
    """Whether this is the parent, as the changes know it.

    Raises CorruptImageError for another file or for one that was written to since,
    InvalidImageError for sectors of another size (2.6.2.4).
    """
    found = parent.header.data_write_id
    if found not in locator.linkages:
        expected = " or ".join(str(linkage) for linkage in locator.linkages)
        raise CorruptImageError(
            f"the parent {printable(parent.source.path)} has data write GUID {found}, expected "
            f"{expected}",
            path=child.source.path,
            offset=locator.offset,
            hint="it is another file, or was written to after this disk was made: name the right "
            "one with --parent FILE",
        )
    if parent.sector_size != child.sector_size:
        raise InvalidImageError(
            f"the parent {printable(parent.source.path)} has sectors of {parent.sector_size} "
            f"bytes, expected {child.sector_size} as in this image",
            path=child.source.path,
        )
    if parent.virtual_size != child.virtual_size:
        child.notice(
            "parent-size",
            f"the parent has {parent.virtual_size} bytes, this disk {child.virtual_size}",
        )
