"""VMDK: any disk that the builder can write is read back, grain by grain; qemu-img agrees."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import pattern
from tests.support.build_vmdk import (
    descriptor,
    write_cowd,
    write_descriptor,
    write_sesparse,
    write_sparse,
    write_stream,
)
from vhdfast import open_image
from vhdfast.extents import Kind

SETTINGS = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
GRAIN = 8  # sectors
SIZE = GRAIN * 512

contents = st.dictionaries(st.integers(0, 1100), st.integers(0, 1000), max_size=12)
tails = st.integers(1, GRAIN)


def disk_of(grains: dict[int, int], tail: int) -> tuple[int, dict[int, bytes], bytes]:
    """(sectors, grains as they are written, all bytes of the disk)."""
    last = max(grains, default=0)
    sectors = last * GRAIN + tail
    bodies = {number: pattern(seed, SIZE) for number, seed in grains.items()}
    whole = bytearray((last + 1) * SIZE)
    for number, body in bodies.items():
        whole[number * SIZE : (number + 1) * SIZE] = body
    return sectors, bodies, bytes(whole[: sectors * 512])


def reads_as(path: Path, expected: bytes, qemu: bool) -> None:
    for holes in (True, False):
        with open_image(path, ask_holes=holes) as image:
            assert image.virtual_size == len(expected)
            assert image.pread(0, len(expected)) == expected
            for window in image.windows(max_rows=100):
                for extent in window:
                    if extent.kind == Kind.ZERO:
                        assert not expected[extent.offset : extent.end].strip(b"\0")
    if qemu and shutil.which("qemu-img"):
        flat = path.with_suffix(".raw")
        subprocess.run(
            ["qemu-img", "convert", "-f", "vmdk", "-O", "raw", str(path), str(flat)], check=True
        )
        assert flat.read_bytes() == expected


@SETTINGS
@given(grains=contents, tail=tails, order=st.randoms(use_true_random=False),
       redundant=st.booleans())  # fmt: skip
def test_sparse(
    grains: dict[int, int], tail: int, order: object, redundant: bool
) -> None:
    sectors, bodies, expected = disk_of(grains, tail)
    numbers = list(bodies)
    order.shuffle(numbers)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "d.vmdk")
        write_sparse(path, sectors, bodies, grain=GRAIN, order=numbers, redundant=redundant)
        reads_as(path, expected, qemu=True)


@SETTINGS
@given(grains=contents, tail=tails, footer=st.booleans(), level=st.integers(0, 9))
def test_stream(grains: dict[int, int], tail: int, footer: bool, level: int) -> None:
    sectors, bodies, expected = disk_of(grains, tail)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "d.vmdk")
        write_stream(path, sectors, bodies, grain=GRAIN, footer=footer, level=level)
        reads_as(path, expected, qemu=True)


@SETTINGS
@given(grains=contents, tail=tails)
def test_cowd(grains: dict[int, int], tail: int) -> None:
    sectors, bodies, expected = disk_of(grains, tail)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "d.vmdk")
        write_cowd(path, sectors, bodies, grain=GRAIN)
        reads_as(path, expected, qemu=False)


@SETTINGS
@given(grains=contents, tail=tails)
def test_sesparse(grains: dict[int, int], tail: int) -> None:
    sectors, bodies, expected = disk_of(grains, tail)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "d.vmdk")
        write_sesparse(path, sectors, dict(bodies))
        reads_as(path, expected, qemu=False)


PIECES = st.lists(
    st.tuples(st.sampled_from(["FLAT", "ZERO", "SPARSE", "stream"]), st.integers(1, 40)),
    min_size=1, max_size=12,
)  # fmt: skip


@SETTINGS
@given(pieces=PIECES)
def test_any_row_of_extents(pieces: list[tuple[str, int]]) -> None:
    expected, lines = b"", []
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for index, (kind, sectors) in enumerate(pieces):
            body = pattern(index, sectors * 512)
            grains = {n: body[SIZE * n : SIZE * (n + 1)] for n in range(-(-sectors // GRAIN))}
            name = folder / str(index)
            if kind == "FLAT":
                name.write_bytes(b"-" * 1024 + body)
                lines.append(f'RW {sectors} FLAT "{index}" 2')
            elif kind == "ZERO":
                body = bytes(sectors * 512)
                lines.append(f"RW {sectors} ZERO")
            else:
                write = write_sparse if kind == "SPARSE" else write_stream
                write(name, sectors, grains, grain=GRAIN, text=None)  # type: ignore[operator]
                lines.append(f'RW {sectors} SPARSE "{index}"')
            expected += body
        path = write_descriptor(folder / "d.vmdk", lines)
        reads_as(path, expected, qemu=False)


@pytest.mark.parametrize("zeroed", [False, True])
@settings(parent=SETTINGS, max_examples=8)
@given(below=contents, above=contents)
def test_layers(zeroed: bool, below: dict[int, int], above: dict[int, int]) -> None:
    sectors = 1101 * GRAIN
    lower = {number: pattern(seed, SIZE) for number, seed in below.items()}
    upper: dict[int, bytes | None] = {
        number: None if zeroed and seed % 2 else pattern(2000 + seed, SIZE)
        for number, seed in above.items()
    }
    whole = bytearray(sectors * 512)
    for grains in (lower, upper):
        for number, body in grains.items():
            whole[number * SIZE : (number + 1) * SIZE] = body or bytes(SIZE)
    with tempfile.TemporaryDirectory() as folder:
        line = [f'RW {sectors} SPARSE "x"']
        base = descriptor(line, "monolithicSparse", cid="0000beef")
        write_sparse(Path(folder, "base.vmdk"), sectors, lower, grain=GRAIN, text=base)
        text = descriptor(line, "monolithicSparse", parent="0000beef", hint="base.vmdk")
        path = Path(folder, "d.vmdk")
        write_sparse(path, sectors, upper, grain=GRAIN, text=text)
        reads_as(path, bytes(whole), qemu=not zeroed)
