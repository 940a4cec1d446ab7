"""gzip: RFC 1952; BGZF (blocked gzip, section 4.1 of the SAM specification) on several threads."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from ..units import KIB, MIB
from .base import PART_BYTES, MemberStream, Part

__all__ = ["GzipStream"]

BGZF_HEADER = 18  # up to and with BSIZE, where "BC" is the only extra field
WINDOW = MIB


class _Member:
    """zlib's decompressor with the manners of those of bz2 and lzma."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(data or self._inner.unconsumed_tail, max_length)


class GzipStream(MemberStream):
    name = "gzip"
    suffixes = (".gz",)
    magic = b"\x1f\x8b\x08"
    padding = 1  # tapes and some tools fill up with zeros, and gzip takes them

    def member(self) -> _Member:
        return _Member()

    def error(self, error: Exception, offset: int) -> Exception:
        if isinstance(error, zlib.error):
            return self.damaged(_after_colon(error), offset)
        return error

    def parts(self) -> Iterator[Part] | None:
        if _bgzf_length(self.source.read(0, BGZF_HEADER)) is None:
            return None
        return self._bgzf_parts()

    def _bgzf_parts(self) -> Iterator[Part]:
        """Members of BGZF give their length at their start and their size at their end.

        From where a member is none of BGZF on, all is one part.
        """
        at = start = size = index = 0
        window, base = b"", 0
        while at < self.source.size:
            if at + 2 * 64 * KIB > base + len(window):
                window, base = self.read(at, WINDOW), at
            length = _bgzf_length(window[at - base : at - base + BGZF_HEADER])
            if length is None or at + length > self.source.size:
                break
            end = at - base + length
            size += int.from_bytes(window[end - 4 : end], "little")
            at += length
            if at - start >= PART_BYTES:
                yield Part(index, start, at - start, size, 64 * KIB)
                start, size, index = at, 0, index + 1
        if at > start:
            yield Part(index, start, at - start, size, 64 * KIB)
            index += 1
        if at < self.source.size:
            yield Part(index, at, self.source.size - at, None, 64 * KIB)


def _bgzf_length(header: bytes) -> int | None:
    """Bytes of the BGZF member that begins so, or None."""
    if len(header) < BGZF_HEADER or header[:4] != b"\x1f\x8b\x08\x04":
        return None
    if header[10:16] != b"\x06\x00BC\x02\x00":
        return None
    length = int.from_bytes(header[16:18], "little") + 1
    return length if length >= BGZF_HEADER + 8 else None


def _after_colon(error: Exception) -> str:
    """zlib's own words, without the number."""
    return str(error).rpartition(": ")[2]
