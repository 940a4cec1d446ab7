"""qcow2: clusters, sizes, what is said of an image. test_qcow2_*.py have the other subjects."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tests.support.far import Far
from vhdfast import open_image
from vhdfast.errors import AmbiguousFormatError, UnknownFormatError
from vhdfast.files import FileSlice, SourceFile
from vhdfast.formats import open_format
from vhdfast.image import Image

from ...support import GIB, SparseFile, pattern, rows_of
from ...support.build_qcow2 import CORRUPT, DIRTY, EXTENDED, Qcow2, poke_field, raw_deflate

K64 = 65536


def the_map(image, **options):
    return rows_of(image.windows(**options))


@pytest.fixture
def qcow2(opened):
    """Open a built image as its tables have it, whatever the file system knows of holes."""

    def open_it(file, name="disk.qcow2", **options):
        return opened(file, name, ask_holes=False, **options)

    return open_it


# ---- the map ------------------------------------------------------------------------------------


def test_an_empty_disk_is_one_row_of_zeros(qcow2):
    image = qcow2(Qcow2(GIB).build())
    assert the_map(image) == [(0, GIB, "ZERO", None, None)]
    assert image.pread(0, 4096) == bytes(4096)
    assert image.notices == ()


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("bits", [9, 16, 21])
def test_clusters_lie_where_the_tables_say(qcow2, version, bits):
    size = 1 << bits
    disk = Qcow2(4 * size, bits, version)
    disk.data(3, pattern(3, size))
    disk.data(1, pattern(1, size))
    image = qcow2(disk.build())
    assert the_map(image) == [
        (0, size, "ZERO", None, None),
        (size, size, "DATA", 0, disk.places[1]),
        (2 * size, size, "ZERO", None, None),
        (3 * size, size, "DATA", 0, disk.places[3]),
    ]
    assert disk.places[1] == disk.places[3] + size
    assert image.pread(0, 4 * size) == (
        bytes(size) + pattern(1, size) + bytes(size) + pattern(3, size)
    )


def test_clusters_that_follow_each_other_are_one_row(qcow2):
    disk = Qcow2(4 * K64)
    for cluster in range(4):
        disk.data(cluster, pattern(cluster, K64))
    image = qcow2(disk.build())
    assert the_map(image) == [(0, 4 * K64, "DATA", 0, disk.places[0])]


def test_zero_clusters_read_as_zeros_stored_or_not(qcow2):
    disk = Qcow2(3 * K64)
    disk.zero(0)
    disk.zero(1, body=pattern(1, K64))
    disk.data(2, pattern(2, K64))
    image = qcow2(disk.build())
    assert the_map(image)[0] == (0, 2 * K64, "ZERO", None, None)
    assert image.pread(0, 2 * K64) == bytes(2 * K64)
    assert image.pread(2 * K64, 16) == pattern(2, 16)


@pytest.mark.parametrize("tail", [1, 512, K64 - 1])
def test_a_disk_may_end_inside_a_cluster(qcow2, tail):
    disk = Qcow2(K64 + tail)
    disk.data(1, pattern(1, K64))
    image = qcow2(disk.build())
    assert image.virtual_size == K64 + tail
    assert the_map(image) == [
        (0, K64, "ZERO", None, None),
        (K64, tail, "DATA", 0, disk.places[1]),
    ]
    assert image.pread(K64, 2 * K64) == pattern(1, tail)


def test_entries_beyond_the_disk_are_not_looked_at(qcow2):
    disk = Qcow2(K64)
    disk.data(0, pattern(0, K64))
    disk.entry(1, 0x1FE)  # reserved bits: refused within the disk
    assert the_map(qcow2(disk.build())) == [(0, K64, "DATA", 0, disk.places[0])]


def test_l1_entries_beyond_the_disk_are_not_looked_at(qcow2):
    # There lies the state of a machine.
    disk = Qcow2(K64, l1_size=3)
    file = disk.build()
    file.put(disk.l1_offset + 8, b"\xff" * 16)
    assert the_map(qcow2(file)) == [(0, K64, "ZERO", None, None)]


def test_two_clusters_of_the_disk_may_share_one_of_the_file(qcow2):
    # Nothing forbids it: reference counts of 2 and more are what clusters have such for.
    disk = Qcow2(2 * K64)
    disk.data(0, pattern(1, K64))
    disk.build()
    disk.entry(1, disk.places[0])
    image = qcow2(disk.build())
    assert image.pread(0, 2 * K64) == pattern(1, K64) * 2


def test_the_bit_for_a_single_reference_says_nothing_to_readers(qcow2):
    disk = Qcow2(2 * K64)
    disk.data(0, pattern(1, K64))
    file = disk.build()
    file.put(disk.l2[0], disk.places[0].to_bytes(8, "big"))
    file.put(disk.l1_offset, disk.l2[0].to_bytes(8, "big"))
    assert qcow2(file).pread(0, K64) == pattern(1, K64)


def test_reference_counts_are_not_read(qcow2):
    disk = Qcow2(K64)
    disk.data(0, pattern(1, K64))
    file = disk.build()
    for name in ("refcount_table_offset", "refcount_table_clusters", "refcount_order"):
        poke_field(file, name, 0xFFFFFFFF)
    assert qcow2(file).pread(0, K64) == pattern(1, K64)


def test_a_last_cluster_cut_by_the_end_of_the_file(qcow2, codes):
    disk = Qcow2(K64)
    disk.data(0, pattern(1, K64))
    file = disk.build()
    file.cut(disk.places[0] + 1000)
    image = qcow2(file)
    assert the_map(image) == [
        (0, 1000, "DATA", 0, disk.places[0]),
        (1000, K64 - 1000, "ZERO", None, None),
    ]
    assert image.pread(0, K64) == pattern(1, 1000) + bytes(K64 - 1000)
    assert codes(image) == ["short-block"]


@pytest.mark.parametrize("max_rows", [1, 2, 300, 65536])
def test_tables_of_64_entries_are_read_many_at_once(qcow2, max_rows):
    # 512-byte clusters: an L2 table speaks for 32 KiB.
    disk = Qcow2(1 << 20, 9)
    chosen = [*range(0, 2048, 7), 63, 64, 1023, 1024, 2047]
    for cluster in chosen:
        disk.data(cluster, pattern(cluster, 512))
    want = bytearray(1 << 20)
    for cluster in chosen:
        want[512 * cluster : 512 * cluster + 512] = pattern(cluster, 512)
    image = qcow2(disk.build())
    rows = the_map(image, max_rows=max_rows)
    assert sum(row[1] for row in rows) == 1 << 20
    data = {row[0]: row[4] for row in rows if row[2] == "DATA" and row[1] == 512}
    assert data[7 * 512] == disk.places[7]
    assert image.pread(0, 1 << 20) == bytes(want)


def test_one_window_covers_a_thousand_tables(qcow2):
    size = 1024 * 32768
    disk = Qcow2(size, 9)
    for table in range(1024):
        disk.data(64 * table, b"x")
    image = qcow2(disk.build())
    (window,) = image.windows()
    assert len(window) == 2048


def test_windows_may_begin_and_end_anywhere(qcow2):
    disk = Qcow2(1 << 20, 12)
    for cluster in range(0, 256, 3):
        disk.data(cluster, pattern(cluster, 4096))
    image = qcow2(disk.build())
    window = image.extents(5000, 9000)
    assert [(row.offset, row.length, row.kind.name) for row in window] == [
        (5000, 12288 - 5000, "ZERO"),
        (12288, 1712, "DATA"),
    ]


# ---- large disks --------------------------------------------------------------------------------


def test_an_empty_disk_of_8_tib_is_mapped_at_once(qcow2):
    image = qcow2(Qcow2(8 << 40).build())
    begun = time.monotonic()
    assert the_map(image) == [(0, 8 << 40, "ZERO", None, None)]
    assert time.monotonic() - begun < 0.5


def test_an_empty_disk_with_the_largest_l1_table(qcow2):
    # 4 194 304 entries, of 2 MiB in reach each.
    size = (4 << 20) * (2 << 20)
    image = qcow2(Qcow2(size, 12).build())
    begun = time.monotonic()
    assert sum(len(window) for window in image.windows()) == 64
    assert time.monotonic() - begun < 1


def test_a_fragmented_disk_is_walked_in_little_memory(tmp_path):
    # 128 GiB in clusters of 64 KiB, each two clusters behind the one before.
    disk = Qcow2(128 * GIB)
    path = disk.build().write(tmp_path / "d.qcow2")
    tables = 1 << 20
    clusters = np.arange(1 << 21, dtype=np.uint64)
    with open(path, "r+b") as file:
        file.seek(disk.l1_offset)
        l2 = np.arange(256, dtype=np.uint64) * np.uint64(K64) + np.uint64(tables | 1 << 63)
        file.write(l2.astype(">u8").tobytes())
        file.seek(tables)
        entries = clusters * np.uint64(2 * K64) + np.uint64(1 << 30 | 1 << 63)
        file.write(entries.astype(">u8").tobytes())
        file.truncate(257 * GIB)
    with open_image(path, ask_holes=False) as image:
        tracemalloc.start()
        try:
            rows = sum(len(window) for window in image.windows())
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert rows == 1 << 21
    assert peak < 32 << 20


def test_a_disk_of_almost_2_to_the_63_bytes(qcow2):
    # L2 tables of 2 MiB reach 512 GiB each: 2 EiB in all.
    size = (1 << 61) - 512
    disk = Qcow2(size, 21)
    disk.data(size >> 21, pattern(1, 2 << 20))
    image = qcow2(disk.build())
    assert image.pread(size - 512, 1024) == pattern(1, 2 << 20)[-1024:-512]
    last = image.extents(size - 4096)
    assert [row.kind.name for row in last] == ["DATA"]


# ---- what is said of it -------------------------------------------------------------------------


def test_info(qcow2):
    disk = Qcow2(3 * K64)
    info = qcow2(disk.build()).info()
    assert (info.format, info.subformat, info.block_size) == ("qcow2", "v3", K64)
    assert info.virtual_size == 3 * K64
    assert info.parent is None
    assert info.details == {"compression": "zlib", "extended L2": False}


@pytest.mark.parametrize(
    "flag, code", [(DIRTY, "dirty"), (CORRUPT, "marked-corrupt"), (DIRTY | CORRUPT, None)]
)
def test_images_left_dirty_or_marked_corrupt_are_read(qcow2, codes, flag, code):
    disk = Qcow2(K64, incompatible=flag)
    disk.data(0, pattern(1, K64))
    image = qcow2(disk.build())
    assert codes(image) == ([code] if code else ["dirty", "marked-corrupt"])
    assert image.pread(0, K64) == pattern(1, K64)


def test_a_header_may_be_as_short_as_104_bytes(qcow2):
    disk = Qcow2(K64, header_length=104)
    disk.data(0, pattern(1, K64))
    assert qcow2(disk.build()).pread(0, K64) == pattern(1, K64)


def test_unknown_extensions_and_unknown_compatible_features_are_passed_over(qcow2):
    disk = Qcow2(
        K64, extensions=((0x12345678, b"seven b"), (0x23852875, bytes(24)), (0x99999999, b""))
    )
    disk.data(0, pattern(1, K64))
    file = disk.build()
    poke_field(file, "compatible_features", (1 << 64) - 1)
    poke_field(file, "autoclear_features", ((1 << 64) - 1) & ~2)
    assert qcow2(file).pread(0, K64) == pattern(1, K64)


def test_a_version_2_header_ends_where_its_extensions_begin(qcow2):
    disk = Qcow2(K64, version=2, extensions=((0x12345678, bytes(32)),))
    disk.data(0, pattern(1, K64))
    image = qcow2(disk.build())
    assert image.info().subformat == "v2"
    assert image.pread(0, K64) == pattern(1, K64)


# ---- detection ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_it_is_detected_under_any_name(qcow2, version):
    assert qcow2(Qcow2(K64, version=version).build(), "disk.bin").info().format == "qcow2"


def test_without_its_signature_it_does_not_pass_for_a_raw_disk(qcow2):
    disk = Qcow2(K64)
    disk.data(0, pattern(1, K64))
    file = disk.build()
    file.put(0, bytes(4))
    with pytest.raises(UnknownFormatError, match="damaged qcow2 image: a header of version 2 or 3"):
        qcow2(file, "disk.raw")


def test_a_raw_disk_with_zeros_at_its_start_is_not_taken_for_a_damaged_one(qcow2):
    file = SparseFile(1 << 20)
    file.put(510, b"\x55\xaa")
    assert qcow2(file, "disk.raw").info().format == "raw"


def test_two_formats_at_once_are_refused(qcow2):
    file = Qcow2(1 << 20).build()
    file.append(b"conectix".ljust(512, b"\0"))
    with pytest.raises(AmbiguousFormatError, match="qcow2"):
        qcow2(file)


def test_extended_l2_is_told(qcow2):
    assert qcow2(Qcow2(K64, incompatible=EXTENDED).build()).info().details["extended L2"] is True


def test_convert_makes_the_same_disk(tmp_path: Path):
    import vhdfast

    disk = Qcow2(1 << 20, 12)
    for cluster in range(0, 256, 5):
        disk.data(cluster, pattern(cluster, 4096))
    source = disk.build().write(tmp_path / "d.qcow2")
    vhdfast.convert(source, tmp_path / "d.vhd")
    with open_image(source) as image:
        assert (tmp_path / "d.vhd").read_bytes()[: 1 << 20] == image.pread(0, 1 << 20)


# ---- other sources ------------------------------------------------------------------------------


def test_a_source_without_a_descriptor(tmp_path: Path):
    disk = Qcow2(1 << 20, 9)
    for cluster in range(0, 2048, 5):
        disk.data(cluster, pattern(cluster, 512))
    disk.packed(1, raw_deflate(pattern(1, 512)))
    path = disk.build().write(tmp_path / "d")
    with open_image(path) as near, Image(open_format(Far(path.read_bytes()))) as far:
        assert far.pread(0, 1 << 20) == near.pread(0, 1 << 20)


def test_a_part_of_a_file(tmp_path: Path):
    disk = Qcow2(1 << 20, 9)
    disk.data(70, pattern(7, 512))
    disk.packed(1, raw_deflate(pattern(1, 512)))
    path = disk.build().write(tmp_path / "d")
    whole = tmp_path / "whole"
    whole.write_bytes(b"x" * 777 + path.read_bytes() + b"y" * 99)
    part = FileSlice(SourceFile(whole), 777, path.stat().st_size, "whole:d")
    with Image(open_format(part)) as image:
        assert image.pread(70 * 512, 512) == pattern(7, 512)
        assert image.pread(512, 512) == pattern(1, 512)
