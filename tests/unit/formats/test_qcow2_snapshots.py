"""qcow2: internal snapshots."""

from __future__ import annotations

import struct

import pytest

from vhdfast.errors import (
    CorruptImageError,
    InvalidImageError,
    UnsupportedImageError,
    UsageError,
)

from ...support import pattern, rows_of
from ...support.build_qcow2 import Qcow2, poke_field, raw_deflate

K64 = 65536


@pytest.fixture
def qcow2(opened):
    def open_it(file, name="disk.qcow2", **options):
        return opened(file, name, ask_holes=False, **options)

    return open_it


@pytest.fixture
def disk() -> Qcow2:
    """Of 4 clusters today; of 2 in snapshot 1 "before"; of 6 in snapshot 2 "1"."""
    made = Qcow2(4 * K64)
    made.data(0, pattern(10, K64))
    before = made.snapshot("1", "before", 2 * K64)
    before.data(0, pattern(1, K64))
    later = made.snapshot("2", "1", 6 * K64)
    later.data(5, pattern(2, K64))
    later.packed(0, raw_deflate(pattern(3, K64)))
    return made


def test_the_active_disk_is_read_where_no_snapshot_is_named(qcow2, disk):
    image = qcow2(disk.build())
    assert image.pread(0, 4 * K64) == pattern(10, K64) + bytes(3 * K64)


def test_a_snapshot_has_its_own_clusters_and_its_own_size(qcow2, disk):
    image = qcow2(disk.build(), snapshot="before")
    assert image.virtual_size == 2 * K64
    assert image.pread(0, 4 * K64) == pattern(1, K64) + bytes(K64)
    assert image.info().details["snapshot read"] == "1 'before'"


def test_an_id_comes_before_a_name(qcow2, disk):
    assert qcow2(disk.build(), snapshot="1").pread(0, K64) == pattern(1, K64)


def test_a_snapshot_of_a_larger_disk(qcow2, disk):
    image = qcow2(disk.build(), snapshot="2")
    want = pattern(3, K64) + bytes(4 * K64) + pattern(2, K64)
    assert image.pread(0, 7 * K64) == want


def test_a_snapshot_over_a_backing_file(qcow2, tmp_path):
    (tmp_path / "base.raw").write_bytes(pattern(9, 2 * K64))
    disk = Qcow2(2 * K64, backing="base.raw", backing_format="raw")
    disk.snapshot("1", "a", 2 * K64).data(1, pattern(1, K64))
    image = qcow2(disk.build(), snapshot="1")
    assert image.pread(0, 2 * K64) == pattern(9, 2 * K64)[:K64] + pattern(1, K64)


def test_a_name_is_only_for_the_image_that_is_named(qcow2, disk, tmp_path):
    disk.build().write(tmp_path / "base.qcow2")
    top = Qcow2(4 * K64, backing="base.qcow2", backing_format="qcow2")
    top.snapshot("1", "mine", 4 * K64)
    assert qcow2(top.build(), snapshot="mine").pread(0, K64) == pattern(10, K64)


def test_a_snapshot_without_extra_data_is_as_large_as_the_disk(qcow2):
    # As version 2 has it. The disk grew since: beyond the snapshot's table nothing is there.
    disk = Qcow2(3 << 20, 9, version=2)
    disk.snapshot("1", "old", None, l1_size=1).data(0, pattern(1, 512))
    image = qcow2(disk.build(), snapshot="old")
    assert image.virtual_size == 3 << 20
    assert image.pread(0, 512) == pattern(1, 512)
    assert rows_of(image.windows())[-1][:3] == (512, (3 << 20) - 512, "ZERO")


def test_info_lists_the_snapshots(qcow2, disk):
    details = qcow2(disk.build()).info().details
    assert details["snapshots"] == 2
    assert details["first snapshots"] == [
        {"id": "1", "name": "before", "date": "2023-11-14T22:13:20+00:00", "size": 2 * K64},
        {"id": "2", "name": "1", "date": "2023-11-14T22:13:20+00:00", "size": 6 * K64},
    ]


def test_info_lists_no_more_than_20(qcow2):
    disk = Qcow2(K64)
    for index in range(25):
        disk.snapshot(str(index), f"name {index}", K64)
    details = qcow2(disk.build()).info().details
    assert details["snapshots"] == 25
    assert [entry["id"] for entry in details["first snapshots"]] == [str(i) for i in range(20)]


def test_an_unknown_name_is_refused_with_what_there_is(refused, disk):
    error = refused(UsageError, disk.build(), "no snapshot 'after'", snapshot="after")
    assert error.hint == "there are: 1 'before', 2 '1'"


def test_a_name_where_there_are_none(refused):
    error = refused(UsageError, Qcow2(K64).build(), "no snapshot 'x'", snapshot="x")
    assert error.hint == "it has no snapshots"


def test_a_name_that_two_have_is_refused_with_both(refused):
    disk = Qcow2(K64)
    disk.snapshot("7", "same", K64)
    disk.snapshot("8", "same", K64)
    error = refused(
        UsageError, disk.build(), "the name of 2 snapshots: 7 'same', 8 'same'", snapshot="same"
    )
    assert error.hint == "say the id of the one that is meant"


def test_a_snapshot_of_a_disk_in_a_data_file(refused, tmp_path):
    (tmp_path / "d").write_bytes(bytes(K64))
    disk = Qcow2(K64, data_file="d")
    disk.snapshot("1", "a", K64)
    refused(UnsupportedImageError, disk.build(), "data lies in another file", snapshot="1")


@pytest.mark.parametrize("size", [0, 1 << 63, (1 << 64) - 1])
def test_a_snapshot_of_an_impossible_size(refused, disk, size):
    file = disk.build()
    file.put(disk.snapshots_offset + 48, struct.pack(">Q", size))
    refused(InvalidImageError, file, f"a disk of {size} bytes", snapshot="1",
            offset=disk.snapshots_offset + 48)  # fmt: skip


def test_a_snapshot_with_too_short_a_table(refused, disk):
    file = disk.build()
    file.put(disk.snapshots_offset + 8, bytes(4))
    refused(InvalidImageError, file, "the L1 table has 0 entries", snapshot="1",
            offset=disk.snapshots_offset + 8)  # fmt: skip


@pytest.mark.parametrize("place", [512, K64 + 512, 1 << 63 | 512])
def test_a_snapshot_whose_table_is_not_on_a_cluster(refused, disk, place):
    file = disk.build()
    file.put(disk.snapshots_offset, struct.pack(">Q", place))
    refused(InvalidImageError, file, "no multiple of 65536", snapshot="1",
            offset=disk.snapshots_offset)  # fmt: skip


def test_a_snapshot_whose_table_lies_outside(refused, disk):
    file = disk.build()
    file.put(disk.snapshots_offset, struct.pack(">Q", 1 << 40))
    refused(CorruptImageError, file, "the L1 table is said to lie at", snapshot="1",
            offset=disk.snapshots_offset)  # fmt: skip


# ---- damaged tables: the active disk is read all the same ---------------------------------------


@pytest.mark.parametrize(
    "change, kind, problem",
    [
        (("nb_snapshots", 65537), InvalidImageError, "65537 snapshots"),
        (("nb_snapshots", 0xFFFFFFFF), InvalidImageError, "4294967295 snapshots"),
        (("snapshots_offset", 8), InvalidImageError, "no multiple of 65536"),
        (("snapshots_offset", 1 << 63), InvalidImageError, "no multiple of 65536"),
        (("snapshots_offset", 1 << 50), CorruptImageError, "entry of snapshot 1 needs 40 bytes"),
    ],
)
def test_a_snapshot_table_that_cannot_be(qcow2, refused, codes, disk, change, kind, problem):
    file = poke_field(disk.build(), *change)
    refused(kind, file, problem, snapshot="1")
    image = qcow2(file)
    assert codes(image) == ["snapshots-damaged"]
    assert image.pread(0, K64) == pattern(10, K64)


def test_more_snapshots_than_the_table_holds(qcow2, refused, codes, disk):
    # The rest of the table's cluster reads as entries without name; then come other structures.
    file = poke_field(disk.build(), "nb_snapshots", 65536)
    refused(InvalidImageError, file, "entry of snapshot", snapshot="1")
    assert codes(qcow2(file)) == []


def test_too_much_extra_data(refused, disk):
    file = disk.build()
    file.put(disk.snapshots_offset + 36, struct.pack(">I", 1025))
    refused(InvalidImageError, file, "1025 bytes of extra data", snapshot="1",
            offset=disk.snapshots_offset + 36)  # fmt: skip


def test_extra_data_of_a_later_version_is_passed_over(qcow2):
    disk = Qcow2(K64)
    disk.snapshot("1", "a", K64).data(0, pattern(1, K64))
    file = disk.build()
    entry = file.get(disk.snapshots_offset, 56)
    longer = entry[:36] + struct.pack(">I", 64) + entry[40:56] + bytes(48) + b"1a"
    file.put(disk.snapshots_offset, longer)
    assert qcow2(file, snapshot="a").pread(0, K64) == pattern(1, K64)


def test_a_table_that_claims_too_many_bytes(refused):
    disk = Qcow2(K64)
    disk.snapshot("1", "a", K64)
    file = disk.build()
    at = disk.snapshots_offset
    entry = struct.pack(">QIHHIIQII", 0, 0, 0xFFFF, 0xFFFF, 0, 0, 0, 0, 0)
    step = -(-(40 + 2 * 0xFFFF) // 8) * 8
    for index in range(600):
        file.put(at + index * step, entry)
    file.size = at + 700 * step
    poke_field(file, "nb_snapshots", 600)
    refused(InvalidImageError, file, "takes more than 67108864 bytes", snapshot="1")
