"""bzip2, also of several streams one after the other, as pbzip2 and lbzip2 write them."""

from __future__ import annotations

import bz2
from collections.abc import Iterator

from ..units import MIB
from .base import PART_BYTES, MemberStream, Part

__all__ = ["Bzip2Stream"]

# What follows "BZh1" … "BZh9": a block, or the end of an empty stream.
_BLOCK = b"\x31\x41\x59\x26\x53\x59"
_END = b"\x17\x72\x45\x38\x50\x90"
HEADER = 10
# Where no second stream begins within so much, there is but one worth mentioning.
LOOK_AHEAD = 8 * MIB
MEMORY = 4 * MIB


class Bzip2Stream(MemberStream):
    name = "bzip2"
    suffixes = (".bz2",)
    magic = b"BZh"

    def member(self) -> bz2.BZ2Decompressor:
        return bz2.BZ2Decompressor()

    def error(self, error: Exception, offset: int) -> Exception:
        if isinstance(error, OSError):
            return self.damaged("a block or checksum is wrong", offset)
        return error

    def parts(self) -> Iterator[Part] | None:
        if next(self._starts(1, min(self.source.size, LOOK_AHEAD)), None) is None:
            return None
        return self._parts()

    def _parts(self) -> Iterator[Part]:
        start = index = 0
        for at in self._starts(1, self.source.size):
            if at - start >= PART_BYTES:
                yield Part(index, start, at - start, None, MEMORY)
                start, index = at, index + 1
        yield Part(index, start, self.source.size - start, None, MEMORY)

    def _starts(self, offset: int, end: int) -> Iterator[int]:
        """Where streams begin: 80 bits that compressed data shows by chance no more than never.

        Streams are whole bytes long, so that their beginnings need no search bit by bit.
        """
        while offset < end:
            window = self.read(offset, MIB)
            at = window.find(self.magic)
            while at >= 0:
                if at + HEADER > len(window):
                    break
                if window[at + 3] in b"123456789" and window[at + 4 : at + 10] in (_BLOCK, _END):
                    yield offset + at
                at = window.find(self.magic, at + 1)
            if len(window) < MIB:
                return
            offset += MIB - HEADER + 1
