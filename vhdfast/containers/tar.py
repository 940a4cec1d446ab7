"""Headers of a tar file: v7, ustar, GNU and pax. Where each member lies; nothing is unpacked.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; the GNU tar manual,
"Basic Tar Format"; tar(5) of libarchive, "Old-Style Archive Format".
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import CorruptImageError, InvalidImageError, UnsupportedImageError
from ..files import Source
from ..units import MAX_OFFSET, round_up
from . import tar_sparse
from .tar_sparse import OldMap, SparseMap

__all__ = ["MAGIC", "MAGIC_OFFSET", "TarMember", "checksum_fits", "is_v7", "members"]

BLOCK = 512
MAGIC_OFFSET = 257
MAGIC = b"ustar"
MAX_HEADERS = 4096
# Of all extended headers together; those of sparse members hold maps.
MAX_EXTENDED = 2 << 20

REGULAR = b"0\x007"
LONG_NAME, LONG_LINK = b"L", b"K"
EXTENDED, GLOBAL = b"x", b"g"
SPARSE = b"S"
CONTINUED = b"M"
SPARSE_NAME = "GNU.sparse.name"
SPARSE_KEYS = (
    SPARSE_NAME,
    tar_sparse.MAJOR,
    tar_sparse.MINOR,
    tar_sparse.SIZE,
    tar_sparse.REAL,
    tar_sparse.COUNT,
    tar_sparse.MAP,
    tar_sparse.SIZE_OF_STAR,
    tar_sparse.HOLES_OF_SUN,
)
KEPT_KEYS = {key.encode(): key for key in ("path", "size", *SPARSE_KEYS)}
# Of a map in records of its own, which come by turns.
ENTRY_KEYS = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
MAX_MAP_BLOCKS = tar_sparse.MAX_PIECES // tar_sparse.PER_BLOCK
# Links, devices, directories and FIFOs: whatever their size says, nothing is stored.
EMPTY = b"123456"
V7_KINDS = (b"\0", b"0", b"1", b"2", b"5")
# Mode, user, group, size, time, checksum.
V7_FIELDS = (100, 108, 116, 124, 136, 148, 156)
V7_DEVICE = (329, 337)  # zeros at most, by GNU tar


@dataclass(frozen=True, slots=True)
class TarMember:
    """A regular file in the archive.

    offset, stored: of what lies behind the header, bytes: the file, or where `sparse` says so its
    pieces. size: of the file; None where a sparse member does not say.
    """

    name: str
    offset: int
    stored: int
    sparse: SparseMap | None
    header_offset: int

    @property
    def size(self) -> int | None:
        if self.sparse is None:
            return self.stored
        size = self.sparse.size()
        return size if size >= 0 else None


def checksum_fits(header: bytes) -> bool:
    """Whether a header of 512 bytes has the sum that it gives; old programs summed signed bytes."""
    try:
        stored = _octal(header[148:156])
    except ValueError:
        return False
    summed = header[:148] + b" " * 8 + header[156:]
    unsigned = sum(summed)
    return stored in (unsigned, unsigned - 256 * sum(byte > 127 for byte in summed))


def is_v7(header: bytes) -> bool:
    """Whether this is a header from before there was a magic: by all fields that it must have."""
    if len(header) != BLOCK or not header[0] or header[156:157] not in V7_KINDS:
        return False
    fields = [header[at:end] for at, end in itertools.pairwise(V7_FIELDS)]
    try:
        for field in (*fields, *(header[at : at + 8] for at in V7_DEVICE)):
            _octal(field)
    except ValueError:
        return False
    is_filled = all(field.strip(b" \0") for field in fields)
    is_blank = not any(header[257 : V7_DEVICE[0]]) and not any(header[V7_DEVICE[1] + 8 :])
    return is_filled and is_blank and checksum_fits(header)


def members(source: Source) -> Iterator[TarMember]:
    """The regular files, in their order.

    Raises CorruptImageError, InvalidImageError, UnsupportedImageError for too many headers.
    """
    offset = extended_sum = map_blocks = 0
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
            if extended_sum > MAX_EXTENDED:
                raise InvalidImageError(
                    f"an extended header of {size} bytes, expected at most {MAX_EXTENDED} in all "
                    "of them",
                    path=source.path,
                    offset=offset,
                    hint="if it is sound, unpack it first (tar -xf) and name the disk in it",
                )
            data = source.read_exact(start, size, "extended header")
            if kind == LONG_NAME:
                own["path"] = _text(data)
            elif kind == EXTENDED:
                own.update(_records(source, data, start))
            elif kind == GLOBAL:
                common.update(_common(source, data, start))
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
        sparse: SparseMap | None = tar_sparse.pax_map(said, offset, size)
        if kind == SPARSE:
            blocks = _map_blocks(source, header, offset, MAX_MAP_BLOCKS - map_blocks)
            sparse = OldMap(offset, header, blocks)
            map_blocks += blocks
            start += BLOCK * blocks
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
            yield TarMember(_clean(name), start, size, sparse, offset)
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
    entries: list[bytes] = []
    at = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 8)
        digits = data[at:space] if space > at else b""
        length = int(digits) if digits.isdigit() else 0
        record = data[at : at + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        is_entry = key in ENTRY_KEYS
        is_wrong = is_entry and (key != ENTRY_KEYS[len(entries) % 2] or not value.isdigit())
        if len(record) != length or not record.endswith(b"\n") or not key or not equals or is_wrong:
            raise CorruptImageError(
                "a record of an extended tar header is no LENGTH KEY=VALUE",
                path=source.path,
                offset=start + at,
                hint="the archive is damaged: copy it again and compare checksums",
            )
        if is_entry:
            entries.append(value)
        elif key in KEPT_KEYS:
            found[KEPT_KEYS[key]] = _text(value)
        at += length
    if entries:
        found[tar_sparse.PAIRS] = os.fsdecode(b",".join(entries))
    return found


def _common(source: Source, data: bytes, start: int) -> dict[str, str]:
    """Records of a global header: a map of all members would be read for each of them."""
    found = _records(source, data, start)
    if set(found) - {"path", "size"}:
        raise UnsupportedImageError(
            "a global tar header says that the members behind it are sparse, which no program "
            "writes",
            path=source.path,
            offset=start,
            hint="unpack the archive first (tar -xf) and name the disk in it",
        )
    return found


def _map_blocks(source: Source, header: bytes, offset: int, limit: int) -> int:
    """Blocks that the map of a sparse member goes on in behind its header."""
    if header[257:263] != b"ustar ":
        raise UnsupportedImageError(
            "a sparse tar member without GNU's magic: star writes such",
            path=source.path,
            offset=offset,
            hint="unpack the archive first (star -x) and name the disk in it",
        )
    return tar_sparse.continuation_blocks(source, header, offset + BLOCK, limit)


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
