"""Geometries: values of the specification's algorithm, and the sizes that qemu-img makes."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import MIB
from vhdfast.formats.vhd.geometry import LARGEST_SIZE, geometry_for, rounded_up, size_of

GIB = 1024 * MIB
SECTOR = 512
LONG_TRACKS = 65535 * 16 * 63 * SECTOR


@pytest.mark.parametrize(
    ("size", "geometry"),
    [
        (0, (0, 4, 17)),
        # Read from footers that Azure, VirtualBox and Hyper-V wrote.
        (5 * GIB, (0x28A2, 16, 63)),
        (40 * MIB, (963, 5, 17)),
        (136_365_211_648, (65278, 16, 255)),
    ],
)
def test_geometries_of_real_disks(size: int, geometry: tuple[int, int, int]) -> None:
    assert geometry_for(size) == geometry


def test_what_is_larger_gets_the_largest_geometry() -> None:
    assert geometry_for(LARGEST_SIZE) == (65535, 16, 255)
    assert geometry_for(2048 * GIB) == (65535, 16, 255)
    assert LARGEST_SIZE == 136_899_993_600


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        (64 * MIB, 67_125_248),
        (GIB, 1_073_995_776),
        (10 * GIB, 10_737_893_376),  # both are in people's reports of what Azure refused
        (20 * GIB, 21_475_270_656),
        (100 * GIB, 107_374_632_960),
        (104_349 * SECTOR, 104_363 * SECTOR),  # its own geometry has fewer heads
        (128 * GIB, 128 * GIB),
        (LARGEST_SIZE - SECTOR, LARGEST_SIZE - SECTOR),  # only the largest geometry would do
        (1, 34_816),
    ],
)
def test_rounded_sizes_that_are_known(asked: int, made: int) -> None:
    assert rounded_up(asked) == made


def footer_of(path: Path) -> tuple[int, int]:
    """(current size, bytes that the geometry spans)."""
    with open(path, "rb") as file:
        file.seek(-512, 2)
        footer = file.read()
    (size,) = struct.unpack_from(">Q", footer, 48)
    cylinders, heads, sectors = struct.unpack_from(">HBB", footer, 56)
    return size, cylinders * heads * sectors * 512


def test_qemu_makes_disks_of_these_sizes(tmp_path: Path, qemu_img: Callable[..., str]) -> None:
    chance = random.Random(20)
    sizes = [chance.randrange(1, LARGEST_SIZE // SECTOR) * SECTOR for _ in range(120)]
    sizes += [chance.randrange(1, 2 * GIB // SECTOR) * SECTOR for _ in range(80)]
    sizes += [chance.randrange(1, 130_559) * MIB for _ in range(60)]
    edges = (17 * 4 * 1024, 17 * 16 * 1024, 31 * 16 * 1024, LONG_TRACKS // SECTOR)
    sizes += [(edge + step) * SECTOR for edge in edges for step in (-300, -1, 0, 1, 17)]
    sizes += [LARGEST_SIZE - SECTOR, LARGEST_SIZE, LARGEST_SIZE + SECTOR, 200 * GIB]
    path = tmp_path / "disk.vhd"
    wrong = []
    for size in sizes:
        qemu_img("create", "-q", "-f", "vpc", "-o", "subformat=fixed", path, size)
        made, spanned = footer_of(path)
        if rounded_up(size) != made:
            wrong.append((size, rounded_up(size), made))
        assert made == spanned or spanned == LARGEST_SIZE
    assert not wrong
    assert len(sizes) > 280


def test_a_geometry_never_spans_more_than_the_disk() -> None:
    chance = random.Random(21)
    for _ in range(2000):
        size = chance.randrange(68 * SECTOR, LARGEST_SIZE)
        assert 0 < size_of(geometry_for(size)) <= size
