"""vhdfast.codecs: the decoder of each thread, and decoding by plain code."""

from __future__ import annotations

import threading
import zlib

import numpy as np
import pytest

from vhdfast import _native, codecs
from vhdfast.errors import CorruptImageError
from vhdfast.extents import MAX_UNIT, Codec, Kind, make_rows
from vhdfast.files import MemorySource

TEXT = b"".join(b"line %d\n" % at for at in range(2000))
# One frame of RFC 8878 by hand: a single segment of 3 bytes, one raw block.
FRAME = bytes.fromhex("28b52ffd 20 03 190000") + b"abc"


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize(
    ("codec", "packed", "data"),
    [
        (Codec.DEFLATE, raw_deflate(TEXT), TEXT),
        (Codec.ZLIB, zlib.compress(TEXT), TEXT),
        (Codec.ZSTD, FRAME, b"abc"),
    ],
)
def test_decode(codec: Codec, packed: bytes, data: bytes) -> None:
    assert codecs.decode(codec, packed, len(data)) == data
    assert codecs.decode(codec, packed + b"slack", len(data) - 1) == data[:-1]
    assert codecs.decode(codec, packed, len(data) + 1) is None
    assert codecs.decode(codec, packed[: len(packed) // 2], len(data)) is None
    assert codecs.decode(codec, b"", len(data)) is None


def test_no_codec() -> None:
    assert codecs.decode(Codec.NONE, TEXT, 1) is None
    assert codecs.decode(99, TEXT, 1) is None


def test_each_thread_has_a_decoder_of_its_own() -> None:
    found = [codecs.decoder(), codecs.decoder()]
    thread = threading.Thread(target=lambda: found.append(codecs.decoder()))
    thread.start()
    thread.join()
    assert found[0] is found[1]
    assert found[0] is not found[2]


def packed_row(packed: bytes, decoded: int, codec: Codec, length: int, skip: int = 0):  # type: ignore[no-untyped-def]
    rows = make_rows(np.array([0]), length, Kind.COMPRESSED)
    rows["stored_length"], rows["decoded_length"] = len(packed), decoded
    rows["skip"], rows["codec"] = skip, codec
    return rows


def read(packed: bytes, decoded: int, codec: Codec, length: int, skip: int = 0) -> bytes:
    table = _native.SourceTable([MemorySource(packed, "stored")])
    buffer = bytearray(length)
    rows = packed_row(packed, decoded, codec, length, skip)
    _native.read_segment(table, rows, 0, buffer, codecs.decoder())
    return bytes(buffer)


def test_the_core_decodes_with_it() -> None:
    packed = raw_deflate(TEXT)
    assert read(packed, len(TEXT), Codec.DEFLATE, len(TEXT)) == TEXT
    assert read(packed, len(TEXT), Codec.DEFLATE, 100, skip=500) == TEXT[500:600]


def test_its_buffers_hold_the_largest_unit() -> None:
    data = bytes(MAX_UNIT - 1) + b"!"
    packed = zlib.compress(data)
    assert read(packed, MAX_UNIT, Codec.ZLIB, 2, skip=MAX_UNIT - 2) == b"\0!"
    incompressible = zlib.compress(np.random.default_rng(1).bytes(MAX_UNIT - 4096), 0)
    assert len(incompressible) <= MAX_UNIT
    assert len(read(incompressible, MAX_UNIT - 4096, Codec.ZLIB, 1)) == 1


def test_damage_says_where() -> None:
    with pytest.raises(CorruptImageError, match="does not decode to the 4096 bytes") as caught:
        read(b"\xff" * 100, 4096, Codec.DEFLATE, 4096)
    assert (caught.value.path, caught.value.offset) == ("stored", 0)
