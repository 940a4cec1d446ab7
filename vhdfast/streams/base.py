"""What every compressed stream is: a subclass of Stream, registered by existing.

A stream gives its decompressed bytes in order, in pieces, with memory that does not depend on its
size. Where the file shows ranges that decode on their own ("parts"), they are decoded side by side.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..engine import should_stop
from ..errors import CorruptImageError, ReadError
from ..files import Source
from ..units import KIB, MIB

if TYPE_CHECKING:
    from ..formats.base import Glimpse

__all__ = ["MAX_WINDOW", "PIECE", "STREAMS", "Decoder", "Feed", "MemberStream", "Part", "Stream"]

PIECE = MIB  # decompressed bytes that are handed over at once, about
READ = 64 * KIB  # compressed bytes that are read at once; what a small member costs grows with it
PART_BYTES = MIB  # members smaller than this are taken together, compressed bytes
# What a window (zstd) or dictionary (xz) may take. zstd --ultra -22 and xz -9 stay below.
MAX_WINDOW = 128 * MIB
MAX_PADDING = 64 * MIB  # zeros behind a member

_AGAIN = "the file is damaged: copy or download it again and compare checksums"


@dataclass(frozen=True, slots=True)
class Part:
    """A range of the compressed file that decodes on its own."""

    index: int
    offset: int  # in the compressed file
    length: int
    size: int | None  # decompressed bytes, where the file says so
    memory: int  # bytes that its decoder takes


class Feed:
    """The bytes [offset, end) of a compressed file in order, counted for progress."""

    def __init__(self, stream: Stream, offset: int, end: int, is_counted: bool = True) -> None:
        self._stream = stream
        self.offset = offset
        self._end = end
        self._is_counted = is_counted

    def read(self, length: int = READ) -> bytes:
        """The next bytes, at most `length`; none at the end."""
        length = max(0, min(length, self._end - self.offset))
        data = self._stream.read(self.offset, length)
        self.offset += len(data)
        if self._is_counted:
            self._stream.count(len(data))
        return data


class Stream(ABC):
    """One kind of compressed stream over its source, which it does not own."""

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]  # what they stand for is left out of the image's name
    magic: ClassVar[bytes]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            return
        if cls.name in STREAMS:
            raise TypeError(f"two streams call themselves {cls.name!r}")
        STREAMS[cls.name] = cls

    def __init__(self, source: Source) -> None:
        self.source = source
        self.consumed = 0  # compressed bytes read so far
        self._lock = threading.Lock()

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        """What shows that the file is such a stream, or None."""
        if glimpse.at(0, len(cls.magic)) != cls.magic:
            return None
        return f"a {cls.name} header at its start"

    @classmethod
    def inner_name(cls, path: str) -> str:
        """The name that the content would have: without the stream's suffix."""
        for suffix in cls.suffixes:
            if path.lower().endswith(suffix):
                return path[: -len(suffix)]
        return path

    @abstractmethod
    def decode(self, offset: int, end: int) -> Iterator[bytes]:
        """The decompressed bytes of [offset, end), whole members: pieces in order, none empty.

        All checksums are verified. Raises CorruptImageError, UnsupportedImageError, ReadError.
        """

    def parts(self) -> Iterator[Part] | None:
        """The parts of the file in order, found as they are asked for; None where there are none.

        Taken where they promise that several threads have work.
        """
        return None

    def decode_part(self, part: Part) -> Iterator[bytes]:
        """As `decode`, for one part."""
        return self.decode(part.offset, part.offset + part.length)

    def read(self, offset: int, length: int) -> bytes:
        """As the source reads: by this, what decodes or looks through it ends with its run.

        Padding, skipped frames and empty members make no piece for as long as the file is.
        """
        if should_stop():
            raise ReadError("reading was stopped", path=self.source.path)  # nobody sees it
        return self.source.read(offset, length)

    def count(self, length: int) -> None:
        with self._lock:
            self.consumed += length

    def damaged(self, what: str, offset: int) -> CorruptImageError:
        return CorruptImageError(
            f"the {self.name} stream is damaged: {what}",
            path=self.source.path,
            offset=offset,
            hint=_AGAIN,
        )

    def cut_short(self, offset: int) -> CorruptImageError:
        return CorruptImageError(
            f"the {self.name} stream goes on, but the file ends here",
            path=self.source.path,
            offset=offset,
            hint="the file is cut short: copy or download it again and compare checksums",
        )

    def garbage(self, offset: int) -> CorruptImageError:
        return CorruptImageError(
            f"bytes that are no {self.name} stream follow the stream",
            path=self.source.path,
            offset=offset,
            hint=_AGAIN,
        )


STREAMS: dict[str, type[Stream]] = {}


class Decoder(Protocol):
    """What bz2 and lzma call a decompressor."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class MemberStream(Stream):
    """A stream of members one after the other, each of which a library decodes to its end."""

    padding: ClassVar[int] = 0  # zeros that may follow members, in multiples of; 0: none may

    @abstractmethod
    def member(self) -> Decoder:
        """A decoder for one member."""

    @abstractmethod
    def error(self, error: Exception, offset: int) -> Exception:
        """What a library's error means; others are returned as they are."""

    def decode(self, offset: int, end: int) -> Iterator[bytes]:
        feed = Feed(self, offset, end)
        data = feed.read()
        while data:
            decoder = self.member()
            rest = yield from self._run(decoder, data, feed)
            data = self._next(rest, feed)

    def _run(
        self, decoder: Decoder, data: bytes, feed: Feed
    ) -> Generator[bytes, None, bytes]:
        """Decode one member; returns what was read and follows it."""
        start = feed.offset - len(data)
        is_over = False
        while True:
            try:
                piece = decoder.decompress(data, PIECE)
            except Exception as error:
                meant = self.error(error, start)
                if meant is error:
                    raise
                raise meant from error
            if piece:
                yield piece
            if decoder.eof:
                return decoder.unused_data
            if is_over and not piece:
                raise self.cut_short(feed.offset)
            data = b""
            if decoder.needs_input and not is_over:
                start = feed.offset
                data = feed.read()
                is_over = not data

    def _next(self, data: bytes, feed: Feed) -> bytes:
        """What follows a member from the next member's first byte on; nothing at the end."""
        zeros = 0
        while True:
            if not data:
                data = feed.read()
                if not data:
                    break
            rest = data.lstrip(b"\0") if self.padding else data
            zeros += len(data) - len(rest)
            if zeros > MAX_PADDING:
                raise self.garbage(feed.offset - len(rest) - zeros)
            data = rest
            if data:
                break
        at = feed.offset - len(data)
        if self.padding and zeros % self.padding:
            raise self.garbage(at - zeros)
        if data and len(data) < len(self.magic):
            data += feed.read()
        if data and not data.startswith(self.magic):
            raise self.garbage(at)
        return data
