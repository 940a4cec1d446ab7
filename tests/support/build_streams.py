"""Compressed streams put together by hand, and the programs that make real ones.

The standard library packs gzip, xz and bzip2; zstd frames are built here out of raw and RLE blocks,
so that every field of them can be chosen.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def zstd_frame(
    *blocks: bytes | tuple[bytes, int],
    window: int = 0x38,
    dictionary: bytes = b"",
    content_size: int | None = None,
) -> bytes:
    """A frame of raw blocks (bytes) and RLE blocks (byte, count), without checksum.

    window: the descriptor byte; 0x38 is 128 KiB. content_size: stated in eight bytes.
    """
    flags = {0: 0, 1: 1, 2: 2, 4: 3}[len(dictionary)]
    size = b"" if content_size is None else content_size.to_bytes(8, "little")
    out = ZSTD_MAGIC + bytes([flags | (0xC0 if size else 0), window]) + dictionary + size
    for index, block in enumerate(blocks):
        is_last = index == len(blocks) - 1
        if isinstance(block, bytes):
            out += (is_last | len(block) << 3).to_bytes(3, "little") + block
        else:
            out += (is_last | 1 << 1 | block[1] << 3).to_bytes(3, "little") + block[0]
    return out


def zstd_skippable(data: bytes, nibble: int = 0) -> bytes:
    return (0x184D2A50 + nibble).to_bytes(4, "little") + len(data).to_bytes(4, "little") + data


def bgzf_member(data: bytes) -> bytes:
    """A member of blocked gzip: its length stands in an extra field "BC"."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    length = 18 + len(body) + 8
    return (
        b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0"
        + (length - 1).to_bytes(2, "little")
        + body
        + zlib.crc32(data).to_bytes(4, "little")
        + len(data).to_bytes(4, "little")
    )


def pack_zstd(data: bytes) -> bytes:
    """With content size and checksum, as the zstd program writes a file."""
    zstandard = pytest.importorskip("zstandard")
    packed: bytes = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(data)
    return packed


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 6, mtime=0),
    "xz": lzma.compress,
    "zstd": pack_zstd,
    "bzip2": bz2.compress,
}
SUFFIXES = {"gzip": ".gz", "xz": ".xz", "zstd": ".zst", "bzip2": ".bz2"}


def run_tool(path: Path, target: Path, *words: str) -> Path:
    """A packing program from `path` to `target`; skips where it is not installed."""
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    with open(target, "wb") as out:
        subprocess.run([*words, "-c", str(path)], stdout=out, check=True)
    return target
