"""Maps of sparse members: which pieces of a file a tar archive holds, in GNU's four encodings.

Old GNU: in the header and in blocks behind it. PAX 0.0 and 0.1: in the extended header. PAX 1.0:
in front of the data. The pieces follow, one behind the other.

Source: the GNU tar manual, appendix "Storing Sparse Files".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import (
    DAMAGED,
    CorruptImageError,
    InvalidImageError,
    UnsupportedImageError,
)
from ..files import Source
from ..sparse import Column, SparseSource
from ..units import round_up

__all__ = [
    "MAX_PIECES",
    "OldMap",
    "PaxMap",
    "SparseMap",
    "continuation_blocks",
    "open_sparse",
    "pax_map",
]

BLOCK = 512
MAX_PIECES = 1 << 20
MAX_SIZE = 1 << 62
# Of an old GNU header, and of each block that its map goes on in.
IN_HEADER = slice(386, 482)
IS_CONTINUED, REAL_SIZE = 482, slice(483, 495)
IN_BLOCK, BLOCK_IS_CONTINUED = 504, 504
PER_BLOCK, NUMBER = 21, 12
WINDOW = 1 << 20  # bytes of a map that are read at once
FIRST_WINDOW = 1 << 16
MAX_DIGITS = 19
MAP_NAME = "map of a sparse tar member"
INVALID, UNUSED = -1, -2
# Keys of an extended header.
MAJOR, MINOR = "GNU.sparse.major", "GNU.sparse.minor"
SIZE, REAL = "GNU.sparse.size", "GNU.sparse.realsize"
KEYS = "GNU.sparse."
COUNT, MAP, PAIRS = "GNU.sparse.numblocks", "GNU.sparse.map", "GNU.sparse.offset"
HOLES_OF_SUN, SIZE_OF_STAR = "SUN.holesdata", "SCHILY.realsize"

_UNPACK = "unpack the archive first (tar -xf) and name the disk in it"


@dataclass(frozen=True, slots=True)
class Pieces:
    """What a map says: columns of its entries, where the data begins and how much of it is there.

    at: where in the archive the map lies, for messages.
    """

    starts: Column
    lengths: Column
    at: int
    data: int
    stored: int


class SparseMap(Protocol):
    """How the map of one member is stored."""

    def size(self) -> int:
        """Bytes of the file with its holes; below zero where that is no number."""

    def read(self, source: Source, offset: int, stored: int) -> Pieces:
        """The map of the member whose `stored` bytes lie at `offset`; only its bounds are sure."""


def open_sparse(
    source: Source, sparse: SparseMap, offset: int, stored: int, path: str
) -> SparseSource:
    """The member as a source; it owns `source`.

    offset, stored: of what lies behind the member's header, bytes.
    Raises CorruptImageError for a map that cannot be, InvalidImageError, UnsupportedImageError.
    """
    found = sparse.read(source, offset, stored)
    size = sparse.size()
    if not 0 <= size < MAX_SIZE:
        raise InvalidImageError(
            "the size of a sparse tar member is no number of bytes below 2^62",
            path=source.path,
            offset=found.at,
            hint=DAMAGED,
        )
    _check(source, found, size)
    filled = found.lengths > 0
    return SparseSource(source, found.data, found.starts[filled], found.lengths[filled], size, path)


def _check(source: Source, found: Pieces, size: int) -> None:
    starts, lengths = found.starts, found.lengths
    wrong = (starts < 0) | (lengths < 0) | (starts > size) | (lengths > size - starts)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise _corrupt(source, found.at, f"entry {at} is no range within the {size} bytes of it")
    wrong = starts[1:] < starts[:-1] + lengths[:-1]
    if wrong.any():
        at = int(np.argmax(wrong)) + 1
        raise _corrupt(source, found.at, f"entry {at} begins before the one in front of it ends")
    total = int(lengths.sum())
    if total != found.stored:
        raise _corrupt(
            source, found.at, f"its ranges have {total} bytes, {found.stored} are stored"
        )
    # GNU tar begins each piece with a block of its own, others do not: the same where all end so.
    inner = lengths[lengths > 0][:-1] % BLOCK
    if inner.any():
        raise UnsupportedImageError(
            f"a range of a sparse tar member ends within a block of {BLOCK} bytes and another one "
            "follows; programs disagree on where that begins",
            path=source.path,
            offset=found.at,
            hint="unpack the archive with the program that made it, and name the disk in it",
        )


def _corrupt(source: Source, offset: int, what: str) -> CorruptImageError:
    return CorruptImageError(
        f"the map of a sparse tar member is wrong: {what}",
        path=source.path,
        offset=offset,
        hint=DAMAGED,
    )


def _too_many(source: Source, offset: int) -> UnsupportedImageError:
    return UnsupportedImageError(
        f"the maps of sparse tar members have more than {MAX_PIECES} ranges",
        path=source.path,
        offset=offset,
        hint=_UNPACK,
    )


# ---- old GNU ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OldMap:
    """In the header at `at`, with the bytes `header`, and in `blocks` blocks behind it."""

    at: int
    header: bytes
    blocks: int

    def size(self) -> int:
        return int(_numbers(self.header[REAL_SIZE])[0])

    def read(self, source: Source, offset: int, stored: int) -> Pieces:
        begin = self.at + IN_HEADER.start
        parts = [_numbers(self.header[IN_HEADER])]
        at, end = self.at + BLOCK, self.at + BLOCK * (1 + self.blocks)
        while at < end:
            data = source.read_exact(at, min(WINDOW, end - at), MAP_NAME)
            blocks = np.frombuffer(data, np.uint8).reshape(-1, BLOCK)
            parts.append(_numbers(blocks[:, :IN_BLOCK].tobytes()))
            at += len(data)
        entries = np.concatenate(parts).reshape(-1, 2)
        unused = np.flatnonzero((entries == UNUSED).all(axis=1))
        if len(unused):
            if (entries[unused[0] :] != UNUSED).any():
                raise _corrupt(source, begin, f"it has an entry behind its end, {unused[0]}")
            entries = entries[: unused[0]]
        return Pieces(entries[:, 0], entries[:, 1], begin, offset, stored)


def continuation_blocks(source: Source, header: bytes, start: int, limit: int) -> int:
    """Blocks behind an old GNU header that its map goes on in, which begin at `start`.

    Raises UnsupportedImageError for more than `limit`, CorruptImageError where the file ends.
    """
    count = 0
    more = header[IS_CONTINUED] != 0
    length = FIRST_WINDOW
    while more:
        at = start + BLOCK * count
        data = source.read(at, length)
        flags = np.frombuffer(data, np.uint8)[BLOCK_IS_CONTINUED::BLOCK][: len(data) // BLOCK]
        last = np.flatnonzero(flags == 0)
        count += int(last[0]) + 1 if len(last) else len(flags)
        if count > limit:
            raise _too_many(source, start)
        more = not len(last)
        if more and len(data) < length:
            raise _corrupt(source, at, "it goes on, and the file ends")
        length = WINDOW
    return count


def _numbers(data: bytes) -> Column:
    """Numeric fields of 12 bytes: octal digits, or base 256 behind a byte 0x80.

    UNUSED for one of zeros, INVALID for what is no number below 2^63.
    """
    fields = np.frombuffer(data, np.uint8).reshape(-1, NUMBER)
    digits = (fields >= ord("0")) & (fields <= ord("7"))
    count = digits.sum(axis=1)
    first = np.argmax(digits, axis=1)
    last = NUMBER - 1 - np.argmax(digits[:, ::-1], axis=1)
    blank = (fields == 0) | (fields == ord(" "))
    is_octal = (count > 0) & (last - first + 1 == count) & (digits | blank).all(axis=1)
    values = np.zeros(len(fields), np.int64)
    for column in range(NUMBER):
        value = fields[:, column].astype(np.int64) - ord("0")
        values = np.where(digits[:, column], values * 8 + value, values)
    binary = np.ascontiguousarray(fields[:, 4:]).view(">i8")[:, 0].astype(np.int64)
    is_binary = (fields[:, 0] == 0x80) & ~fields[:, 1:4].any(axis=1) & (binary >= 0)
    found = np.where(is_octal, values, np.where(is_binary, binary, INVALID))
    return np.where(fields.any(axis=1), found, UNUSED)


# ---- PAX ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PaxMap:
    """What extended headers say of the member whose header lies at `at`, by key."""

    at: int
    said: Mapping[str, str]

    @property
    def _version(self) -> str:
        return f"{self.said.get(MAJOR, '0')}.{self.said.get(MINOR, '0')}"

    def size(self) -> int:
        return _decimal(self.said.get(REAL if self._version == "1.0" else SIZE, ""))

    def read(self, source: Source, offset: int, stored: int) -> Pieces:
        if not any(key.startswith(KEYS) for key in self.said):
            raise self._unsupported(source, "in the way of star or Solaris")
        at = self.at
        if self._version == "1.0":
            numbers, length = _map_before_data(source, offset, stored)
            at, offset, stored = offset, offset + length, stored - length
        elif self._version in ("0.0", "0.1"):
            numbers = self._in_header(source)
        else:
            raise self._unsupported(source, f"in version {self._version} of GNU's format")
        entries = numbers.reshape(-1, 2)
        return Pieces(entries[:, 0], entries[:, 1], at, offset, stored)

    def _in_header(self, source: Source) -> Column:
        texts = [self.said[key] for key in (MAP, PAIRS) if key in self.said]
        if len(texts) != 1:
            raise _corrupt(source, self.at, f"the extended header has {len(texts)} maps, not one")
        text = texts[0].replace(",", "\n").encode("ascii", "replace")
        numbers = _decimals(text + b"\n" if text else b"")
        if numbers is None or len(numbers) % 2:
            raise _corrupt(source, self.at, "it is no list of pairs of numbers")
        if _decimal(self.said.get(COUNT, "")) != len(numbers) // 2:
            raise _corrupt(
                source, self.at, f"it has {len(numbers) // 2} entries, {COUNT} is another number"
            )
        return numbers

    def _unsupported(self, source: Source, how: str) -> UnsupportedImageError:
        return UnsupportedImageError(
            f"a sparse tar member is stored {how}",
            path=source.path,
            offset=self.at,
            hint=_UNPACK,
        )


def pax_map(said: Mapping[str, str], at: int, stored: int) -> PaxMap | None:
    """The map that extended headers speak of, None where the member is not sparse."""
    star = said.get(SIZE_OF_STAR, str(stored))
    is_sparse = HOLES_OF_SUN in said or star != str(stored)
    if is_sparse or any(key.startswith(KEYS) for key in said):
        return PaxMap(at, said)
    return None


def _map_before_data(source: Source, offset: int, stored: int) -> tuple[Column, int]:
    """(numbers of a map of lines, bytes that it takes): how many entries, then each of them."""
    head = source.read(offset, min(stored, MAX_DIGITS + 1))
    first = head.find(b"\n") + 1
    count = _decimals(head[:first])
    if count is None or not len(count):
        raise _corrupt(source, offset, "it does not begin with the number of its entries")
    if count[0] > MAX_PIECES:
        raise _too_many(source, offset)
    wanted = 2 * int(count[0])
    parts = [np.zeros(0, np.int64)]
    at, rest, length = first, b"", FIRST_WINDOW
    while wanted:
        length = min(length, stored - at - len(rest))
        if length <= 0:
            raise _corrupt(source, offset, f"{wanted} more numbers are expected")
        data = rest + source.read_exact(at + len(rest) + offset, length, MAP_NAME)
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))[:wanted]
        used = int(ends[-1]) + 1 if len(ends) else 0
        numbers, rest = _decimals(data[:used]), data[used:]
        if numbers is None or (len(ends) < wanted and len(rest) > MAX_DIGITS):
            raise _corrupt(source, offset, f"what is there is no number, {wanted} are expected")
        parts.append(numbers)
        wanted -= len(ends)
        at += used
        length = WINDOW
    taken = round_up(at, BLOCK)
    if taken > stored:
        raise _corrupt(source, offset, f"it takes {taken} bytes of {stored} that are stored")
    return np.concatenate(parts), taken


def _decimals(lines: bytes) -> Column | None:
    """The numbers of lines, each with its end; None where one is no number below 2^63."""
    if lines.translate(None, b"0123456789\n"):
        return None
    try:
        return np.fromiter(map(int, lines.split(b"\n")[:-1]), np.int64)
    except (ValueError, OverflowError):
        return None


def _decimal(text: str) -> int:
    found = _decimals(text.encode("ascii", "replace") + b"\n")
    return INVALID if found is None or len(found) != 1 else int(found[0])
