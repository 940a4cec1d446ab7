"""gzip's own: padding, headers, BGZF."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

import vhdfast
from tests.support.build_streams import bgzf_member
from vhdfast.errors import CorruptImageError, VhdfastError
from vhdfast.files import SourceFile
from vhdfast.streams.gzip import GzipStream

Content = Callable[..., bytes]
Refused = Callable[..., VhdfastError]

DATA = random.Random(1).randbytes(70_000)
BLOCKS = [random.Random(seed).randbytes(60_000) for seed in range(60)]
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


@pytest.mark.parametrize("zeros", [1, 511, 70_000])
def test_zeros_may_follow(zeros: int, content_of: Content) -> None:
    assert content_of(gzip.compress(DATA) + bytes(zeros), "d.raw.gz") == DATA


def test_a_hole_behind_the_stream_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "d.raw.gz"
    packed = gzip.compress(DATA)
    path.write_bytes(packed)
    with open(path, "r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(CorruptImageError, match="bytes that are no gzip stream") as caught:
        vhdfast.open_image(path)
    assert caught.value.offset == len(packed)


def test_a_member_may_follow_zeros(content_of: Content) -> None:
    packed = gzip.compress(DATA) + bytes(100_000) + gzip.compress(b"more")
    assert content_of(packed, "d.raw.gz") == DATA + b"more"


def test_a_header_with_all_its_fields(content_of: Content) -> None:
    plain = gzip.compress(DATA, mtime=0)
    head = b"\x1f\x8b\x08\x1e" + plain[4:10] + b"\x03\0abc" + b"name\0" + b"comment\0"
    head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    assert content_of(head + plain[10:], "d.raw.gz") == DATA


def test_a_wrong_checksum_is_corrupt(refused: Refused) -> None:
    packed = bytearray(gzip.compress(DATA))
    packed[-8] ^= 1
    refused(bytes(packed), "d.raw.gz", "incorrect data check")


def test_a_wrong_length_is_corrupt(refused: Refused) -> None:
    packed = bytearray(gzip.compress(DATA))
    packed[-4] ^= 1
    refused(bytes(packed), "d.raw.gz", "incorrect length check")


def test_bgzf_decodes_in_parts(content_of: Content, tmp_path) -> None:  # type: ignore[no-untyped-def]
    packed = b"".join(map(bgzf_member, BLOCKS)) + BGZF_END
    assert content_of(packed, "d.raw.gz") == b"".join(BLOCKS)
    with SourceFile(tmp_path / "d.raw.gz") as source:
        parts = list(GzipStream(source).parts() or ())
    assert len(parts) == 4
    assert sum(part.length for part in parts) == len(packed)
    assert sum(part.size or 0 for part in parts) == 60 * 60_000


def test_other_members_may_follow_bgzf(content_of: Content) -> None:
    packed = b"".join(map(bgzf_member, BLOCKS)) + gzip.compress(DATA) + bytes(9)
    assert content_of(packed, "d.raw.gz") == b"".join(BLOCKS) + DATA


def test_bgzf_that_is_cut_is_corrupt(refused: Refused) -> None:
    packed = b"".join(map(bgzf_member, BLOCKS))
    refused(packed[:-1], "d.raw.gz", "ends here", offset=len(packed) - 1)
    refused(packed[: len(packed) // 2 - 9], "d.raw.gz", "ends here")


def test_bgzf_that_lies_about_its_size_is_corrupt(refused: Refused) -> None:
    first = bytearray(bgzf_member(BLOCKS[0]))
    first[-1] = 0x7F
    refused(bytes(first) + b"".join(map(bgzf_member, BLOCKS)), "d.raw.gz")


@pytest.mark.parametrize("length", [0, 10, 25, 30_000])
def test_bgzf_that_lies_about_its_length_is_corrupt_or_read(
    length: int, content_of: Content
) -> None:
    # The length is a hint for finding members; where it is wrong, none is found there.
    first = bytearray(bgzf_member(BLOCKS[0]))
    first[16:18] = length.to_bytes(2, "little")
    packed = bytes(first) + b"".join(map(bgzf_member, BLOCKS[1:]))
    try:
        assert content_of(packed, "d.raw.gz") == b"".join(BLOCKS)
    except VhdfastError as error:
        assert error.code == "corrupt-image"
