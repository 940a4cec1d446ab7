"""xz's own: blocks by the index, padding, checks, the limit on dictionaries."""

from __future__ import annotations

import lzma
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.build_streams import run_tool
from vhdfast.errors import UnsupportedImageError, VhdfastError
from vhdfast.files import SourceFile
from vhdfast.streams.xz import XzStream

Content = Callable[..., bytes]
Refused = Callable[..., VhdfastError]

DATA = random.Random(1).randbytes(1_000_000) + bytes(500_000)


def blocks_of(path: Path) -> int | None:
    with SourceFile(path) as source:
        parts = XzStream(source).parts()
        return None if parts is None else len(list(parts))


@pytest.fixture
def blocks(tmp_path: Path) -> bytes:
    """A stream of 15 blocks, with the sizes in their headers."""
    (tmp_path / "data").write_bytes(DATA)
    words = ("xz", "-0", "-T2", "--block-size=100000")
    path = run_tool(tmp_path / "data", tmp_path / "made", *words)
    return path.read_bytes()


def test_blocks_are_parts(blocks: bytes, content_of: Content, tmp_path: Path) -> None:
    assert content_of(blocks, "d.raw.xz") == DATA
    assert blocks_of(tmp_path / "d.raw.xz") == 15


def test_streams_and_padding_are_parts_too(
    blocks: bytes, content_of: Content, tmp_path: Path
) -> None:
    packed = blocks + bytes(8) + lzma.compress(b"") + blocks + bytes(4)
    assert content_of(packed, "d.raw.xz") == DATA + DATA
    assert blocks_of(tmp_path / "d.raw.xz") == 30


def test_streams_with_different_checks_are_decoded_by_one(
    blocks: bytes, content_of: Content, tmp_path: Path
) -> None:
    packed = blocks + lzma.compress(b"more", check=lzma.CHECK_SHA256)
    assert content_of(packed, "d.raw.xz") == DATA + b"more"
    assert blocks_of(tmp_path / "d.raw.xz") is None


@pytest.mark.parametrize("check", [lzma.CHECK_NONE, lzma.CHECK_CRC32, lzma.CHECK_SHA256])
def test_every_check(check: int, content_of: Content) -> None:
    packed = lzma.compress(DATA, check=check)
    assert content_of(packed + packed, "d.raw.xz") == DATA + DATA


@pytest.mark.parametrize("zeros", [1, 2, 3, 5])
def test_padding_comes_in_fours(zeros: int, refused: Refused, blocks: bytes) -> None:
    refused(blocks + bytes(zeros), "d.raw.xz", "follow the stream", offset=len(blocks))


def test_long_padding(content_of: Content, blocks: bytes) -> None:
    packed = blocks + bytes(200_000) + blocks
    assert content_of(packed, "d.raw.xz") == DATA + DATA


@pytest.mark.parametrize("at", [100, 50_000, 700_000, -30, -20, -10])
def test_damage_in_blocks_index_and_footer(at: int, blocks: bytes, refused: Refused) -> None:
    damaged = bytearray(blocks)
    damaged[at] ^= 4
    refused(bytes(damaged), "d.raw.xz")


def test_a_wrong_check_is_corrupt(refused: Refused) -> None:
    packed = bytearray(lzma.compress(DATA) * 2)
    # The check of a block is the last thing before the index, which begins with a zero byte.
    index = (int.from_bytes(packed[-8:-4], "little") + 1) * 4
    packed[-12 - index - 1] ^= 1
    refused(bytes(packed), "d.raw.xz", "Corrupt")


@pytest.mark.parametrize("change", [1, -1, 1 << 40])
def test_an_index_that_lies_is_corrupt(change: int, refused: Refused) -> None:
    one, other = lzma.compress(DATA), lzma.compress(b"more")
    length = (int.from_bytes(one[-8:-4], "little") + 1) * 4
    index = one[-12 - length : -12]
    assert index[:2] == b"\0\x01"
    at = 2
    while index[at] & 0x80:
        at += 1
    made = index[: at + 1] + varint(len(DATA) + change)
    made += bytes(-len(made) % 4)
    made += zlib.crc32(made).to_bytes(4, "little")
    footer = (len(made) // 4 - 1).to_bytes(4, "little") + one[-4:-2]
    made += zlib.crc32(footer).to_bytes(4, "little") + footer + b"YZ"
    refused(one[: -12 - length] + made + other, "d.raw.xz")


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def with_dictionary(bits: int) -> bytes:
    """A stream whose block asks for a dictionary of 2^(bits / 2 + 12) bytes, for even bits."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]
    packed = bytearray(lzma.compress(b"x" * 5000, filters=filters))
    end = 12 + (packed[12] + 1) * 4
    assert packed[14:17] == b"\x21\x01\x00"
    packed[16] = bits
    packed[end - 4 : end] = zlib.crc32(packed[12 : end - 4]).to_bytes(4, "little")
    return bytes(packed)


def test_a_dictionary_of_128_mib_is_read(content_of: Content) -> None:
    assert content_of(with_dictionary(30), "d.raw.xz") == b"x" * 5000
    assert content_of(with_dictionary(30) * 3, "d.raw.xz") == b"x" * 15000


@pytest.mark.parametrize("bits", [31, 32, 40])
def test_a_larger_dictionary_is_refused(bits: int, refused: Refused) -> None:
    for packed in (with_dictionary(bits), with_dictionary(0) + with_dictionary(bits)):
        refused(packed, "d.raw.xz", "129 MiB of memory", "xz -d", kind=UnsupportedImageError)


def test_a_filter_that_nobody_knows_is_refused(refused: Refused) -> None:
    packed = bytearray(with_dictionary(0))
    packed[14] = 0x5F
    end = 12 + (packed[12] + 1) * 4
    packed[end - 4 : end] = zlib.crc32(packed[12 : end - 4]).to_bytes(4, "little")
    refused(bytes(packed), "d.raw.xz", "not read", kind=UnsupportedImageError)
