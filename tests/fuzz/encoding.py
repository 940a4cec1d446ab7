"""A disk image as few bytes: what fuzzers change is mostly structure, hardly ever zeros.

    flags (1 byte) · size of the file (6) · pieces
    piece: offset (6) · length (3) · data            top bit of length: one byte, repeated

All little-endian. Any bytes are an input: what is cut off or too much is left out.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["DETECT", "GUESS", "MAX_PACKED", "SECOND", "SNAPSHOT", "Input", "Piece", "of_file"]

# flags: open by detection; guess the format of a backing file; the disk of snapshot "1"; the second
# disk of a container
DETECT, GUESS, SNAPSHOT, SECOND = 1, 2, 4, 8
MAX_SIZE = 1 << 47
MAX_WRITTEN = 8 << 20  # bytes of pieces: what one input may cost to lay out
MAX_PACKED = 128 << 10
REPEATED = 1 << 23
GAP = 24  # zeros that are worth a new piece


@dataclass
class Piece:
    """`data`, or its one byte `repeat` times."""

    offset: int
    data: bytearray
    repeat: int = 1

    @property
    def end(self) -> int:
        return self.offset + len(self.data) * self.repeat

    @property
    def content(self) -> bytes:
        return bytes(self.data) * self.repeat


@dataclass
class Input:
    """A file in the making; later pieces cover earlier ones."""

    flags: int = 0
    size: int = 0
    pieces: list[Piece] = field(default_factory=list)

    @classmethod
    def unpack(cls, packed: bytes) -> Input:
        made = cls(packed[0] if packed else 0, min(int.from_bytes(packed[1:7], "little"), MAX_SIZE))
        at, written = 7, 0
        while at + 9 <= len(packed):
            offset = int.from_bytes(packed[at : at + 6], "little")
            length = int.from_bytes(packed[at + 6 : at + 9], "little")
            at += 9
            repeat = 1
            if length & REPEATED:
                length, repeat = 1, length ^ REPEATED
            data = bytearray(packed[at : at + length])
            at += length
            written += len(data) * repeat
            if written > MAX_WRITTEN:
                break
            if data and repeat:
                made.pieces.append(Piece(offset, data, repeat))
        return made

    def pack(self) -> bytes:
        out = [bytes([self.flags & 0xFF]), max(0, min(self.size, MAX_SIZE)).to_bytes(6, "little")]
        for piece in self.pieces:
            offset = (piece.offset % (1 << 48)).to_bytes(6, "little")
            if piece.repeat > 1:
                out += [offset, (piece.repeat | REPEATED).to_bytes(3, "little"), piece.data[:1]]
            else:
                out += [offset, len(piece.data).to_bytes(3, "little"), bytes(piece.data)]
        return b"".join(out)

    def get(self, offset: int, length: int) -> bytes:
        out = bytearray(length)
        for piece in self.pieces:
            low, high = max(piece.offset, offset), min(piece.end, offset + length)
            if low < high:
                part = piece.content[low - piece.offset : high - piece.offset]
                out[low - offset : high - offset] = part
        return bytes(out)

    def put(self, offset: int, data: bytes) -> None:
        """Change bytes, within the last piece that holds them where there is one."""
        for piece in reversed(self.pieces):
            if piece.offset <= offset and offset + len(data) <= piece.end and piece.repeat == 1:
                at = offset - piece.offset
                piece.data[at : at + len(data)] = data
                return
            if piece.offset < offset + len(data) and offset < piece.end:
                break
        self.pieces.append(Piece(offset, bytearray(data)))

    def write(self, path: Path) -> None:
        """Lay the file out, sparse. Raises OSError where the file system has no room for it."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.ftruncate(fd, self.size)
            for piece in self.pieces:
                room = self.size - piece.offset
                if room > 0:
                    os.pwrite(fd, piece.content[:room], piece.offset)
        finally:
            os.close(fd)


def of_file(path: Path, flags: int = 0) -> Input:
    """The encoding of a file, holes left out; cut off where it is too large for a seed."""
    made = Input(flags, path.stat().st_size)
    packed = 0
    with open(path, "rb") as file:
        for start, end in _data_of(file.fileno(), made.size):
            for at in range(start, end, 1 << 17):
                data = os.pread(file.fileno(), min(1 << 17, end - at), at)
                for piece in _pieces(at, data):
                    made.pieces.append(piece)
                    packed += 9 + len(piece.data)
                if packed > MAX_PACKED:
                    return made
    return made


def _data_of(fd: int, size: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, at


_WORTH_SAYING = re.compile(rb"(?s)([^\0])\1{63,}|(?:[^\0]|\0{1,%d}(?=[^\0]))+" % (GAP - 1))
_RUN = re.compile(rb"(?s)([^\0])\1{63,}")


def _pieces(offset: int, data: bytes) -> Iterator[Piece]:
    for found in _WORTH_SAYING.finditer(data):
        text, base = found.group(), offset + found.start()
        runs = list(_RUN.finditer(text))
        borders = sorted({0, len(text), *itertools.chain(*(run.span() for run in runs))})
        starts = {run.start() for run in runs}
        for low, high in itertools.pairwise(borders):
            if low in starts:
                yield Piece(base + low, bytearray(text[low : low + 1]), high - low)
            else:
                yield Piece(base + low, bytearray(text[low:high]))
