"""zstd's own: frames of all sizes, skippable ones, windows, dictionaries."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import vhdfast
from tests.support import GIB, KIB, MIB
from tests.support.build_streams import ZSTD_MAGIC, pack_zstd, zstd_frame, zstd_skippable
from vhdfast.errors import (
    CorruptImageError,
    UnknownFormatError,
    UnsupportedImageError,
    VhdfastError,
)
from vhdfast.files import SourceFile
from vhdfast.streams.zstd import ZstdStream

Content = Callable[..., bytes]
Refused = Callable[..., VhdfastError]

PIECES = [random.Random(seed).randbytes(900_000) for seed in range(8)]


def parts_of(path: Path) -> list[int | None] | None:
    with SourceFile(path) as source:
        parts = ZstdStream(source).parts()
        return None if parts is None else [part.size for part in parts]


def raw_frame(data: bytes, content_size: int | None = None) -> bytes:
    blocks = [data[at : at + 128 * KIB] for at in range(0, len(data), 128 * KIB)]
    return zstd_frame(*blocks, content_size=content_size)


def test_frames_of_known_size_are_parts(content_of: Content, tmp_path: Path) -> None:
    assert content_of(b"".join(map(pack_zstd, PIECES)), "d.raw.zst") == b"".join(PIECES)
    assert parts_of(tmp_path / "d.raw.zst") == [1_800_000] * 4


def test_frames_of_unknown_size_are_parts(content_of: Content, tmp_path: Path) -> None:
    assert content_of(b"".join(map(raw_frame, PIECES)), "d.raw.zst") == b"".join(PIECES)
    assert parts_of(tmp_path / "d.raw.zst") == [None] * 4


def test_one_frame_is_no_parts(content_of: Content, tmp_path: Path) -> None:
    assert content_of(raw_frame(PIECES[0]), "d.raw.zst") == PIECES[0]
    assert parts_of(tmp_path / "d.raw.zst") is None


def test_skippable_frames_are_skipped(content_of: Content) -> None:
    packed = (
        zstd_skippable(b"\0\0\0\1") + raw_frame(PIECES[0]) + zstd_skippable(bytes(2 * MIB), 15)
        + raw_frame(PIECES[1]) + zstd_skippable(b"")
    )  # fmt: skip
    assert content_of(packed, "d.raw.zst") == PIECES[0] + PIECES[1]


@pytest.mark.parametrize("size", [1, 4, 7, 8, 9])
def test_a_skippable_frame_that_is_cut_is_corrupt(size: int, refused: Refused) -> None:
    packed = raw_frame(PIECES[0]) + zstd_skippable(b"xx")[:size]
    refused(packed, "d.raw.zst", "ends here", offset=len(packed))


def test_a_skippable_frame_of_something_else_is_no_stream(tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(zstd_skippable(b"xx") + b"\x04\x22\x4d\x18" + bytes(1000))
    with pytest.raises(UnknownFormatError):
        vhdfast.open_image(tmp_path / "d")


def test_rle_blocks_make_a_bomb_that_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "bomb.raw.zst"
    path.write_bytes(zstd_frame(*[(b"\0", 128 * KIB)] * 8192, b"x"))
    assert path.stat().st_size < 64 * KIB
    with vhdfast.open_image(path) as image:
        assert image.virtual_size == GIB + 1
        assert image.pread(GIB - 1, 9) == b"\0x"
        assert image.layer.source.allocated <= 4096  # type: ignore[attr-defined]


def test_a_wrong_checksum_is_corrupt(refused: Refused) -> None:
    packed = bytearray(pack_zstd(PIECES[0]))
    packed[-1] ^= 1
    refused(bytes(packed), "d.raw.zst", "checksum")


@pytest.mark.parametrize("window", [0x90, 0x89, 0xFF])
def test_a_larger_window_is_refused(window: int, refused: Refused) -> None:
    packed = zstd_frame(b"x", window=window)
    refused(packed, "d.raw.zst", "a window of", "--long", kind=UnsupportedImageError, offset=0)
    packed = zstd_frame(b"x") + packed
    refused(packed, "d.raw.zst", "a window of", kind=UnsupportedImageError, offset=10)


def test_a_window_of_128_mib_is_read(content_of: Content) -> None:
    assert content_of(zstd_frame(b"x", window=0x88) * 3, "d.raw.zst") == b"xxx"


@pytest.mark.parametrize("dictionary", [b"\x07", b"\x07\0", b"\x07\0\0\0"])
def test_a_dictionary_is_refused(dictionary: bytes, refused: Refused) -> None:
    packed = zstd_frame(b"x", dictionary=dictionary)
    refused(packed, "d.raw.zst", "needs dictionary 7", kind=UnsupportedImageError)


@pytest.mark.parametrize("stated", [0, 5, 899_999, 900_001, 1 << 40, 1 << 63, (1 << 64) - 2])
def test_a_stated_size_that_is_wrong_is_corrupt(stated: int, refused: Refused) -> None:
    wrong = raw_frame(PIECES[0], content_size=stated)
    refused(wrong, "d.raw.zst")
    refused(wrong + pack_zstd(PIECES[1]) + pack_zstd(PIECES[2]), "d.raw.zst")
    refused(pack_zstd(PIECES[1]) + wrong, "d.raw.zst")


@pytest.mark.parametrize("header", [b"\x06\0\0", b"\x01\x10\x10", b"\xff\xff\xff"])
def test_an_impossible_block_is_corrupt(header: bytes, refused: Refused) -> None:
    refused(ZSTD_MAGIC + b"\0\x38" + header + bytes(300_000), "d.raw.zst", "a block of type",
            offset=6)  # fmt: skip


def test_reserved_bits_are_refused(refused: Refused) -> None:
    packed = bytearray(zstd_frame(b"x"))
    packed[4] |= 8
    refused(bytes(packed), "d.raw.zst")


def test_a_hundred_thousand_empty_blocks_are_quick(content_of: Content) -> None:
    assert content_of(zstd_frame(*[b""] * 100_000, b"x"), "d.raw.zst") == b"x"


def test_a_hundred_thousand_empty_frames_are_quick(content_of: Content) -> None:
    assert content_of(zstd_frame(b"") * 100_000 + zstd_frame(b"x"), "d.raw.zst") == b"x"


def test_a_hole_in_the_file_is_not_read_as_endless_blocks(tmp_path: Path) -> None:
    path = tmp_path / "d.raw.zst"
    path.write_bytes(ZSTD_MAGIC + bytes([0x00, 0x38]))  # a frame whose blocks the hole then holds
    with open(path, "r+b") as file:
        file.truncate(16 * GIB)
    with pytest.raises(CorruptImageError, match="more than 131072 empty blocks") as caught:
        vhdfast.open_image(path)
    assert caught.value.offset == 6 + 3 * 131072


def test_an_impossible_compressed_block_ends_the_walk_over_frames(refused: Refused) -> None:
    block = (1 << 3 | 2 << 1).to_bytes(3, "little") + b"x"  # a compressed block of one byte
    packed = ZSTD_MAGIC + bytes([0x00, 0x38]) + block * 1000
    refused(packed, "d.raw.zst", "a block of type 2 with 1 bytes", offset=6)
