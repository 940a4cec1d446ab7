"""Streams from strangers: whatever the bytes are, only the documented errors, and nothing stays."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vhdfast
from tests.support.build_streams import (
    PACKERS,
    SUFFIXES,
    bgzf_member,
    pack_zstd,
    zstd_frame,
    zstd_skippable,
)
from vhdfast.errors import ImageError

KINDS = sorted(PACKERS)
DATA = random.Random(7).randbytes(3000) + bytes(9000) + b"abc" * 500
MADE = {
    "gzip": bgzf_member(DATA) + bgzf_member(b"") + PACKERS["gzip"](DATA) + bytes(4),
    "xz": PACKERS["xz"](DATA) + bytes(4) + PACKERS["xz"](DATA[:100]) + PACKERS["xz"](b""),
    "zstd": zstd_skippable(b"abcd") + zstd_frame(b"x" * 50, (b"y", 70), content_size=120)
    + zstd_frame(b"") + pack_zstd(DATA),
    "bzip2": PACKERS["bzip2"](DATA) + PACKERS["bzip2"](b"") + PACKERS["bzip2"](b"abc"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def spool_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "spool"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    assert list(place.iterdir()) == []


def try_to_read(path: Path, packed: bytes) -> str:
    path.write_bytes(packed)
    started = time.monotonic()
    try:
        with vhdfast.open_image(path, "raw") as image:
            image.pread(0, min(image.virtual_size, 1 << 20))
            answer = "read"
    except ImageError as error:
        assert error.path == str(path)
        answer = error.code
    assert time.monotonic() - started < 5
    return answer


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_at_extremes(kind: str, tmp_path: Path) -> None:
    made = MADE[kind]
    path = tmp_path / f"d.raw{SUFFIXES[kind]}"
    assert try_to_read(path, made) == "read"
    places = [*range(min(60, len(made))), *range(60, len(made) - 60, 61)]
    places += range(max(60, len(made) - 60), len(made))
    answers = set()
    for at in places:
        for value in {0, 0x80, 0xFF, made[at] ^ 1, made[at] ^ 0x40}:
            changed = bytearray(made)
            changed[at] = value
            answers.add(try_to_read(path, bytes(changed)))
    assert answers <= {"read", "corrupt-image", "unsupported-image"}
    assert "corrupt-image" in answers


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation(kind: str, tmp_path: Path) -> None:
    made = MADE[kind]
    path = tmp_path / f"d.raw{SUFFIXES[kind]}"
    for size in {*range(120), *range(120, len(made), 37), *range(len(made) - 80, len(made))}:
        answer = try_to_read(path, made[:size])
        assert answer in ("read", "corrupt-image", "invalid-image")


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_noise_behind_the_magic(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    made = MADE[kind]
    kept = data.draw(st.integers(8, 40))
    noise = data.draw(st.binary(max_size=300))
    try_to_read(tmp_path / f"d.raw{SUFFIXES[kind]}", made[:kept] + noise)


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.one_of(st.binary(max_size=200), st.integers(0, 300_000).map(bytes)),
        min_size=1, max_size=8,
    )
)  # fmt: skip
def test_any_content_in_any_streams(kind: str, tmp_path: Path, pieces: list[bytes]) -> None:
    whole = b"".join(pieces) + b"!"
    packed = b"".join(map(PACKERS[kind], [*pieces, b"!"]))
    path = tmp_path / f"d.raw{SUFFIXES[kind]}"
    path.write_bytes(packed)
    with vhdfast.open_image(path, "raw") as image:
        assert image.pread(0, len(whole) + 1) == whole
