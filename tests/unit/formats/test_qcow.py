"""qcow of version 1: what is read and what is refused."""

from __future__ import annotations

import pytest

from vhdfast.errors import (
    CorruptImageError,
    InvalidImageError,
    MissingReferenceError,
    UnsafeReferenceError,
    UnsupportedImageError,
    UsageError,
)

from ...support import pattern, rows_of
from ...support.build_qcow import COMPRESSED, Qcow, poke_field
from ...support.build_qcow2 import raw_deflate


@pytest.fixture
def qcow(opened):
    def open_it(file, name="disk.qcow", **options):
        return opened(file, name, ask_holes=False, **options)

    return open_it


def small() -> Qcow:
    """4 clusters of 4 KiB: none, stored, none, compressed."""
    disk = Qcow(4 * 4096)
    disk.data(1, pattern(1, 4096))
    disk.packed(3, raw_deflate(pattern(3, 1000).ljust(4096, b"\0")))
    return disk


def test_stored_and_compressed_clusters(qcow):
    disk = small()
    image = qcow(disk.build())
    assert rows_of(image.windows()) == [
        (0, 4096, "ZERO", None, None),
        (4096, 4096, "DATA", 0, disk.entries[1]),
        (8192, 4096, "ZERO", None, None),
        (12288, 4096, "COMPRESSED", 0, disk.entries[1] + 4096),
    ]
    want = bytes(4096) + pattern(1, 4096) + bytes(4096) + pattern(3, 1000) + bytes(3096)
    assert image.pread(0, 4 * 4096) == want


def test_info(qcow):
    info = qcow(small().build()).info()
    assert (info.format, info.subformat, info.block_size) == ("qcow", "v1", 4096)
    assert info.virtual_size == 4 * 4096
    assert info.details == {"L2 table entries": 512}


@pytest.mark.parametrize("bits, l2_bits", [(9, 6), (9, 12), (12, 9), (16, 13)])
def test_sizes_of_clusters_and_tables(qcow, bits, l2_bits):
    size = 1 << bits
    disk = Qcow(size * 200, bits, l2_bits)
    for cluster in (0, 63, 64, 65, 199):
        disk.data(cluster, pattern(cluster, size))
    image = qcow(disk.build())
    for cluster in (0, 63, 64, 65, 199):
        assert image.pread(cluster * size, size) == pattern(cluster, size)
    assert image.pread(size, 62 * size) == bytes(62 * size)


def test_an_empty_disk_of_8_tib_is_one_row(qcow):
    image = qcow(Qcow(8 << 40).build())
    assert sum(len(window) for window in image.windows()) == 64
    assert image.pread((8 << 40) - 512, 512) == bytes(512)


def test_a_stream_may_end_past_the_end_of_the_file(qcow):
    disk = Qcow(4096)
    disk.data(0, b"")
    file = disk.build()
    file.put(disk.l2[0], (COMPRESSED | 4095 << 51 | file.size).to_bytes(8, "big"))
    file.append(raw_deflate(pattern(3, 1000).ljust(4096, b"\0")))
    assert qcow(file).pread(0, 4096) == pattern(3, 1000) + bytes(3096)


def test_a_disk_may_end_inside_a_cluster(qcow):
    disk = Qcow(4096 + 5)
    disk.data(1, pattern(1, 4096))
    assert qcow(disk.build()).pread(4096, 4096) == pattern(1, 5)


def test_a_last_cluster_cut_by_the_end_of_the_file(qcow, codes):
    disk = Qcow(8192)
    disk.build()
    disk.data(0, pattern(1, 4096))
    file = disk.build()
    # The table first, then the cluster, and that cut.
    end = file.size
    file.put(disk.l2[0], end.to_bytes(8, "big"))
    file.append(pattern(5, 100))
    image = qcow(file)
    assert image.pread(0, 4096) == pattern(5, 100) + bytes(3996)
    assert codes(image) == ["short-block"]


# ---- backing files ------------------------------------------------------------------------------


def test_the_format_of_a_backing_file_must_be_said_by_the_user(qcow, refused, tmp_path):
    # The header has no place for it.
    (tmp_path / "base.raw").write_bytes(pattern(9, 8192))
    disk = Qcow(8192, 9, 12, backing="base.raw")
    disk.data(1, pattern(1, 512))
    file = disk.build()
    refused(UnsafeReferenceError, file, "does not say which format")
    image = qcow(file, backing_format="raw")
    base = pattern(9, 8192)
    assert image.pread(0, 8192) == base[:512] + pattern(1, 512) + base[1024:]
    assert image.info().parent == str(tmp_path / "base.raw")


def test_the_user_names_a_backing_file_that_the_image_does_not_have(refused, tmp_path):
    (tmp_path / "base.raw").write_bytes(pattern(9, 8192))
    refused(UsageError, small().build(), "and the image has none", parents=[tmp_path / "base.raw"])


def test_a_missing_backing_file(refused):
    disk = Qcow(8192, backing="base.raw")
    refused(MissingReferenceError, disk.build(), "the backing file 'base.raw' is not there")


@pytest.mark.parametrize(
    "field, value, problem, offset",
    [
        ("backing_file_size", 1024, "has 1024 bytes", 16),
        ("backing_file_offset", 47, "is said to lie at", 8),
        ("backing_file_offset", 1 << 20, "is said to lie at", 8),
        ("backing_file_offset", (1 << 64) - 1, "is said to lie at", 8),
    ],
)
def test_a_name_that_cannot_be(refused, field, value, problem, offset):
    file = poke_field(Qcow(8192, backing="base.raw").build(), field, value)
    refused(InvalidImageError, file, problem, offset=offset)


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field, value, kind, problem, offset",
    [
        ("magic", 0, InvalidImageError, "the file begins with", 0),
        ("size", 0, InvalidImageError, "a disk of 0 bytes", 24),
        ("size", 1 << 63, InvalidImageError, "a disk of", 24),
        ("size", (1 << 63) - 1, UnsupportedImageError, "at most 4194304 are read", 40),
        ("size", 1 << 40, CorruptImageError, "the L1 table is said to lie at", 40),
        ("cluster_bits", 8, InvalidImageError, "cluster_bits is 8, expected 9 to 16", 32),
        ("cluster_bits", 17, InvalidImageError, "cluster_bits is 17", 32),
        ("cluster_bits", 255, InvalidImageError, "cluster_bits is 255", 32),
        ("l2_bits", 5, InvalidImageError, "l2_bits is 5, expected 6 to 13", 33),
        ("l2_bits", 14, InvalidImageError, "l2_bits is 14", 33),
        ("crypt_method", 1, UnsupportedImageError, "encrypted (AES)", 36),
        ("crypt_method", 2, UnsupportedImageError, "encrypted (LUKS)", 36),
        ("crypt_method", 9, UnsupportedImageError, "method 9", 36),
        ("l1_table_offset", 0, InvalidImageError, "in the header, which ends at 0x30", 40),
        ("l1_table_offset", 1 << 40, CorruptImageError, "the file ends at", 40),
        ("l1_table_offset", (1 << 64) - 8, CorruptImageError, "the file ends at", 40),
    ],
)
def test_a_field_that_cannot_be(refused, field, value, kind, problem, offset):
    refused(kind, poke_field(small().build(), field, value), problem, offset=offset, format="qcow")


def test_version_2_is_another_format(refused):
    error = refused(InvalidImageError, poke_field(small().build(), "version", 2), format="qcow")
    assert error.hint == "say --from qcow2"


def test_encryption_is_refused_with_the_command_that_decrypts(refused):
    error = refused(UnsupportedImageError, poke_field(small().build(), "crypt_method", 1))
    assert "driver=qcow,encrypt.format=aes,encrypt.key-secret=key" in error.hint


@pytest.mark.parametrize("size", [8, 40, 47])
def test_a_file_that_ends_inside_the_header(refused, size):
    file = small().build()
    file.cut(size)
    refused(CorruptImageError, file, "qcow header")


@pytest.mark.parametrize(
    "value, problem",
    [
        (1 << 40, "the file ends at"),
        ((1 << 64) - 512, "the file ends at"),
        (16, "on top of the header"),
        (48, "on top of the L1 table"),
    ],
)
def test_an_l1_entry_that_cannot_be(refused, value, problem):
    disk = small()
    file = disk.build()
    file.put(disk.l1_offset, value.to_bytes(8, "big"))
    refused(CorruptImageError, file, "L1 entry 0", problem, offset=disk.l1_offset)


def test_l2_tables_on_top_of_each_other(refused):
    disk = Qcow(4 * 32768, 9, 6)
    disk.data(0, pattern(1, 512))
    disk.data(64, pattern(2, 512))
    file = disk.build()
    file.put(disk.l1_offset + 8, (disk.l2[0] + 511).to_bytes(8, "big"))
    refused(CorruptImageError, file, "L1 entry 1", "on top of the one at", "of L1 entry 0",
            offset=disk.l1_offset + 8)  # fmt: skip


@pytest.mark.parametrize(
    "value, problem",
    [
        (1 << 40, "the file ends at"),
        ((1 << 63) - 512, "the file ends at"),
        (4096 + 8, "no multiple of 512"),
        (COMPRESSED | 9 << 51 | 1 << 40, "the file ends at"),
        (COMPRESSED | 4096, "is compressed to no bytes"),
        (COMPRESSED | 9 << 51, "on top of the header"),
        (COMPRESSED | 9 << 51 | 49, "on top of the L1 table"),
    ],
)
def test_an_l2_entry_that_cannot_be(refused, value, problem):
    disk = small()
    file = disk.build()
    file.put(disk.l2[0] + 16, value.to_bytes(8, "big"))
    refused(CorruptImageError, file, "cluster 2 (L1 entry 0, L2 entry 2)", problem,
            offset=disk.l2[0] + 16, when="walking")  # fmt: skip


def test_a_cluster_on_an_l2_table(refused):
    disk = small()
    file = disk.build()
    file.put(disk.l2[0] + 16, disk.l2[0].to_bytes(8, "big"))
    refused(CorruptImageError, file, "on top of the L2 table", when="walking")


def test_a_damaged_stream_is_corrupt(qcow):
    disk = Qcow(4096)
    disk.packed(0, b"\xff" * 100)
    with pytest.raises(CorruptImageError):
        qcow(disk.build()).pread(0, 1)
