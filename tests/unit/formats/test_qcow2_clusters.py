"""qcow2: compressed clusters and subclusters."""

from __future__ import annotations

import pytest

from vhdfast.errors import CorruptImageError

from ...support import pattern, rows_of
from ...support.build_qcow2 import (
    COMPRESSED,
    COMPRESSION_TYPE,
    EXTENDED,
    Qcow2,
    raw_deflate,
    zstd_frame,
)

K64 = 65536
SUB = K64 // 32


@pytest.fixture
def qcow2(opened):
    def open_it(file, name="disk.qcow2", **options):
        return opened(file, name, ask_holes=False, **options)

    return open_it


def deflated(seed: int, size: int = K64) -> tuple[bytes, bytes]:
    """(a cluster, its stream)"""
    body = pattern(seed, size // 2) + bytes(size - size // 2)
    return body, raw_deflate(body)


# ---- compressed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [9, 12, 16, 21])
@pytest.mark.parametrize("version", [2, 3])
def test_deflated_clusters(qcow2, bits, version):
    size = 1 << bits
    disk = Qcow2(4 * size, bits, version)
    first, stream = deflated(1, size)
    last, last_stream = deflated(2, size)
    disk.packed(0, stream)
    disk.data(1, pattern(9, size))
    disk.packed(3, last_stream)
    image = qcow2(disk.build())
    assert [row[2] for row in rows_of(image.windows())] == [
        "COMPRESSED", "DATA", "ZERO", "COMPRESSED",
    ]  # fmt: skip
    assert image.pread(0, 4 * size) == first + pattern(9, size) + bytes(size) + last


def test_the_descriptor_gives_offset_and_length(qcow2):
    disk = Qcow2(2 * K64)
    disk.packed(0, raw_deflate(pattern(1, 700).ljust(K64, b"\0")))
    disk.packed(1, raw_deflate(pattern(2, 40000).ljust(K64, b"\0"), level=0))
    file = disk.build()
    image = qcow2(file)
    one, other = image.extents().rows
    # The first stream begins on a sector, the second one in the middle of another: what the
    # descriptor calls its last sector ends on a border.
    assert int(one["file_offset"]) % 512 == 0
    assert int(one["stored_length"]) % 512 == 0
    start, length = int(other["file_offset"]), int(other["stored_length"])
    assert start % 512 != 0
    assert (start + length) % 512 == 0
    # Stored in blocks with 5 bytes before each, of at most 65 535 bytes.
    assert 65536 + 10 <= length < 65536 + 10 + 1024
    assert (int(one["decoded_length"]), int(one["skip"])) == (K64, 0)


def test_a_stream_may_cross_clusters_of_the_file(qcow2):
    bodies = [pattern(seed, 4096) for seed in range(6)]
    disk = Qcow2(6 * 4096, 12)
    for cluster, body in enumerate(bodies):
        disk.packed(cluster, raw_deflate(body, level=0))  # 4101 bytes each
    assert qcow2(disk.build()).pread(0, 6 * 4096) == b"".join(bodies)


def test_a_stream_may_end_past_the_end_of_the_file(qcow2):
    body, stream = deflated(1)
    disk = Qcow2(K64)
    disk.packed(0, stream)
    file = disk.build()
    assert file.size % 512 != 0  # the descriptor speaks of whole sectors
    assert qcow2(file).pread(0, K64) == body


def test_what_follows_a_stream_in_its_sectors_is_not_its_affair(qcow2):
    body, stream = deflated(1)
    disk = Qcow2(K64)
    disk.packed(0, stream)
    file = disk.build()
    file.append(b"\xff" * 4096)
    assert qcow2(file).pread(0, K64) == body


def test_two_clusters_may_share_a_stream(qcow2):
    body, stream = deflated(1)
    disk = Qcow2(2 * K64)
    disk.packed(0, stream)
    disk.build()
    disk.entry(1, disk.clusters[0].entry)
    assert qcow2(disk.build()).pread(0, 2 * K64) == body * 2


def test_a_disk_may_end_inside_a_compressed_cluster(qcow2):
    body, stream = deflated(1)
    disk = Qcow2(1000)
    disk.packed(0, stream)
    assert qcow2(disk.build()).pread(0, K64) == body[:1000]


def test_a_stream_that_is_too_short_is_corrupt(qcow2):
    disk = Qcow2(K64)
    disk.packed(0, raw_deflate(bytes(1000)))
    with pytest.raises(CorruptImageError) as caught:
        qcow2(disk.build()).pread(0, K64)
    assert caught.value.offset == 5 * K64  # header, L1, L2, two for reference counts


def test_a_part_of_a_compressed_cluster_is_a_row_with_skip(qcow2):
    body, stream = deflated(1)
    disk = Qcow2(K64)
    disk.packed(0, stream)
    image = qcow2(disk.build())
    (row,) = image.extents(1000, 500).rows
    assert (int(row["offset"]), int(row["length"]), int(row["skip"])) == (1000, 500, 1000)
    assert image.pread(1000, 500) == body[1000:1500]


def zstd(*frames: bytes) -> Qcow2:
    disk = Qcow2(2 * K64, incompatible=COMPRESSION_TYPE)
    disk.packed(1, b"".join(frames))
    return disk


def test_zstd_clusters(qcow2):
    body = pattern(1, K64)
    image = qcow2(zstd(zstd_frame(body)).build())
    assert image.pread(0, 2 * K64) == bytes(K64) + body
    assert image.info().details["compression"] == "zstd"


@pytest.mark.parametrize("sized", [True, False])
def test_several_zstd_frames_in_one_cluster(qcow2, sized):
    body = pattern(1, K64 - 1000)
    frames = [zstd_frame(bytes(700), sized), zstd_frame(body, sized), zstd_frame(b"x" * 300, sized)]
    image = qcow2(zstd(*frames).build())
    assert image.pread(K64, K64) == bytes(700) + body + b"x" * 300


def test_a_zstd_cluster_that_is_too_short_is_corrupt(qcow2):
    with pytest.raises(CorruptImageError):
        qcow2(zstd(zstd_frame(bytes(1000))).build()).pread(K64, 1)


# ---- subclusters --------------------------------------------------------------------------------


def test_a_stored_cluster_with_all_its_subclusters_is_one_row(qcow2):
    disk = Qcow2(2 * K64, incompatible=EXTENDED)
    disk.data(0, pattern(1, K64))
    disk.data(1, pattern(2, K64))
    image = qcow2(disk.build())
    assert rows_of(image.windows()) == [(0, 2 * K64, "DATA", 0, disk.places[0])]


def test_each_subcluster_is_stored_or_zeros_or_not_there(qcow2):
    disk = Qcow2(K64, incompatible=EXTENDED)
    disk.sub(0, pattern(1, K64), stored=0b1 | 0b1100 | 1 << 31, zeros=0b10)
    image = qcow2(disk.build())
    at = disk.places[0]
    assert rows_of(image.windows()) == [
        (0, SUB, "DATA", 0, at),
        (SUB, SUB, "ZERO", None, None),
        (2 * SUB, 2 * SUB, "DATA", 0, at + 2 * SUB),
        (4 * SUB, 27 * SUB, "ZERO", None, None),
        (31 * SUB, SUB, "DATA", 0, at + 31 * SUB),
    ]


def test_what_is_zeros_and_what_is_not_there_differ_over_a_backing_file(qcow2, tmp_path):
    (tmp_path / "base.raw").write_bytes(pattern(7, K64))
    disk = Qcow2(K64, incompatible=EXTENDED, backing="base.raw", backing_format="raw")
    disk.sub(0, pattern(1, K64), stored=0b1, zeros=0b10)
    want = pattern(1, K64)[:SUB] + bytes(SUB) + pattern(7, K64)[2 * SUB :]
    assert qcow2(disk.build()).pread(0, K64) == want


@pytest.mark.parametrize("bits", [14, 21])
def test_the_smallest_and_the_largest_subclusters(qcow2, bits):
    size, sub = 1 << bits, 1 << bits - 5
    disk = Qcow2(3 * size, bits, incompatible=EXTENDED)
    disk.sub(2, pattern(1, size), stored=0x80000000, zeros=1)
    image = qcow2(disk.build())
    assert image.pread(3 * size - sub, sub) == pattern(1, size)[-sub:]
    assert image.pread(0, 3 * size - sub) == bytes(3 * size - sub)


def test_all_zeros_with_and_without_a_place(qcow2):
    disk = Qcow2(2 * K64, incompatible=EXTENDED)
    disk.zero(0)
    disk.zero(1, body=pattern(1, K64))
    assert rows_of(qcow2(disk.build()).windows()) == [(0, 2 * K64, "ZERO", None, None)]


def test_compressed_clusters_have_no_subclusters(qcow2):
    body, stream = deflated(1)
    disk = Qcow2(K64, incompatible=EXTENDED)
    disk.packed(0, stream, bitmap=0xFFFFFFFF_0000FFFF)  # means nothing here
    assert qcow2(disk.build()).pread(0, K64) == body


@pytest.mark.parametrize("max_rows", [1, 33, 1000])
def test_many_mixed_clusters_in_small_windows(qcow2, max_rows):
    size = 1 << 14
    disk = Qcow2(70 * size, 14, incompatible=EXTENDED)
    for cluster in range(0, 70, 2):
        disk.sub(cluster, pattern(cluster, size), stored=0x55555555, zeros=0)
    image = qcow2(disk.build())
    rows = rows_of(image.windows(max_rows=max_rows))
    stored = [row for row in rows if row[2] == "DATA"]
    assert len(stored) == 35 * 16
    assert all(length == 512 for _, length, *_ in stored)
    assert [row[4] for row in stored[:2]] == [disk.places[0], disk.places[0] + 1024]


def test_a_file_that_ends_after_the_last_stored_subcluster(qcow2, codes):
    disk = Qcow2(K64, incompatible=EXTENDED)
    disk.sub(0, pattern(1, K64), stored=0b101, zeros=0)
    file = disk.build()
    file.cut(disk.places[0] + 3 * SUB)
    image = qcow2(file)
    assert image.pread(0, K64)[2 * SUB : 4 * SUB] == pattern(1, K64)[2 * SUB : 3 * SUB] + bytes(SUB)
    assert codes(image) == []


def test_the_flag_for_compression_is_bit_62(qcow2):
    disk = Qcow2(K64)
    disk.packed(0, raw_deflate(bytes(K64)))
    disk.build()
    assert disk.clusters[0].entry & COMPRESSED == 1 << 62
