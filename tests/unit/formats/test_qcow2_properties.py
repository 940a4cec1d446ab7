"""Any list of clusters, built into an image, comes back as that list and those bytes."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from vhdfast.image import open_image

from ...support import pattern, rows_of
from ...support.build_qcow import Qcow
from ...support.build_qcow2 import (
    COMPRESSION_TYPE,
    EXTENDED,
    Qcow2,
    raw_deflate,
    zstd_frame,
)

KINDS = ("none", "data", "zero", "zero-stored", "packed", "sub")
kinds = st.lists(st.sampled_from(KINDS), min_size=1, max_size=150)
masks = st.integers(0, (1 << 32) - 1)


def spread(stored: int, zeros: int, body: bytes, below: bytes) -> bytes:
    """What a cluster of subclusters reads as."""
    size = len(body) // 32
    parts = []
    for index in range(32):
        at = slice(index * size, index * size + size)
        if stored >> index & 1:
            parts.append(body[at])
        else:
            parts.append(bytes(size) if zeros >> index & 1 else below[at])
    return b"".join(parts)


@settings(max_examples=120, deadline=None)
@given(
    clusters=kinds,
    bits=st.sampled_from([9, 10, 12, 14]),
    extended=st.booleans(),
    zstd=st.booleans(),
    order=st.randoms(use_true_random=False),
    cut=st.just(0) | st.integers(0, 511),
    max_rows=st.sampled_from([1, 2, 7, 100, 65536]),
    with_base=st.booleans(),
    draw=st.data(),
)
def test_qcow2(clusters, bits, extended, zstd, order, cut, max_rows, with_base, draw):
    if extended:
        bits = 14
        clusters = clusters[:12]
    size = 1 << bits
    length = size * len(clusters) - cut
    features = (EXTENDED if extended else 0) | (COMPRESSION_TYPE if zstd else 0)
    base = pattern(99, length // 2) if with_base else b""
    below = base.ljust(length + cut, b"\0")
    disk = Qcow2(length, bits, incompatible=features, **(
        {"backing": "base", "backing_format": "raw"} if with_base else {}
    ))  # fmt: skip
    want = [below[number * size : (number + 1) * size] for number in range(len(clusters))]
    numbered = list(enumerate(clusters))
    order.shuffle(numbered)
    for number, kind in numbered:
        body = pattern(number, size)
        if kind == "data":
            disk.data(number, body)
            want[number] = body
        elif kind.startswith("zero"):
            disk.zero(number, body if kind == "zero-stored" else None)
            want[number] = bytes(size)
        elif kind == "packed":
            body = body[: size // 3].ljust(size, b"\0")
            disk.packed(number, zstd_frame(body) if zstd else raw_deflate(body))
            want[number] = body
        elif kind == "sub" and extended:
            stored = draw.draw(masks)
            zeros = draw.draw(masks) & ~stored
            disk.sub(number, body, stored, zeros)
            want[number] = spread(stored, zeros, body, want[number])
    with tempfile.TemporaryDirectory() as folder:
        path = disk.build().write(Path(folder) / "disk")
        (Path(folder) / "base").write_bytes(base or b"\0")
        with open_image(path, ask_holes=False) as image:
            rows = rows_of(image.windows(max_rows=max_rows))
            assert sum(row[1] for row in rows) == length
            for offset, _, kind, file, place in rows:
                if kind == "DATA" and file == 0:
                    assert place == disk.places[offset // size] + offset % size
            content = image.pread(0, length + 1)
        assert content == b"".join(want)[:length]
        # qemu counts whole sectors and would drop the rest.
        if shutil.which("qemu-img") and length % 512 == 0 and order.random() < 0.1:
            flat = Path(folder) / "flat"
            subprocess.run(
                ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, flat], check=True
            )
            assert flat.read_bytes() == content


@settings(max_examples=60, deadline=None)
@given(
    clusters=st.lists(st.sampled_from(["none", "data", "packed"]), min_size=1, max_size=150),
    bits=st.sampled_from([9, 12]),
    l2_bits=st.sampled_from([6, 9, 13]),
    order=st.randoms(use_true_random=False),
    cut=st.integers(0, 511),
    max_rows=st.sampled_from([1, 7, 65536]),
)
def test_qcow(clusters, bits, l2_bits, order, cut, max_rows):
    size = 1 << bits
    length = size * len(clusters) - cut
    disk = Qcow(length, bits, l2_bits)
    want = [bytes(size)] * len(clusters)
    places = {}
    numbered = list(enumerate(clusters))
    order.shuffle(numbered)
    for number, kind in numbered:
        body = pattern(number, size)
        if kind == "data":
            places[number] = disk.data(number, body)
            want[number] = body
        elif kind == "packed":
            body = body[: size // 3].ljust(size, b"\0")
            places[number] = disk.packed(number, raw_deflate(body))
            want[number] = body
    with tempfile.TemporaryDirectory() as folder:
        path = disk.build().write(Path(folder) / "disk")
        with open_image(path, ask_holes=False) as image:
            for offset, _, kind, _, place in rows_of(image.windows(max_rows=max_rows)):
                if kind != "ZERO":
                    assert place == places[offset // size]
            assert image.pread(0, length + 1) == b"".join(want)[:length]
