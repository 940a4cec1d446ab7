"""Headers of a tar file: ustar, GNU and pax. Where each member lies; nothing is unpacked.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; the GNU tar manual,
"Basic Tar Format".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import CorruptImageError, InvalidImageError, UnsupportedImageError
from ..files import Source
from ..units import MAX_OFFSET, round_up

__all__ = ["MAGIC", "MAGIC_OFFSET", "TarMember", "checksum_fits", "members"]

BLOCK = 512
MAGIC_OFFSET = 257
MAGIC = b"ustar"
MAX_HEADERS = 4096
# Of one extended header, and of all of them together.
MAX_EXTENDED = 64 << 10
MAX_EXTENDED_SUM = 1 << 20

REGULAR = b"0\x007"
LONG_NAME, LONG_LINK = b"L", b"K"
EXTENDED, GLOBAL = b"x", b"g"
SPARSE = b"S"
CONTINUED = b"M"
# Keys of extended headers. What else begins like SPARSE_KEYS only says that the member is sparse.
SPARSE_KEYS, SPARSE_NAME = "GNU.sparse.", "GNU.sparse.name"
KEPT_KEYS = ("path", "size", SPARSE_KEYS, SPARSE_NAME)
# Links, devices, directories and FIFOs: whatever their size says, nothing is stored.
EMPTY = b"123456"


@dataclass(frozen=True, slots=True)
class TarMember:
    """A regular file in the archive; offset and size in bytes, of what is stored."""

    name: str
    offset: int
    size: int
    is_sparse: bool
    header_offset: int


def checksum_fits(header: bytes) -> bool:
    """Whether a header of 512 bytes has the sum that it gives; old programs summed signed bytes."""
    try:
        stored = _octal(header[148:156])
    except ValueError:
        return False
    summed = header[:148] + b" " * 8 + header[156:]
    unsigned = sum(summed)
    return stored in (unsigned, unsigned - 256 * sum(byte > 127 for byte in summed))


def members(source: Source) -> Iterator[TarMember]:
    """The regular files, in their order.

    Raises CorruptImageError, InvalidImageError, UnsupportedImageError for too many headers.
    """
    offset = extended_sum = 0
    own: dict[str, str] = {}  # what extended headers say of the next member
    common: dict[str, str] = {}
    for _ in range(MAX_HEADERS):
        if offset >= source.size:
            return  # not every writer puts the two blocks of zeros behind the last member
        header = source.read_exact(offset, BLOCK, "tar header")
        if not any(header):
            return
        if not checksum_fits(header):
            raise CorruptImageError(
                "the checksum of a tar header is wrong",
                path=source.path,
                offset=offset,
                hint="the archive is damaged: copy it again and compare checksums",
            )
        kind = header[156:157]
        size = _number(source, header, offset)
        start = offset + BLOCK
        if kind in (LONG_NAME, LONG_LINK, EXTENDED, GLOBAL):
            extended_sum += size
            if size > MAX_EXTENDED or extended_sum > MAX_EXTENDED_SUM:
                raise InvalidImageError(
                    f"an extended header of {size} bytes, expected at most {MAX_EXTENDED}, and "
                    f"{MAX_EXTENDED_SUM} in all of them",
                    path=source.path,
                    offset=offset,
                )
            data = source.read_exact(start, size, "extended header")
            if kind == LONG_NAME:
                own["path"] = _text(data)
            elif kind == EXTENDED:
                own.update(_records(source, data, start))
            elif kind == GLOBAL:
                common.update(_records(source, data, start))
            offset = start + round_up(size, BLOCK)
            continue
        if kind == CONTINUED:
            raise UnsupportedImageError(
                "the archive goes on in another file (a GNU multi-volume archive)",
                path=source.path,
                offset=offset,
                hint="unpack it first: tar -xMf …",
            )
        said = {**common, **own}
        own = {}
        if "size" in said:
            size = _decimal(source, said["size"], offset)
        is_sparse = kind == SPARSE or SPARSE_KEYS in said or SPARSE_NAME in said
        if kind == SPARSE:
            start = _behind_sparse_map(source, header, start)
        if kind in EMPTY and kind:
            size = 0
        if size > source.size - start:
            raise CorruptImageError(
                f"the member at {offset:#x} takes [{start:#x}, {start + size:#x}), the file ends "
                f"at {source.size:#x}",
                path=source.path,
                offset=offset + 124,
                hint="the archive is cut short: copy it again and compare checksums",
            )
        if kind in REGULAR + SPARSE:
            name = said.get(SPARSE_NAME) or said.get("path") or _name(header)
            yield TarMember(_clean(name), start, size, is_sparse, offset)
        offset = start + round_up(size, BLOCK)
    raise UnsupportedImageError(
        f"an archive of more than {MAX_HEADERS} members is no collection of disks",
        path=source.path,
        hint="unpack it first (tar -xf) and name the disk in it",
    )


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if not all(byte in b"01234567" for byte in digits):
        raise ValueError("not an octal number")
    return int(digits, 8)


def _number(source: Source, header: bytes, offset: int) -> int:
    """The size: octal digits, or GNU's 88 bits (two's complement) behind a set high bit."""
    field = header[124:136]
    try:
        if field[0] == 0x80:
            value = int.from_bytes(field[1:], "big")
        elif field[0] == 0xFF:
            value = int.from_bytes(field, "big", signed=True)
        else:
            value = _octal(field)
    except ValueError:
        value = -1
    return _bounded(source, value, offset)


def _decimal(source: Source, text: str, offset: int) -> int:
    digits = text.isascii() and text.isdecimal() and len(text) <= 20
    return _bounded(source, int(text) if digits else -1, offset)


def _bounded(source: Source, value: int, offset: int) -> int:
    if not 0 <= value <= MAX_OFFSET:
        raise InvalidImageError(
            "the size of a tar member is no number of bytes below 2^63",
            path=source.path,
            offset=offset + 124,
        )
    return value


def _records(source: Source, data: bytes, start: int) -> dict[str, str]:
    """Records of an extended header: "LENGTH KEY=VALUE\\n", the length that of all of it.

    Those of KEPT_KEYS alone: what a global header says is looked at for each of the members.
    """
    found: dict[str, str] = {}
    at = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 8)
        digits = data[at:space] if space > at else b""
        length = int(digits) if digits.isdigit() else 0
        record = data[at : at + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if len(record) != length or not record.endswith(b"\n") or not key or not equals:
            raise CorruptImageError(
                "a record of an extended tar header is no LENGTH KEY=VALUE",
                path=source.path,
                offset=start + at,
                hint="the archive is damaged: copy it again and compare checksums",
            )
        name = _text(key)
        if name.startswith(SPARSE_KEYS) and name != SPARSE_NAME:
            name = SPARSE_KEYS
        if name in KEPT_KEYS:
            found[name] = _text(value)
        at += length
    return found


def _behind_sparse_map(source: Source, header: bytes, start: int) -> int:
    """Where the data of an old GNU sparse member begins: its map may go on behind the header."""
    more = header[482]
    for _ in range(MAX_HEADERS):
        if not more:
            return start
        more = source.read_exact(start, BLOCK, "sparse map")[504]
        start += BLOCK
    raise InvalidImageError(
        "the map of a sparse tar member does not end", path=source.path, offset=start
    )


def _name(header: bytes) -> str:
    name = _text(header[:100])
    # GNU's magic has a blank here, and other fields where ustar has the prefix.
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(data: bytes) -> str:
    return os.fsdecode(data.split(b"\0", 1)[0])


def _clean(name: str) -> str:
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name
