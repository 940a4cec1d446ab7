"""bzip2's own: several streams on several threads."""

from __future__ import annotations

import bz2
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from vhdfast.errors import VhdfastError
from vhdfast.files import SourceFile
from vhdfast.streams import unpacking as module
from vhdfast.streams.bzip2 import Bzip2Stream

Content = Callable[..., bytes]
Refused = Callable[..., VhdfastError]

PIECES = [random.Random(seed).randbytes(500_000) for seed in range(8)]
PACKED = b"".join(map(bz2.compress, PIECES))


def test_streams_are_parts(content_of: Content, tmp_path: Path) -> None:
    assert content_of(PACKED, "d.raw.bz2") == b"".join(PIECES)
    with SourceFile(tmp_path / "d.raw.bz2") as source:
        parts = list(Bzip2Stream(source).parts() or ())
    assert [part.index for part in parts] == [0, 1, 2]
    assert parts[0].length == sum(len(bz2.compress(piece)) for piece in PIECES[:3])
    assert parts[-1].offset + parts[-1].length == len(PACKED)


def test_parts_that_may_hold_nothing_wait_for_their_place(
    content_of: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_BY_ONE", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert content_of(PACKED, "d.raw.bz2") == b"".join(PIECES)


def test_parts_that_take_much_memory_go_one_by_one(
    content_of: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEMORY", 8 << 20)
    monkeypatch.setattr("vhdfast.streams.bzip2.MEMORY", 5 << 20)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert content_of(PACKED, "d.raw.bz2") == b"".join(PIECES)


@pytest.mark.parametrize("which", [0, 3, 7])
def test_damage_in_any_part_ends_the_others(which: int, refused: Refused) -> None:
    at = sum(len(bz2.compress(piece)) for piece in PIECES[:which]) + 1000
    damaged = bytearray(PACKED)
    damaged[at] ^= 1
    refused(bytes(damaged), "d.raw.bz2", "block or checksum")


def test_what_only_looks_like_a_stream_is_garbage(refused: Refused) -> None:
    refused(bz2.compress(b"x") + b"BZhello world", "d.raw.bz2")


def test_a_stream_is_found_across_the_border_of_what_is_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "d"
    for at in range((1 << 20) - 10, (1 << 20) + 2):
        path.write_bytes(bytes(at) + bz2.compress(b"x"))
        with SourceFile(path) as source:
            assert list(Bzip2Stream(source)._starts(1, source.size)) == [at]
