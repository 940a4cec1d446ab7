"""Zstandard: frames one after the other, on several threads where there are several.

Source: RFC 8878. libzstd decodes and checks; frame and block headers are read here as well, to
learn where frames end and how much a run of blocks can decode to before it is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import CorruptImageError, UnsupportedImageError
from ..units import KIB, MIB, format_size
from .base import MAX_WINDOW, PART_BYTES, PIECE, Feed, Part, Stream

if TYPE_CHECKING:
    from ..formats.base import Glimpse

__all__ = ["ZstdStream"]

SKIPPABLE = 0x184D2A50  # and the 15 after it
MAX_HEADER = 18
MAX_BLOCK = 128 * KIB
UNKNOWN_SIZE = (1 << 64) - 1  # what libzstd takes for a size that is not stated
MAX_BLOCKS = 4096  # that are decoded in one go, however little they hold
MAX_EMPTY = 1 << 17  # blocks of no bytes in a frame: a hole in a file reads as endless ones
READ = MIB
# Where no second frame begins within so much, there is but one worth mentioning.
LOOK_AHEAD = 16 * MIB


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame's header; its fields are those of the RFC."""

    offset: int
    length: int  # of the header
    window: int  # bytes
    content_size: int | None
    has_checksum: bool
    dictionary: int


class _Bytes:
    """A feed with a look ahead."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._data = b""
        self._at = 0

    @property
    def offset(self) -> int:
        """In the compressed file."""
        return self._feed.offset - len(self._data) + self._at

    def peek(self, length: int, skip: int = 0) -> bytes:
        """Up to `length` bytes, `skip` bytes ahead: fewer only at the end."""
        while len(self._data) - self._at < skip + length:
            more = self._feed.read(READ)
            if not more:
                break
            self._data = self._data[self._at :] + more
            self._at = 0
        return self._data[self._at + skip : self._at + skip + length]

    def take(self, length: int) -> bytes:
        data = self.peek(length)
        self._at += len(data)
        return data


class ZstdStream(Stream):
    name = "zstd"
    suffixes = (".zst", ".zstd")
    magic = b"\x28\xb5\x2f\xfd"

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        head = glimpse.at(0, 8)
        if _is_skippable(head):
            # pzstd and others begin with one; LZ4 has such frames too.
            start = 8 + int.from_bytes(head[4:8], "little")
            if glimpse.at(start, 4) == cls.magic:
                return "a zstd frame behind a skippable frame"
            return None
        return "a zstd frame at its start" if head[:4] == cls.magic else None

    def decode(self, offset: int, end: int) -> Iterator[bytes]:
        import zstandard

        data = _Bytes(Feed(self, offset, end))
        library = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        while (frame := self._next_frame(data)) is not None:
            decoder = library.decompressobj()
            at = frame.offset
            for run in self._runs(data, frame):
                try:
                    piece = decoder.decompress(run)
                except zstandard.ZstdError as error:
                    raise self.damaged(_after_colon(error), at) from error
                at = data.offset
                if piece:
                    yield piece
            if not decoder.eof or decoder.unused_data:
                raise self.damaged("a frame does not end with its last block", frame.offset)

    def parts(self) -> Iterator[Part] | None:
        end = min(self.source.size, LOOK_AHEAD)
        data = _Bytes(Feed(self, 0, end, is_counted=False))
        frame = self._next_frame(data)
        if frame is None or not self._skip_frame(data, frame, end):
            return None
        return self._parts() if data.offset < self.source.size else None

    def _parts(self) -> Iterator[Part]:
        data = _Bytes(Feed(self, 0, self.source.size, is_counted=False))
        index = start = memory = 0
        size: int | None = 0
        while (frame := self._next_frame(data)) is not None:
            self._skip_frame(data, frame, self.source.size)
            known = frame.content_size
            size = None if size is None or known is None else size + known
            memory = max(memory, frame.window)
            if data.offset - start >= PART_BYTES or (size or 0) >= 4 * PIECE:
                yield Part(index, start, data.offset - start, size, memory)
                start, size, memory, index = data.offset, 0, 0, index + 1
        if data.offset > start:
            yield Part(index, start, data.offset - start, size, memory)

    # ---- frames ---------------------------------------------------------------------------------

    def _next_frame(self, data: _Bytes) -> _Frame | None:
        """The header of the next frame, which stays to be taken; None at the end."""
        while True:
            head = data.peek(MAX_HEADER)
            if not head:
                return None
            if not _is_skippable(head):
                break
            length = int.from_bytes(data.take(8)[4:8], "little")
            self._skip(data, length)
        offset = data.offset
        if head[:4] != self.magic:
            if self.magic.startswith(head) or _begins_skippable(head):
                raise self.cut_short(offset + len(head))
            raise self.garbage(offset)
        frame = _parse_header(head, offset)
        if frame is None:
            raise self.cut_short(offset + len(head))
        if frame.window > MAX_WINDOW:
            raise UnsupportedImageError(
                f"a zstd frame with a window of {format_size(frame.window)}, at most "
                f"{format_size(MAX_WINDOW)} are unpacked",
                path=self.source.path,
                offset=offset,
                hint="unpack it first: zstd -d --long=31",
            )
        if frame.dictionary:
            raise UnsupportedImageError(
                f"a zstd frame that needs dictionary {frame.dictionary}",
                path=self.source.path,
                offset=offset,
                hint="unpack it first: zstd -d -D DICTIONARY",
            )
        return frame

    def _skip(self, data: _Bytes, length: int) -> None:
        while length > 0:
            taken = len(data.take(min(length, READ)))
            if not taken:
                raise self.cut_short(data.offset)
            length -= taken

    def _runs(self, data: _Bytes, frame: _Frame) -> Iterator[bytes]:
        """A frame's bytes, cut between blocks so that a run decodes to about PIECE bytes."""
        run = frame.length
        bound = blocks = empty = 0
        while True:
            header = data.peek(3, run)
            if len(header) < 3:
                raise self.cut_short(data.offset + run + len(header))
            is_last, stored, decoded = self._block(header, data.offset + run)
            empty += decoded == 0
            if empty > MAX_EMPTY:
                raise self.damaged(f"more than {MAX_EMPTY} empty blocks", data.offset + run)
            run += stored
            bound += decoded
            blocks += 1
            if is_last:
                run += 4 * frame.has_checksum
            if is_last or bound >= PIECE or blocks >= MAX_BLOCKS:
                taken = data.take(run)
                if len(taken) < run:
                    raise self.cut_short(data.offset)
                yield taken
                run = bound = blocks = 0
            if is_last:
                return

    def _skip_frame(self, data: _Bytes, frame: _Frame, end: int) -> bool:
        """Go to the frame's end; False where that lies beyond `end`, which is not the file's."""
        try:
            for _ in self._runs(data, frame):
                pass
        except CorruptImageError:
            if end < self.source.size:
                return False
            raise
        return True

    def _block(self, header: bytes, offset: int) -> tuple[bool, int, int]:
        """(whether it is the last one, its bytes with this header, what it decodes to at most)."""
        value = int.from_bytes(header, "little")
        kind, size = value >> 1 & 3, value >> 3
        if kind == 3 or size > MAX_BLOCK or (kind == 2 and size < 2):
            raise self.damaged(f"a block of type {kind} with {size} bytes", offset)
        if kind == 1:
            return bool(value & 1), 4, size
        return bool(value & 1), 3 + size, size if kind == 0 else MAX_BLOCK


def _is_skippable(head: bytes) -> bool:
    return len(head) >= 8 and int.from_bytes(head[:4], "little") & ~0xF == SKIPPABLE


def _begins_skippable(head: bytes) -> bool:
    """Whether a file that ends with `head` was cut within the header of a skippable frame."""
    return len(head) < 8 and head[0] & 0xF0 == 0x50 and b"\x2a\x4d\x18".startswith(head[1:4])


def _parse_header(head: bytes, offset: int) -> _Frame | None:
    """The frame header at the start of `head`, None where that is too short for it."""
    if len(head) < 6:
        return None
    flags = head[4]
    is_single = bool(flags & 0x20)
    at = 5 if is_single else 6
    id_length = (0, 1, 2, 4)[flags & 3]
    size_length = (1 if is_single else 0, 2, 4, 8)[flags >> 6]
    length = at + id_length + size_length
    if len(head) < length:
        return None
    dictionary = int.from_bytes(head[at : at + id_length], "little")
    content_size = None
    if size_length:
        content_size = int.from_bytes(head[at + id_length : length], "little")
        content_size += 256 * (size_length == 2)
        if content_size == UNKNOWN_SIZE:
            content_size = None
    if is_single:
        window = content_size or 0
    else:
        base = 1 << (10 + (head[5] >> 3))
        window = base + base // 8 * (head[5] & 7)
    return _Frame(offset, length, window, content_size, bool(flags & 4), dictionary)


def _after_colon(error: Any) -> str:
    return str(error).rpartition(": ")[2]
