"""Where parts of a stream go, and what is remembered of them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import vhdfast
from vhdfast.streams import unpacking

MANY = 500


def zeros(blocks: int) -> bytes:
    """A zstd frame that states its size: blocks of 128 KiB of zeros, four bytes each."""
    size = 128 << 10
    head = b"\x28\xb5\x2f\xfd" + bytes([0x80, 0x38]) + struct.pack("<I", blocks * size)
    body = b"".join(
        (size << 3 | 2 | (at == blocks - 1)).to_bytes(3, "little") + b"\0" for at in range(blocks)
    )
    return head + body


def test_parts_that_are_done_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0

    class Watched(unpacking._Places):
        def tell(self, index: int, size: int) -> None:
            nonlocal most
            super().tell(index, size)
            most = max(most, len(self._begins))

    monkeypatch.setattr(unpacking, "_Places", Watched)
    (tmp_path / "d.raw.zst").write_bytes(zeros(32) * MANY)
    with vhdfast.open_image(tmp_path / "d.raw.zst", "raw") as image:
        assert image.virtual_size == MANY * 4 << 20
    assert 0 < most < 50
