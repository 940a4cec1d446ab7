"""Changes to inputs that know what images are made of: integers, tables, checksums.

Most changes of single bytes die at a checksum. `mutate` changes fields and puts the checksums right
afterwards, most of the time; FIXERS says how, for each format that has any.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

from vhdfast import _native

from .encoding import MAX_PACKED, MAX_SIZE, Input, Piece

__all__ = ["FIXERS", "mutate"]

KIB = 1 << 10
Bytes = Callable[[bytes, int], bytes]  # (bytes, most of them) -> other bytes


def mutate(packed: bytes, name: str, seed: int, of_bytes: Bytes | None = None) -> bytes:
    """Another input for format `name`. of_bytes: the fuzzer's own way of changing bytes."""
    chance = random.Random(seed)
    change = of_bytes or (lambda data, most: _change_bytes(data, most, chance))
    if chance.random() < 0.1:
        return change(packed, MAX_PACKED)
    made = Input.unpack(packed)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        chance.choices(_OPERATIONS, _WEIGHTS)[0](made, chance, change)
    if chance.random() < 0.9:
        for fix in FIXERS.get(name, ()):
            fix(made)
    changed = made.pack()
    return changed if len(changed) <= MAX_PACKED else packed


# ---- operations ----------------------------------------------------------------------------------


def _change_bytes(data: bytes, most: int, chance: random.Random) -> bytes:
    out = bytearray(data or b"\0")
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(out))
        what = chance.randrange(5)
        if what == 0:
            out[at] ^= 1 << chance.randrange(8)
        elif what == 1:
            out[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif what == 2:
            out[at:at] = chance.randbytes(chance.choice((1, 2, 4, 8)))
        elif what == 3 and len(out) > 8:
            del out[at : at + chance.choice((1, 2, 4, 8))]
        else:
            other = chance.randrange(len(out))
            length = chance.choice((1, 2, 4, 8, 16, 64))
            out[at : at + length] = out[other : other + length]
    return bytes(out[:most])


def _a_piece(made: Input, chance: random.Random) -> Piece:
    if not made.pieces:
        made.pieces.append(Piece(0, bytearray(512)))
    # Early pieces hold headers and tables, late ones mostly the disk's data.
    among = made.pieces[: chance.choice((1, 4, len(made.pieces)))]
    return chance.choice(among)


def _bytes(made: Input, chance: random.Random, change: Bytes) -> None:
    piece = _a_piece(made, chance)
    low = chance.randrange(len(piece.data))
    high = min(len(piece.data), low + chance.choice((8, 64, 1024)))
    part = change(bytes(piece.data[low:high]), high - low)
    piece.data[low : low + len(part)] = part


def _field(made: Input, chance: random.Random, change: Bytes) -> None:
    piece = _a_piece(made, chance)
    width = chance.choice((1, 2, 4, 4, 8, 8))
    place = piece.offset + chance.randrange(max(1, len(piece.data) // width)) * width
    order = chance.choice(("little", "big"))
    value = _number(made, chance, int.from_bytes(made.get(place, width), order))
    made.put(place, (value % (1 << 8 * width)).to_bytes(width, order))


def _number(made: Input, chance: random.Random, old: int) -> int:
    edge = chance.choice((8, 16, 20, 31, 32, 40, 47, 62, 63, 64))
    near = chance.choice((0, 0, 1, -1, 511, 512, -512, 4096, -4096))
    what = chance.randrange(6)
    if what == 0:
        return (1 << edge) + near
    if what == 1:
        return old + chance.choice((1, -1, 2, -2, 512, -512, 1 << 16, 1 << 20, 1 << 32))
    if what == 2:
        return old ^ 1 << chance.randrange(64)
    if what == 3:
        unit = chance.choice((1, 1, 512, 1 << 16, 1 << 20))
        return (made.size // unit) + chance.choice((0, 1, -1))
    if what == 4:
        unit = chance.choice((1, 512, 1 << 20))
        return _a_piece(made, chance).offset // unit + near
    return chance.choice((0, 1, 2, 3, 9, 12, 16, 21, 0xFF, 0x200, 0x10000, 0x100000))


def _entries(made: Input, chance: random.Random, change: Bytes) -> None:
    """Copy an entry of a table over another, or swap them."""
    piece = _a_piece(made, chance)
    width = chance.choice((4, 8, 16, 32))
    count = len(piece.data) // width
    if count < 2:
        return
    one, other = (chance.randrange(count) * width for _ in range(2))
    first, second = piece.data[one : one + width], piece.data[other : other + width]
    piece.data[other : other + width] = first
    if chance.random() < 0.5:
        piece.data[one : one + width] = second


def _size(made: Input, chance: random.Random, change: Bytes) -> None:
    piece = _a_piece(made, chance)
    made.size = chance.choice((
        made.size + chance.choice((1, -1, 511, 512, -512, 1 << 20, -(1 << 20), 1 << 32)),
        piece.offset, piece.end, piece.end - 1, chance.randrange(1, 1 << 22),
        1 << chance.randrange(48),
    ))  # fmt: skip
    made.size = max(0, min(made.size, MAX_SIZE))


def _pieces(made: Input, chance: random.Random, change: Bytes) -> None:
    piece = _a_piece(made, chance)
    what = chance.randrange(5)
    near = chance.randrange(-99, 99)
    shift = chance.choice((512, -512, 4096, 1 << 16, 1 << 20, -(1 << 20), near))
    if what == 0:
        piece.offset = max(0, piece.offset + shift)
    elif what == 1:
        copy = Piece(max(0, piece.offset + shift), bytearray(piece.data), piece.repeat)
        made.pieces.append(copy)
    elif what == 2 and len(made.pieces) > 1:
        made.pieces.remove(piece)
    elif what == 3 and piece.repeat > 1:
        piece.repeat = max(1, min(piece.repeat + shift, 1 << 22))
    else:
        other = _a_piece(made, chance)
        made.pieces.append(Piece(other.offset, bytearray(piece.data), piece.repeat))


def _flags(made: Input, chance: random.Random, change: Bytes) -> None:
    made.flags ^= 1 << chance.randrange(4)


_OPERATIONS = (_bytes, _field, _entries, _size, _pieces, _flags)
_WEIGHTS = (4, 9, 3, 1, 1, 1)


# ---- checksums -----------------------------------------------------------------------------------


def _vhd(made: Input) -> None:
    """Footer, its copy, the dynamic header."""

    def seal(at: int, length: int, field: int) -> None:
        data = made.get(at, length)
        total = sum(data) - sum(data[field : field + 4])
        made.put(at + field, struct.pack(">I", ~total & 0xFFFFFFFF))

    places = [0, max(0, made.size - 512), max(0, made.size - 511)]
    for at in places:
        footer = made.get(at, 512)
        if footer.startswith(b"conectix"):
            seal(at, 512, 64)
            header = int.from_bytes(footer[16:24], "big")
            if header < MAX_SIZE and made.get(header, 8) == b"cxsparse":
                seal(header, 1024, 36)


def _vhdx(made: Input) -> None:
    """Headers, region tables, entries of the log."""

    def seal(at: int, length: int) -> None:
        data = made.get(at, length)
        data = data[:4] + bytes(4) + data[8:]
        made.put(at + 4, struct.pack("<I", _native.crc32c(data)))

    for at, signature, length in (
        (64 * KIB, b"head", 4 * KIB), (128 * KIB, b"head", 4 * KIB),
        (192 * KIB, b"regi", 64 * KIB), (256 * KIB, b"regi", 64 * KIB),
    ):  # fmt: skip
        if made.get(at, 4) == signature:
            seal(at, length)
    for piece in list(made.pieces):
        at = piece.data.find(b"loge") if piece.repeat == 1 else -1
        while at >= 0:
            place = piece.offset + at
            length = int.from_bytes(made.get(place + 8, 4), "little")
            if 64 <= length <= 1 << 20:
                seal(place, length)
            at = piece.data.find(b"loge", at + 1)


def _tar(made: Input) -> None:
    """The sum of every header of 512 bytes that says it is one."""
    for piece in list(made.pieces):
        at = piece.data.find(b"ustar") if piece.repeat == 1 else -1
        while at >= 0:
            place = piece.offset + at - 257
            if place >= 0 and place % 512 == 0:
                block = made.get(place, 512)
                block = block[:148] + b" " * 8 + block[156:]
                made.put(place + 148, b"%06o\0 " % sum(block))
            at = piece.data.find(b"ustar", at + 1)


def _gpt(made: Input) -> None:
    """The headers where they may lie, in sectors of either size, and their arrays of entries."""
    for sector in (512, 4096):
        last = made.size // sector - 1
        alternate = int.from_bytes(made.get(sector + 32, 8), "little")
        for lba in {1, max(1, last), alternate}:
            at = lba * sector
            if at > MAX_SIZE or made.get(at, 8) != b"EFI PART":
                continue
            head = made.get(at, 512)
            entries, count, width = struct.unpack_from("<QII", head, 72)
            if entries * sector < MAX_SIZE and count * width <= 1 << 20:
                array = made.get(entries * sector, count * width)
                made.put(at + 88, struct.pack("<I", zlib.crc32(array)))
            length = int.from_bytes(head[12:16], "little")
            if 92 <= length <= sector:
                head = made.get(at, length)
                crc = zlib.crc32(head[:16] + bytes(4) + head[20:])
                made.put(at + 16, struct.pack("<I", crc))


def _gzip(made: Input) -> None:
    """A single member: its content may have changed only where it is stored."""
    data = made.get(0, min(made.size, MAX_PACKED))
    try:
        unpacker = zlib.decompressobj(-15)
        head = 10 if not data[3] else len(data)
        content = unpacker.decompress(data[head:], 1 << 20)
    except (IndexError, zlib.error):
        return
    if unpacker.eof:
        at = len(data) - len(unpacker.unused_data)
        made.put(at, struct.pack("<II", zlib.crc32(content), len(content)))


def _xz(made: Input) -> None:
    """The CRC-32 of the stream's header and footer, and of the first block's header."""
    if made.size < 32 or made.get(0, 6) != b"\xfd7zXZ\0":
        return
    made.put(8, struct.pack("<I", zlib.crc32(made.get(6, 2))))
    footer = made.size - 12
    made.put(footer, struct.pack("<I", zlib.crc32(made.get(footer + 4, 6))))
    length = (made.get(12, 1)[0] + 1) * 4
    if length > 4 and 12 + length <= made.size:
        made.put(12 + length - 4, struct.pack("<I", zlib.crc32(made.get(12, length - 4))))


FIXERS: dict[str, tuple[Callable[[Input], None], ...]] = {
    "vhd": (_vhd,),
    "vhdx": (_vhdx,),
    "ova": (_tar,),
    "gzip": (_gzip,),
    "gz": (_gzip,),
    "xz": (_xz,),
    "check": (_vhd, _vhdx, _tar),
    "partitions": (_gpt,),
}
