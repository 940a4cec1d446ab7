"""qcow2: what is refused in the header and in the tables, and where the errors say it is."""

from __future__ import annotations

import pytest

from vhdfast.errors import CorruptImageError, InvalidImageError, UnsupportedImageError

from ...support import pattern
from ...support.build_qcow2 import (
    COMPRESSED,
    COMPRESSION_TYPE,
    COPIED,
    EXTENDED,
    FEATURE_NAMES,
    Qcow2,
    feature_names,
    poke_field,
    raw_deflate,
)

K64 = 65536
HEADER, L1, L2, REFCOUNTS, BLOCK = (index * K64 for index in range(5))


def disk(**options) -> Qcow2:
    """2 clusters, of which the first one is stored behind its tables."""
    made = Qcow2(2 * K64, **options)
    made.data(0, pattern(1, K64))
    return made


# ---- the header ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field, value, kind, problem, offset",
    [
        ("version", 0, UnsupportedImageError, "version 0, expected 2 or 3", 4),
        ("version", 4, UnsupportedImageError, "version 4, expected 2 or 3", 4),
        ("cluster_bits", 0, InvalidImageError, "cluster_bits is 0, expected 9", 20),
        ("cluster_bits", 8, InvalidImageError, "cluster_bits is 8, expected 9", 20),
        ("cluster_bits", 22, UnsupportedImageError, "clusters of 2^22 bytes", 20),
        ("cluster_bits", 0xFFFFFFFF, UnsupportedImageError, "up to 2^21 are read", 20),
        ("size", 0, InvalidImageError, "a disk of 0 bytes", 24),
        ("size", 1 << 63, InvalidImageError, "a disk of 9223372036854775808 bytes", 24),
        ("size", (1 << 63) - 1, InvalidImageError, "the L1 table has 1 entries", 36),
        ("crypt_method", 1, UnsupportedImageError, "encrypted (AES)", 32),
        ("crypt_method", 2, UnsupportedImageError, "encrypted (LUKS)", 32),
        ("crypt_method", 3, UnsupportedImageError, "method 3, which nobody knows", 32),
        ("l1_size", 0, InvalidImageError, "the L1 table has 0 entries", 36),
        ("l1_size", 4194305, UnsupportedImageError, "at most 4194304 are read", 40),
        ("l1_size", 0xFFFFFFFF, UnsupportedImageError, "at most 4194304 are read", 40),
        ("l1_size", 4194304, CorruptImageError, "the file ends at", 40),
        ("l1_table_offset", 0, InvalidImageError, "in the header, which ends at 0x10000", 40),
        ("l1_table_offset", 512, InvalidImageError, "no multiple of 65536", 40),
        ("l1_table_offset", 1 << 40, CorruptImageError, "the file ends at", 40),
        ("l1_table_offset", (1 << 64) - K64, CorruptImageError, "the file ends at", 40),
        ("header_length", 0, InvalidImageError, "header_length is 0", 100),
        ("header_length", 103, InvalidImageError, "from 104 to 65536", 100),
        ("header_length", 108, InvalidImageError, "a multiple of 8", 100),
        ("header_length", K64 + 8, InvalidImageError, "from 104 to 65536", 100),
        ("compression_type", 1, InvalidImageError, "is not set, expected both or neither", 104),
    ],
)
def test_a_field_that_cannot_be(refused, field, value, kind, problem, offset):
    refused(kind, poke_field(disk().build(), field, value), problem, offset=offset,
            format="qcow2")  # fmt: skip


def test_version_1_is_another_format(refused):
    file = poke_field(disk().build(), "version", 1)
    error = refused(UnsupportedImageError, file, "version 1", offset=4, format="qcow2")
    assert error.hint == "say --from qcow"


def test_a_file_that_begins_otherwise(refused):
    refused(InvalidImageError, poke_field(disk().build(), "magic", 0), "expected b'QFI", offset=0,
            format="qcow2")  # fmt: skip


@pytest.mark.parametrize("size", [8, 71, 72, 103])
def test_a_file_that_ends_inside_the_header(refused, size):
    file = disk().build()
    file.cut(size)
    refused(CorruptImageError, file, "qcow2 header")


@pytest.mark.parametrize("method, name", [(1, "aes"), (2, "luks")])
def test_encryption_is_refused_with_the_command_that_decrypts(refused, method, name):
    error = refused(UnsupportedImageError, poke_field(disk().build(), "crypt_method", method))
    assert error.hint == (
        "decrypt it first: qemu-img convert --object secret,id=key,file=PASSWORD_FILE "
        f"--image-opts driver=qcow2,encrypt.format={name},encrypt.key-secret=key,"
        "file.filename=IMAGE -O raw disk.raw"
    )


def test_unknown_incompatible_features_are_named_as_the_image_names_them(refused):
    names = feature_names((0, 5, "shiny"), (1, 6, "not this one"), (0, 63, "x\n" * 23))
    made = disk(incompatible=1 << 5 | 1 << 6 | 1 << 63, extensions=((FEATURE_NAMES, names),))
    error = refused(UnsupportedImageError, made.build(), "bit 5 (shiny), bit 6, bit 63 (x?x?",
                    offset=72)  # fmt: skip
    assert "\n" not in str(error)


def test_unknown_features_without_names_or_with_damaged_ones(refused):
    made = disk(incompatible=1 << 7, extensions=((FEATURE_NAMES, b"short"),))
    refused(UnsupportedImageError, made.build(), "unknown incompatible features: bit 7")
    file = made.build()
    file.put(112 + 4, b"\xff" * 4)
    refused(UnsupportedImageError, file, "unknown incompatible features: bit 7")


def test_an_extension_that_leaves_the_cluster(refused):
    file = disk(extensions=((0x1234, b"x"),)).build()
    file.put(116, (K64 - 120 + 1).to_bytes(4, "big"))
    refused(InvalidImageError, file, "65417 bytes, 65416 are left for it", offset=112)


def test_an_extension_that_reaches_into_the_backing_files_name(refused):
    made = disk(backing="base", backing_format="raw")
    file = made.build()
    file.put(116, (100).to_bytes(4, "big"))
    refused(InvalidImageError, file, "is said to have 100 bytes", offset=112)


def test_too_many_extensions(refused):
    made = disk(extensions=((0x1234, b""),) * 1025)
    refused(InvalidImageError, made.build(), "more than 1024", offset=112 + 1024 * 8)


def test_a_name_that_is_too_long(refused):
    made = disk(backing="base", backing_format="r" * 1024)
    refused(InvalidImageError, made.build(), "a name of 1024 bytes", offset=112)


def test_extended_l2_entries_need_clusters_of_16_kib(refused):
    made = Qcow2(K64, 13, incompatible=EXTENDED)
    refused(InvalidImageError, made.build(), "extended L2 entries need 2^14", offset=20)


def test_a_compression_type_that_nobody_knows(refused):
    made = disk(incompatible=COMPRESSION_TYPE, compression=2)
    refused(UnsupportedImageError, made.build(), "compression type 2", offset=104)


def test_a_compression_type_that_is_said_to_be_there_and_is_not(refused):
    made = disk(incompatible=COMPRESSION_TYPE, compression=0)
    refused(InvalidImageError, made.build(), "is 0, and the feature bit for it is set")
    made = disk(incompatible=COMPRESSION_TYPE, header_length=104)
    refused(InvalidImageError, made.build(), "is 0, and the feature bit for it is set")


# ---- L1 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry, problem",
    [
        (L2 | 1, "reserved bits 0x1 are set"),
        (1 << 56, "reserved bits 0x100000000000000 are set"),
        (1 << 62, "reserved bits 0x4000000000000000 are set"),
        (L2 + 512, "names an L2 table at 0x20200, no multiple of 65536"),
        (1 << 40, "the file ends at"),
        (0x00FFFFFFFFFF0000, "the file ends at"),
        (L1, "on top of the L1 table [0x10000, 0x10008)"),
    ],
)
@pytest.mark.parametrize("copied", [0, COPIED])
def test_an_l1_entry_that_cannot_be(refused, entry, problem, copied):
    file = disk().build()
    file.put(L1, (entry | copied).to_bytes(8, "big"))
    refused(CorruptImageError, file, "L1 entry 0", problem, offset=L1)


def test_an_l2_table_that_the_file_cuts_short(refused):
    made = Qcow2(K64)
    made.entry(0, 0)
    file = made.build()
    file.cut(L2 + K64 - 1)
    refused(CorruptImageError, file, "L1 entry 0 names an L2 table at [0x20000, 0x30000)")


def test_two_l1_entries_with_one_table(refused):
    made = Qcow2(6 * 32768, 9)  # six L2 tables' reach
    made.data(0, pattern(1, 512))
    file = made.build()
    file.put(made.l1_offset + 40, (made.l2[0] | COPIED).to_bytes(8, "big"))
    refused(CorruptImageError, file, "L1 entry 5", "on top of the one at 0x400 of L1 entry 0",
            offset=made.l1_offset + 40)  # fmt: skip


# ---- L2 -----------------------------------------------------------------------------------------


def with_entry(value: int, bitmap: int = 0, **options) -> Qcow2:
    made = disk(**options)
    made.entry(1, value, bitmap)
    return made


@pytest.mark.parametrize(
    "entry, problem",
    [
        (2, "has entry 0x0000000000000002, which has reserved bits set"),
        (0x100, "reserved bits"),
        (1 << 56, "reserved bits"),
        (1 << 61, "reserved bits"),
        (1 << 61 | 1, "reserved bits"),
        (5 * K64 + 512, "is said to lie at 0x50200, no multiple of 65536"),
        (5 * K64 + 512 | 1, "is said to lie at 0x50200, no multiple of 65536"),
        (COPIED, "has entry 0x8000000000000000: its own, and at no place"),
        (1 << 40, "is said to lie at 0x10000000000, the file ends at 0x60000"),
        (6 * K64, "is said to lie at 0x60000, the file ends at 0x60000"),
        (L1, "is said to lie at 0x10000, on top of the L1 table [0x10000, 0x10008)"),
        (L2, "is said to lie at 0x20000, on top of the L2 table at 0x20000"),
    ],
)
def test_an_l2_entry_that_cannot_be(refused, entry, problem):
    refused(
        CorruptImageError, with_entry(entry).build(), "cluster 1 (L1 entry 0, L2 entry 1) ",
        problem, offset=L2 + 8, when="walking",
    )  # fmt: skip


def test_version_2_knows_no_zero_clusters(refused):
    refused(CorruptImageError, with_entry(1, version=2).build(), "reserved bits", offset=L2 + 8,
            when="walking")  # fmt: skip


@pytest.mark.parametrize("bits", [9, 16, 21])
def test_a_compressed_cluster_outside_the_file(refused, bits):
    size = 1 << bits
    made = Qcow2(2 * size, bits)
    made.entry(1, COMPRESSED | 1 << 40)
    error = refused(CorruptImageError, made.build(), "is compressed and said to lie at "
                    "0x10000000000, the file ends at", when="walking")  # fmt: skip
    assert error.offset == made.l2[0] + 8


def test_a_compressed_cluster_that_begins_where_the_file_ends(refused):
    file = with_entry(COMPRESSED | 6 * K64).build()
    assert file.size == 6 * K64
    refused(CorruptImageError, file, "said to lie at 0x60000", when="walking", offset=L2 + 8)


@pytest.mark.parametrize("place, what", [(0, "header"), (200, "header"), (L2 + 99, "L2 table")])
def test_a_compressed_cluster_on_metadata(refused, place, what):
    file = with_entry(COMPRESSED | place).build()
    refused(CorruptImageError, file, f"on top of the {what}", when="walking", offset=L2 + 8)


def test_bits_of_a_compressed_clusters_offset_that_no_file_reaches(refused):
    # With clusters of 512 bytes the offset's field goes up to bit 60.
    made = Qcow2(1024, 9)
    made.entry(1, COMPRESSED | 1 << 60)
    refused(CorruptImageError, made.build(), "said to lie at 0x1000000000000000", when="walking")


# ---- extended L2 entries ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry, bitmap, problem",
    [
        (COPIED | 5 * K64, 0x00000002_00000002, "both stored and zeros"),
        (0, 0x80000000_80000000, "both stored and zeros"),
        (0, 1, "has stored subclusters and no place"),
        (1, 0, "reserved bits"),
        (1 << 40, 1, "the file ends at"),
        (L2, 1, "on top of the L2 table"),
        (5 * K64 + 512, 0, "no multiple of 65536"),
    ],
)
def test_an_extended_entry_that_cannot_be(refused, entry, bitmap, problem):
    file = with_entry(entry, bitmap, incompatible=EXTENDED).build()
    refused(CorruptImageError, file, "cluster 1 (", problem, when="walking", offset=L2 + 16)


def test_an_error_deep_in_the_disk_names_its_cluster(refused):
    made = Qcow2(1 << 20, 9)
    for cluster in range(0, 2048, 2):
        made.data(cluster, pattern(cluster, 512))
    made.entry(1001, 2)
    refused(CorruptImageError, made.build(), "cluster 1001 (L1 entry 15, L2 entry 41)",
            when="walking")  # fmt: skip


def test_a_damaged_stream_is_corrupt(opened):
    made = Qcow2(K64)
    made.packed(0, raw_deflate(pattern(1, K64)))
    file = made.build()
    file.put(5 * K64, b"\xff" * 16)
    with pytest.raises(CorruptImageError) as caught:
        opened(file).pread(0, 1)
    assert caught.value.offset == 5 * K64
