"""qcow2 and qcow: any field at its extremes, a cut at any place, random damage."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import KIB, MIB, SparseFile, pattern, poke
from tests.support import build_qcow as v1
from tests.support import build_qcow2 as v2
from tests.support.build_qcow import Qcow
from tests.support.build_qcow2 import EXTENDED, Qcow2, raw_deflate
from vhdfast import open_image
from vhdfast.errors import VhdfastError

CLUSTER = 4 * KIB
LENGTH = 40 * CLUSTER


def full(**options: object) -> tuple[Qcow2, SparseFile]:
    """A disk with something of everything, over a backing file."""
    bits = 14 if options.get("incompatible") else 12
    disk = Qcow2(LENGTH, bits, backing="base", backing_format="raw", **options)  # type: ignore[arg-type]
    size = 1 << bits
    disk.data(0, pattern(1, size))
    disk.zero(1)
    disk.zero(2, pattern(2, size))
    disk.packed(3, raw_deflate(pattern(3, size)))
    disk.sub(5, pattern(5, size), stored=0xFF, zeros=0xFF00)
    disk.packed(9, raw_deflate(pattern(9, size)))
    disk.snapshot("1", "before", LENGTH).data(0, pattern(4, size))
    return disk, disk.build()


def read_all(path: Path, **options: object) -> bytes | None:
    """The disk's first MiB, or None where a typed error refuses it."""
    begun = time.monotonic()
    try:
        with open_image(path, **options) as image:  # type: ignore[arg-type]
            image.info()
            rows = 0
            for window in image.windows():
                rows += len(window)
                if rows > 1 << 20:
                    break
            return image.pread(0, MIB)
    except VhdfastError as error:
        assert error.exit_code in (2, 4)
        return None
    finally:
        assert time.monotonic() - begun < 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base").write_bytes(pattern(7, LENGTH))
    return tmp_path


def extremes(size: int) -> tuple[int, ...]:
    top = 256**size - 1
    return (0, 1, 2, 511, 512, CLUSTER, top, top - 1, top // 2, top // 2 + 1, top - 511)


@pytest.mark.parametrize("features", [0, EXTENDED])
@pytest.mark.parametrize("field", sorted(v2.FIELDS))
def test_a_field_of_the_header_at_its_extremes(folder: Path, field: str, features: int) -> None:
    _, file = full(incompatible=features)
    path = file.write(folder / "disk")
    sound = read_all(path, format="qcow2")
    assert sound is not None
    at, size = v2.FIELDS[field]
    for value in extremes(size):
        before = poke(path, at, (value % 256**size).to_bytes(size, "big"))
        read_all(path, format="qcow2")
        read_all(path, format="qcow2", snapshot="1")
        read_all(path)
        poke(path, at, before)
    assert read_all(path) == sound


@pytest.mark.parametrize("field", sorted(v1.FIELDS))
def test_a_field_of_version_1_at_its_extremes(folder: Path, field: str) -> None:
    disk = Qcow(LENGTH, backing="base")
    disk.data(0, pattern(1, CLUSTER))
    disk.packed(3, raw_deflate(pattern(3, CLUSTER // 2).ljust(CLUSTER, b"\0")))
    path = disk.build().write(folder / "disk")
    sound = read_all(path, format="qcow", backing_format="raw")
    assert sound is not None
    at, size = v1.FIELDS[field]
    for value in extremes(size):
        before = poke(path, at, (value % 256**size).to_bytes(size, "big"))
        read_all(path, format="qcow", backing_format="raw")
        read_all(path)
        poke(path, at, before)
    assert read_all(path, format="qcow", backing_format="raw") == sound


@pytest.mark.parametrize("features", [0, EXTENDED])
def test_an_entry_of_a_table_with_any_bit_changed(folder: Path, features: int) -> None:
    disk, file = full(incompatible=features)
    path = file.write(folder / "disk")
    width = 16 if features else 8
    places = [disk.l1_offset, *(disk.l2[0] + width * n for n in (0, 1, 2, 3, 5, 6))]
    for place in places:
        for byte in range(width if place != disk.l1_offset else 8):
            for bit in range(8):
                old = file.get(place + byte, 1)
                poke(path, place + byte, bytes([old[0] ^ 1 << bit]))
                read_all(path)
                poke(path, place + byte, old)


@pytest.mark.parametrize("size", range(0, 64 * KIB, 509))
def test_a_file_cut_anywhere(folder: Path, size: int) -> None:
    disk, file = full()
    path = file.write(folder / "disk")
    sound = read_all(path)
    assert sound is not None
    with open(path, "r+b") as cut:
        cut.truncate(size)
    content = read_all(path, format="qcow2")
    # What it still has it reads as before, and zeros elsewhere.
    if content is not None and size < file.size:
        assert size > disk.l2[0] + CLUSTER
        assert len(content) == len(sound)
        differ = [i for i in range(0, len(sound), 512) if content[i:][:512] != sound[i:][:512]]
        assert all(content[i + 511] == 0 for i in differ)


def test_version_1_cut_anywhere(folder: Path) -> None:
    disk = Qcow(LENGTH)
    disk.data(0, pattern(1, CLUSTER))
    disk.packed(3, raw_deflate(pattern(3, CLUSTER // 2).ljust(CLUSTER, b"\0")))
    file = disk.build()
    path = file.write(folder / "disk")
    for size in range(file.size - 1, 0, -211):
        with open(path, "r+b") as cut:
            cut.truncate(size)
        # Its table lies last.
        assert read_all(path, format="qcow") is None


def test_l1_entries_that_all_name_one_table_are_no_endless_disk(tmp_path: Path) -> None:
    disk = Qcow2(1 << 46, 16)
    disk.data(0, pattern(1, 64 * KIB))
    file = disk.build()
    table = (disk.l2[0] | 1 << 63).to_bytes(8, "big")
    file.put(disk.l1_offset, table * (1 << 17))
    assert read_all(file.write(tmp_path / "disk")) is None


def test_a_chain_of_200_images_is_refused(tmp_path: Path) -> None:
    for number in range(200):
        below = f"disk{number + 1}"
        disk = Qcow2(CLUSTER, 12, backing=below, backing_format="qcow2")
        disk.build().write(tmp_path / f"disk{number}")
    with pytest.raises(VhdfastError, match="more than 128 images"):
        open_image(tmp_path / "disk0")


PLACES = st.sampled_from(["header", "l1", "l2", "snapshots", "anywhere"])


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    damage=st.lists(
        st.tuples(PLACES, st.integers(0, 200), st.binary(min_size=1, max_size=16)),
        min_size=1,
        max_size=4,
    ),
    features=st.sampled_from([0, EXTENDED]),
    snapshot=st.sampled_from([None, "1"]),
)
def test_random_damage_never_ends_otherwise(
    tmp_path: Path, damage: list[tuple[str, int, bytes]], features: int, snapshot: str | None
) -> None:
    (tmp_path / "base").write_bytes(pattern(7, LENGTH))
    disk, file = full(incompatible=features)
    path = file.write(tmp_path / "disk")
    starts = {
        "header": 0, "l1": disk.l1_offset, "l2": disk.l2[0], "snapshots": disk.snapshots_offset,
        "anywhere": file.size // 2,
    }  # fmt: skip
    for place, at, data in damage:
        poke(path, starts[place] + at, data)
    read_all(path, format="qcow2", snapshot=snapshot)


@pytest.mark.parametrize(("bits", "tables"), [(16, 8192), (21, 256)])
def test_tables_in_a_hole_of_the_file_are_soon_read(tmp_path, bits, tables):
    size = 1 << bits
    first = -(-8 * tables // size) + 1
    header = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, bits, tables * size // 8 * size, 0, tables, size,
        0, 0, 0, 0,
    )  # fmt: skip
    places = struct.pack(f">{tables}Q", *((first + at) * size for at in range(tables)))
    path = tmp_path / "disk.qcow2"
    path.write_bytes(header.ljust(size, b"\0") + places)
    os.truncate(path, (first + tables) * size)
    before = time.process_time()
    with open_image(path) as image:
        assert {e.kind.name for window in image.windows() for e in window} == {"ZERO"}
    assert time.process_time() - before < 3
