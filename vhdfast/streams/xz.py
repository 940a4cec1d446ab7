"""xz: several blocks on several threads.

Source: The .xz File Format 1.2. liblzma decodes and checks; only the index is read here, to learn
where blocks are. A block is handed to liblzma as a file of its own, between a header and an index
made for it, so that it verifies the block's check, whichever it is.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator

from ..errors import UnsupportedImageError
from ..units import KIB, MIB, format_size
from .base import MAX_WINDOW, PIECE, Feed, MemberStream, Part

__all__ = ["XzStream"]

HEADER = 12  # of a stream; its footer has as many
MAX_INDEX = 256 * KIB  # bytes: some 30 000 blocks, as xz -T writes them enough for 700 GiB
MAX_STREAMS = 4096
MEMORY_LIMIT = MAX_WINDOW + MIB
LZMA2 = 0x21


class XzStream(MemberStream):
    name = "xz"
    suffixes = (".xz",)
    magic = b"\xfd7zXZ\x00"
    padding = 4

    def member(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT)

    def error(self, error: Exception, offset: int) -> Exception:
        if not isinstance(error, lzma.LZMAError):
            return error
        text = str(error)
        if "emory" in text:
            return UnsupportedImageError(
                f"the xz stream needs more than {format_size(MEMORY_LIMIT)} of memory to unpack",
                path=self.source.path,
                offset=offset,
                hint="unpack it first (xz -d), or pack it with a smaller dictionary",
            )
        if "nsupported" in text and "Corrupt" not in text:
            return UnsupportedImageError(
                f"an xz stream that is not read: {text}",
                path=self.source.path,
                offset=offset,
                hint="unpack it first (xz -d)",
            )
        return self.damaged(text, offset)

    # ---- blocks ---------------------------------------------------------------------------------

    def parts(self) -> Iterator[Part] | None:
        """Blocks by the indexes, from the end of the file to its start; None where they do not fit.

        Then the stream is decoded from its start, and the error names the place.
        """
        parts: list[tuple[int, int, int]] = []
        self._flags = self.source.read(6, 2)
        end = self.source.size
        streams = 0
        while end > 0:
            stop = self._without_padding(end)
            found = None if stop is None else self._blocks_before(stop)
            streams += 1
            if found is None or streams > MAX_STREAMS or len(parts) > MAX_INDEX:
                return None
            end, blocks = found
            parts[:0] = blocks
        if len(parts) < 2:
            return None
        return (
            Part(index, offset, length, size, self._memory(offset))
            for index, (offset, length, size) in enumerate(parts)
        )

    def _without_padding(self, end: int) -> int | None:
        """Where the stream ends that ends before `end`, behind which only zeros may lie."""
        start = max(0, end - 64 * KIB)
        window = self.source.read(start, end - start).rstrip(b"\0")
        # The footer ends in "YZ". Longer padding is for the decoder that goes from the start.
        stop = start + len(window)
        return stop if window.endswith(b"YZ") and (end - stop) % self.padding == 0 else None

    def _blocks_before(self, end: int) -> tuple[int, list[tuple[int, int, int]]] | None:
        """(start of the stream that ends here, [(offset, length, size)] of its blocks)."""
        footer = self.source.read(end - HEADER, HEADER) if end >= 2 * HEADER else b""
        if len(footer) < HEADER or zlib.crc32(footer[4:10]) != _number(footer[:4]):
            return None
        length = (_number(footer[4:8]) + 1) * 4
        start = end - HEADER - length
        if length > MAX_INDEX or start < HEADER:
            return None
        index = self.source.read(start, length)
        if len(index) < length or zlib.crc32(index[:-4]) != _number(index[-4:]):
            return None
        records = _records(index)
        if records is None:
            return None
        at = start - sum((unpadded + 3) // 4 * 4 for unpadded, _ in records)
        blocks = []
        for unpadded, size in records:
            blocks.append((at, unpadded, size))
            at += (unpadded + 3) // 4 * 4
        begin = (blocks[0][0] if blocks else start) - HEADER
        # Blocks of all streams get one header: where their checks differ, one decoder takes all.
        header = self.magic + self._flags + zlib.crc32(self._flags).to_bytes(4, "little")
        if begin < 0 or footer[8:10] != self._flags or self.source.read(begin, HEADER) != header:
            return None
        return begin, blocks

    def _memory(self, offset: int) -> int:
        """What the decoder of a block takes; MAX_WINDOW where its header does not say."""
        header = self.source.read(offset, 32).ljust(32, b"\0")
        at = 2
        for flag in (0x40, 0x80):  # compressed and uncompressed size
            if header[1] & flag:
                while header[at] & 0x80 and at < 20:
                    at += 1
                at += 1
        bits = header[at + 2] & 0x3F
        if header[1] & 3 or header[at] != LZMA2 or bits > 40:
            return MAX_WINDOW
        return int((2 | bits & 1) << (bits // 2 + 11))

    def decode_part(self, part: Part) -> Iterator[bytes]:
        assert part.size is not None
        decoder = self.member()
        head = self.magic + self._flags + zlib.crc32(self._flags).to_bytes(4, "little")
        end = part.offset + (part.length + 3) // 4 * 4
        feed = Feed(self, part.offset, end)
        data: bytes | None = head
        tail = [self._tail(part.length, part.size)]
        start = part.offset
        while not decoder.eof:
            if data is None and decoder.needs_input:
                start = feed.offset
                data = feed.read()
                if not data:
                    if feed.offset < end:
                        raise self.cut_short(feed.offset)
                    if not tail:
                        raise self.damaged("a block is longer than the index says", part.offset)
                    data = tail.pop(0)
            try:
                piece = decoder.decompress(data or b"", PIECE)
            except lzma.LZMAError as error:
                raise self.error(error, start) from error
            data = None
            if piece:
                yield piece

    def _tail(self, unpadded: int, size: int) -> bytes:
        """The index and the footer of a stream of one block."""
        index = b"\0\x01" + _varint(unpadded) + _varint(size)
        index += bytes(-len(index) % 4)
        index += zlib.crc32(index).to_bytes(4, "little")
        footer = (len(index) // 4 - 1).to_bytes(4, "little") + self._flags
        return index + zlib.crc32(footer).to_bytes(4, "little") + footer + b"YZ"


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int] | None:
    """(value, where the next field begins), None where it does not end in time."""
    value = 0
    for shift in range(0, 63, 7):
        if at >= len(data):
            return None
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    return None


def _records(index: bytes) -> list[tuple[int, int]] | None:
    """[(unpadded size, uncompressed size)] of an index whose checksum is right, or None."""
    if index[0] != 0 or (first := _read_varint(index, 1)) is None:
        return None
    count, at = first
    if count > len(index) // 2:
        return None
    records = []
    for _ in range(count):
        if (unpadded := _read_varint(index, at)) is None:
            return None
        if (size := _read_varint(index, unpadded[1])) is None:
            return None
        if unpadded[0] < 5:
            return None
        at = size[1]
        records.append((unpadded[0], size[0]))
    return records
