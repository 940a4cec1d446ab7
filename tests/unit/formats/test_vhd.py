"""Fixed and dynamic VHD."""

from __future__ import annotations

import struct

import pytest

from tests.support.far import Far
from vhdfast.errors import (
    CorruptImageError,
    InvalidImageError,
    UnsupportedImageError,
)
from vhdfast.formats import open_format
from vhdfast.image import Image

from ...support import KIB, MIB, SparseFile, pattern, rows_of
from ...support.build_vhd import (
    DYNAMIC,
    DynamicVhd,
    fixed,
    make_footer,
    make_header,
    with_checksum,
)


def small() -> DynamicVhd:
    """5 blocks of 4 KiB; 1 and 3 are stored, 3 first."""
    vhd = DynamicVhd(20 * KIB, 4 * KIB)
    vhd.store(3, pattern(3, 4 * KIB))
    vhd.store(1, pattern(1, 4 * KIB))
    return vhd


# The table of `small` fills one sector at 1536, blocks take 512 + 4096 bytes from 2048 on.
SMALL_ROWS = [
    (0, 4096, "ZERO", None, None),
    (4096, 4096, "DATA", 0, 2048 + 4608 + 512),
    (8192, 4096, "ZERO", None, None),
    (12288, 4096, "DATA", 0, 2048 + 512),
    (16384, 4096, "ZERO", None, None),
]
SMALL_BYTES = (
    bytes(4096) + pattern(1, 4096) + bytes(4096) + pattern(3, 4096) + bytes(4096)
)
TAIL = 2048 + 2 * 4608  # the trailing footer of `small`


# ---- fixed --------------------------------------------------------------------------------------


def test_fixed_is_one_row(opened):
    image = opened(fixed(pattern(1, 64 * KIB)))
    assert rows_of(image.windows()) == [(0, 65536, "DATA", 0, 0)]


def test_fixed_bytes_without_the_footer(opened):
    image = opened(fixed(pattern(1, 64 * KIB)))
    assert image.virtual_size == 65536
    assert image.pread(0, 1 << 20) == pattern(1, 65536)


def test_fixed_has_no_notices(opened, codes):
    assert codes(opened(fixed(pattern(1, 4 * KIB)))) == []


def test_fixed_holes_are_zeros(opened):
    disk = SparseFile(8 * MIB)
    disk.put(2 * MIB, pattern(1, MIB))
    image = opened(fixed(disk))
    assert rows_of(image.windows()) == [
        (0, 2 * MIB, "ZERO", None, None),
        (2 * MIB, MIB, "DATA", 0, 2 * MIB),
        (3 * MIB, 5 * MIB, "ZERO", None, None),
    ]


def test_fixed_guest_data_may_begin_like_a_footer(opened, codes):
    disk = make_footer(12345, DYNAMIC, data_offset=512) + pattern(1, 4 * KIB)
    image = opened(fixed(disk))
    assert image.pread(0, 8192) == disk
    assert codes(image) == []


def test_fixed_footer_of_511_bytes(opened, codes):
    # Virtual PC before 2004 left out the last byte, a zero.
    file = fixed(pattern(1, 4 * KIB))
    file.cut(file.size - 1)
    image = opened(file)
    assert image.virtual_size == 4096
    assert image.pread(0, 8192) == pattern(1, 4096)
    assert codes(image) == []


def test_fixed_size_beyond_the_file_is_cut(opened, codes):
    image = opened(fixed(pattern(1, 4 * KIB), current_size=5 * KIB))
    assert image.virtual_size == 4096
    assert codes(image) == ["size-beyond-file"]
    assert "gives 5120 bytes, the file holds 4096" in image.notices[0].message


def test_fixed_size_below_the_file_leaves_the_rest_out(opened, codes):
    image = opened(fixed(pattern(1, 4 * KIB), current_size=3 * KIB))
    assert image.pread(0, 8192) == pattern(1, 4096)[:3072]
    assert codes(image) == ["size-below-file"]


def test_fixed_original_size_does_not_count(opened):
    assert opened(fixed(pattern(1, 4 * KIB), original_size=99)).virtual_size == 4096


def test_fixed_size_that_is_no_sector_multiple(opened):
    image = opened(fixed(pattern(1, 1000)))
    assert image.virtual_size == 1000
    assert image.pread(990, 100) == pattern(1, 1000)[990:]


def test_fixed_bytes_behind_the_footer(opened, codes):
    file = fixed(pattern(1, 4 * KIB))
    file.append(b"\r\n" * 50)
    image = opened(file, format="vhd")
    assert image.pread(0, 8192) == pattern(1, 4096)
    assert codes(image) == ["bytes-after-footer"]
    assert image.notices[0].offset == 4096
    assert "100 bytes follow" in image.notices[0].message


def test_fixed_checksum_wrong_but_size_fits(opened, codes):
    file = fixed(pattern(1, 4 * KIB))
    file.put(4096 + 68, b"\xee")  # the identifier, as tools that forget the checksum change it
    image = opened(file)
    assert image.pread(0, 8192) == pattern(1, 4096)
    assert codes(image) == ["footer-checksum"]
    assert image.notices[0].offset == 4096


def test_fixed_checksum_wrong_and_size_does_not_fit(refused):
    file = fixed(pattern(1, 4 * KIB), current_size=3 * KIB)
    file.put(4096 + 68, b"\xee")
    refused(CorruptImageError, file, "checksum", "nothing else confirms", offset=4096 + 64)


def test_fixed_footer_only_at_the_start(refused):
    file = SparseFile()
    file.put(0, make_footer(4096))
    file.append(pattern(1, 4096))
    refused(InvalidImageError, file, "belongs behind its data", offset=0)


def test_cut_file_without_footer(refused):
    file = fixed(pattern(1, 4 * KIB))
    file.cut(4096)
    refused(CorruptImageError, file, "no VHD footer, neither at the end", format="vhd")


@pytest.mark.parametrize("size", [0, 1, 8, 100, 510])
def test_file_too_small_for_a_footer(refused, size):
    file = SparseFile()
    file.put(0, make_footer(4096)[:size])
    file.cut(size)
    refused(CorruptImageError, file, "no VHD footer", format="vhd")


# ---- what the footer says -----------------------------------------------------------------------


def test_info_of_the_footer(opened):
    file = fixed(
        pattern(1, 4 * KIB),
        creator=b"win ",
        creator_version=0x00060003,
        geometry=(3, 4, 17),
        unique_id=bytes(range(16)),
        timestamp=77,
        original_size=8192,
    )
    info = opened(file).info()
    assert (info.format, info.subformat) == ("vhd", "fixed")
    assert (info.virtual_size, info.file_size) == (4096, 4608)
    assert info.geometry == (3, 4, 17)
    assert info.creator == "Microsoft Hyper-V or Windows 6.3"
    assert info.identifiers == {"unique id": "00010203-0405-0607-0809-0a0b0c0d0e0f"}
    assert info.details["original size"] == 8192
    assert info.details["timestamp"] == 77
    assert info.details["size by geometry"] == 3 * 4 * 17 * 512


@pytest.mark.parametrize(
    ("code", "name"),
    [(b"qemu", "qemu 2.3"), (b"wa\0\0", "Microsoft Azure 2.3"), (b"d2v\0", "Disk2vhd 2.3"),
     (b"abcd", "'abcd' 2.3"), (b"\0\0\0\0", "'unknown' 2.3"), (b"\x1b[2J", "'?[2J' 2.3")],
)  # fmt: skip
def test_creator(opened, code, name):
    assert opened(fixed(pattern(1, 512), creator=code)).info().creator == name


def test_saved_state_is_noticed(opened, codes):
    assert codes(opened(fixed(pattern(1, 512), saved_state=1))) == ["saved-state"]


def test_version_2_is_refused(refused):
    file = fixed(pattern(1, 512), version=0x00020000)
    refused(UnsupportedImageError, file, "version 2.0", "expected 1.0")


def test_later_minor_version_is_read(opened):
    assert opened(fixed(pattern(1, 512), version=0x00010005)).virtual_size == 512


@pytest.mark.parametrize("kind", [0, 1, 5, 6, 0xFFFFFFFF])
def test_unknown_disk_type(refused, kind):
    file = SparseFile(4096)
    file.append(make_footer(4096, kind))
    refused(UnsupportedImageError, file, f"disk type {kind}", "or 4 (differencing)")


@pytest.mark.parametrize("size", [0, 1 << 63, (1 << 64) - 1])
def test_impossible_size(refused, size):
    file = fixed(pattern(1, 512), current_size=size)
    refused(InvalidImageError, file, f"virtual size of {size} bytes")


# ---- --chs-size ---------------------------------------------------------------------------------


def test_chs_size_of_a_fixed_disk(opened):
    file = fixed(pattern(1, 8 * KIB), geometry=(1, 2, 4))
    image = opened(file, chs_size=True)
    assert image.pread(0, 9999) == pattern(1, 8192)[:4096]


def test_geometry_does_not_count_without_chs_size(opened):
    assert opened(fixed(pattern(1, 8 * KIB), geometry=(1, 2, 4))).virtual_size == 8192


def test_chs_size_beyond_a_fixed_file_is_cut(opened, codes):
    image = opened(fixed(pattern(1, 8 * KIB), geometry=(10, 2, 4)), chs_size=True)
    assert image.virtual_size == 8192
    assert codes(image) == ["size-beyond-file"]


def test_chs_size_of_a_dynamic_disk(opened):
    vhd = small()
    vhd.footer["geometry"] = (1, 2, 10)
    image = opened(vhd.build(), chs_size=True)
    assert image.virtual_size == 10240
    assert image.pread(0, 99999) == SMALL_BYTES[:10240]


def test_chs_size_beyond_the_blocks_of_a_dynamic_disk(opened):
    image = opened(small().build(), chs_size=True)  # the largest geometry there is
    assert image.pread(0, 99999) == SMALL_BYTES


def test_chs_size_of_nothing(refused):
    file = fixed(pattern(1, 8 * KIB), geometry=(0, 16, 63))
    refused(InvalidImageError, file, "(0, 16, 63)", "spans no bytes", "--chs-size", chs_size=True)


def test_chs_size_with_an_empty_table(refused):
    vhd = DynamicVhd(20 * KIB, 4 * KIB, entries=0)
    refused(CorruptImageError, vhd.build(), "0 entries", chs_size=True)


# ---- dynamic: maps and bytes --------------------------------------------------------------------


def test_dynamic_map(opened):
    assert rows_of(opened(small().build()).windows()) == SMALL_ROWS


def test_dynamic_bytes(opened):
    assert opened(small().build()).pread(0, 1 << 20) == SMALL_BYTES


def test_dynamic_bytes_at_any_offset(opened):
    image = opened(small().build())
    for offset, length in [(0, 1), (4095, 2), (8191, 1), (8000, 5000), (20479, 9), (20480, 9)]:
        assert image.pread(offset, length) == SMALL_BYTES[offset : offset + length]


def test_dynamic_has_no_notices(opened, codes):
    image = opened(small().build())
    image.pread(0, 1 << 20)
    assert codes(image) == []


def test_dynamic_info(opened):
    info = opened(small().build()).info()
    assert (info.subformat, info.block_size, info.virtual_size) == ("dynamic", 4096, 20480)
    assert info.details["table entries"] == 5
    assert info.details["table offset"] == 1536


def test_windows_of_one_row_give_the_same_map(opened):
    image = opened(small().build())
    assert rows_of(image.windows(max_rows=1)) == SMALL_ROWS


def test_window_inside_a_block(opened):
    image = opened(small().build())
    assert rows_of([image.extents(5000, 1000)]) == [
        (5000, 1000, "DATA", 0, 2048 + 4608 + 512 + 904)
    ]


def test_neighbours_in_the_file_stay_two_rows_for_their_bitmaps(opened):
    vhd = DynamicVhd(8 * KIB, 4 * KIB)
    vhd.store(0, pattern(1, 4 * KIB))
    vhd.store(1, pattern(2, 4 * KIB))
    assert rows_of(opened(vhd.build()).windows()) == [
        (0, 4096, "DATA", 0, 2560),
        (4096, 4096, "DATA", 0, 7168),
    ]


def test_disk_that_is_no_block_multiple(opened):
    vhd = DynamicVhd(4 * KIB + 512, 4 * KIB)
    vhd.store(1, pattern(1, 4 * KIB))
    image = opened(vhd.build())
    assert rows_of(image.windows()) == [
        (0, 4096, "ZERO", None, None),
        (4096, 512, "DATA", 0, 2560),
    ]
    assert image.pread(4096, 9999) == pattern(1, 4096)[:512]


def test_table_with_more_entries_than_needed(opened, codes):
    vhd = DynamicVhd(8 * KIB, 4 * KIB, entries=3)
    vhd.store(1, pattern(1, 4 * KIB))
    image = opened(vhd.build())
    assert image.pread(0, 99999) == bytes(4096) + pattern(1, 4096)
    assert codes(image) == []


@pytest.mark.parametrize(
    ("block_size", "data_at"),
    [(512, 2048 + 512), (2 * KIB, 2048 + 512), (512 * KIB, 2048 + 512), (2 * MIB, 2048 + 512),
     (4 * MIB, 2048 + 1024), (256 * MIB, 2048 + 65536)],
)  # fmt: skip
def test_block_sizes(opened, block_size, data_at):
    vhd = DynamicVhd(3 * block_size, block_size)
    vhd.store(1, pattern(1, 512))
    image = opened(vhd.build(), ask_holes=False)
    assert rows_of(image.windows()) == [
        (0, block_size, "ZERO", None, None),
        (block_size, block_size, "DATA", 0, data_at),
        (2 * block_size, block_size, "ZERO", None, None),
    ]
    assert image.pread(block_size - 1, 513) == b"\0" + pattern(1, 512)


def test_2040_gib(opened):
    vhd = DynamicVhd(2040 << 30, 2 * MIB)
    vhd.store(1044479, pattern(1, 2 * MIB))
    windows = list(opened(vhd.build()).windows())
    assert sum(window.length for window in windows) == 2190433320960
    assert rows_of(windows)[-1] == (
        2190433320960 - 2 * MIB, 2 * MIB, "DATA", 0, 1536 + 4 * 1044480 + 512
    )  # fmt: skip
    assert {row[2] for row in rows_of(windows)[:-1]} == {"ZERO"}


# ---- dynamic: sector bitmaps --------------------------------------------------------------------


def test_bitmap_bits_are_most_significant_first(opened):
    vhd = DynamicVhd(4 * KIB, 4 * KIB)
    vhd.store(0, pattern(1, 4 * KIB), bitmap=b"\xc1")  # sectors 0, 1 and 7
    image = opened(vhd.build())
    assert rows_of(image.windows()) == [
        (0, 1024, "DATA", 0, 2560),
        (1024, 2560, "ZERO", None, None),
        (3584, 512, "DATA", 0, 2560 + 3584),
    ]


def test_unmarked_sectors_read_as_zeros(opened):
    vhd = DynamicVhd(4 * KIB, 4 * KIB)
    vhd.store(0, pattern(1, 4 * KIB), bitmap=b"\x10")
    data = pattern(1, 4096)[1536:2048]
    assert opened(vhd.build()).pread(0, 4096) == bytes(1536) + data + bytes(2048)


def test_bitmap_of_every_block_counts(opened):
    vhd = DynamicVhd(12 * KIB, 4 * KIB)
    vhd.store(0, pattern(1, 4 * KIB), bitmap=b"\x80")
    vhd.store(1, pattern(2, 4 * KIB))
    vhd.store(2, pattern(3, 4 * KIB), bitmap=b"\x01")
    assert rows_of(opened(vhd.build()).windows()) == [
        (0, 512, "DATA", 0, 2560),
        (512, 3584, "ZERO", None, None),
        (4096, 4096, "DATA", 0, 7168),
        (8192, 3584, "ZERO", None, None),
        (11776, 512, "DATA", 0, 11776 + 3584),
    ]


def test_bitmap_of_a_large_block(opened):
    vhd = DynamicVhd(4 * MIB, 4 * MIB)
    vhd.store(0, pattern(1, 4 * MIB), bitmap=bytes(512) + b"\xff" * 512)
    assert rows_of(opened(vhd.build()).windows()) == [
        (0, 2 * MIB, "ZERO", None, None),
        (2 * MIB, 2 * MIB, "DATA", 0, 2048 + 1024 + 2 * MIB),
    ]


def test_bits_beyond_the_block_do_not_count(opened):
    # 4 sectors: the low half of the only byte that counts is padding.
    vhd = DynamicVhd(4 * KIB, 2 * KIB)
    vhd.store(0, pattern(1, 2 * KIB), bitmap=b"\xf0")
    vhd.store(1, pattern(2, 2 * KIB), bitmap=b"\x1f")
    image = opened(vhd.build())
    data = pattern(1, 2048) + bytes(1536) + pattern(2, 2048)[1536:]
    assert image.pread(0, 4096) == data


def test_empty_bitmaps_are_noticed(opened, codes):
    vhd = DynamicVhd(4 * KIB, 4 * KIB)
    vhd.store(0, pattern(1, 4 * KIB), bitmap=b"")
    image = opened(vhd.build())
    assert image.pread(0, 4096) == bytes(4096)
    assert codes(image) == ["empty-bitmaps"]


def test_many_partial_blocks(opened):
    vhd = DynamicVhd(3000 * 4096, 4 * KIB)
    for block in range(3000):
        vhd.store(block, pattern(block, 4 * KIB), bitmap=b"\x0f")
    rows = rows_of(opened(vhd.build()).windows())
    first = 1536 + 12288
    assert rows == [
        row
        for block in range(3000)
        for row in (
            (block * 4096, 2048, "ZERO", None, None),
            (block * 4096 + 2048, 2048, "DATA", 0, first + block * 4608 + 512 + 2048),
        )
    ]


# ---- dynamic: one of two copies damaged ---------------------------------------------------------


def test_footer_copy_missing(opened, codes):
    image = opened(small().build(head=False))
    assert image.pread(0, 99999) == SMALL_BYTES
    assert codes(image) == ["footer-missing"]
    assert "no footer at the start" in image.notices[0].message


def test_trailing_footer_missing(opened, codes):
    image = opened(small().build(tail=False))
    assert image.pread(0, 99999) == SMALL_BYTES
    assert codes(image) == ["footer-missing"]
    assert "no footer at the end" in image.notices[0].message


@pytest.mark.parametrize("base", [0, TAIL])
@pytest.mark.parametrize("field", [8, 20, 50, 58, 63, 66, 70])
def test_one_footer_damaged(opened, codes, base, field):
    file = small().build()
    byte = file.get(base + field, 1)[0]
    file.put(base + field, bytes([byte ^ 0x10]))
    image = opened(file)
    assert image.pread(0, 99999) == SMALL_BYTES
    assert codes(image) == ["footer-checksum"]
    assert image.notices[0].offset == base


def test_trailing_footer_damaged_so_that_it_says_fixed(opened, codes):
    file = small().build()
    file.put(TAIL + 60, struct.pack(">I", 2))
    image = opened(file)
    assert image.pread(0, 99999) == SMALL_BYTES
    assert codes(image) == ["footer-checksum"]


def test_both_footers_damaged_in_different_ways(refused):
    file = small().build()
    file.put(50, b"\x77")
    file.put(TAIL + 49, b"\x77")
    refused(CorruptImageError, file, "checksum is 0x", "nothing else confirms", offset=TAIL + 64)


def test_both_footers_changed_alike_without_their_checksum(opened, codes):
    file = small().build()
    file.put(68, b"\x77")
    file.put(TAIL + 68, b"\x77")
    image = opened(file)
    assert image.pread(0, 99999) == SMALL_BYTES
    assert codes(image) == ["footer-checksum"]
    assert "both copies" in image.notices[0].message


def test_both_footers_missing(refused):
    file = small().build(head=False, tail=False)
    refused(CorruptImageError, file, "neither at the end nor at the start", format="vhd")


def test_footers_that_differ(opened, codes):
    file = small().build()
    file.put(0, make_footer(8192, DYNAMIC, data_offset=512))
    image = opened(file)
    assert image.pread(0, 99999) == SMALL_BYTES  # 20480 bytes, as the one at the end says
    assert codes(image) == ["footers-differ"]


def test_dynamic_bytes_behind_the_footer(opened, codes):
    file = small().build()
    file.append(bytes(1024))
    image = opened(file)
    assert image.pread(0, 99999) == SMALL_BYTES
    assert codes(image) == ["bytes-after-footer"]


def test_guest_data_with_a_footer_is_not_taken_for_the_missing_one(opened, codes):
    # A disk that holds a fixed VHD itself, cut before its own footer.
    vhd = DynamicVhd(8 * KIB, 4 * KIB)
    vhd.store(0, pattern(1, 4 * KIB))
    inner = pattern(2, 1024) + make_footer(1024) + pattern(3, 2560)
    vhd.store(1, inner)
    image = opened(vhd.build(tail=False))
    assert image.virtual_size == 8192
    assert image.pread(0, 8192) == pattern(1, 4096) + inner
    assert codes(image) == ["footer-missing"]


# ---- dynamic: header and table ------------------------------------------------------------------


def test_header_checksum_wrong_but_table_fits(opened, codes):
    file = small().build()
    file.put(512 + 600, b"\x01")
    image = opened(file)
    assert image.pread(0, 99999) == SMALL_BYTES
    assert codes(image) == ["header-checksum"]
    assert image.notices[0].offset == 512


def test_header_checksum_wrong_and_table_too_long(refused):
    vhd = DynamicVhd(20 * KIB, 4 * KIB, entries=9)
    file = vhd.build()
    file.put(512 + 36, b"\x00\x00\x00\x00")
    refused(
        CorruptImageError, file, "0x00000000", "9 entries do not fit the 5 blocks", offset=548
    )


def test_header_cookie_wrong(refused):
    file = small().build()
    file.put(512, b"X")
    refused(CorruptImageError, file, "b'Xxsparse'", "expected b'cxsparse'", offset=512)


def test_header_version_2(refused):
    vhd = small()
    vhd.header["version"] = 0x00020001
    refused(UnsupportedImageError, vhd.build(), "version 2.1", "expected 1.0", offset=512 + 24)


@pytest.mark.parametrize("size", [0, 1, 256, 4097, 0xFFFFFFFF])
def test_block_size_that_is_none(refused, size):
    file = small().build()
    file.put(512, make_header(1536, 5, size))
    refused(InvalidImageError, file, f"a block of {size} bytes", "power of two", offset=544)


def test_header_outside_the_file(refused):
    vhd = small()
    vhd.footer["data_offset"] = 1 << 40
    file = vhd.build()
    refused(CorruptImageError, file, "header at 0x10000000000", f"{TAIL + 512} bytes")


def test_table_outside_the_file(refused):
    file = small().build()
    file.put(512, make_header(1 << 41, 5, 4096))
    refused(
        CorruptImageError, file, "[0x20000000000, 0x20000000014)", f"{TAIL + 512} bytes",
        offset=512 + 16,
    )  # fmt: skip


def test_table_with_too_few_entries(refused):
    file = small().build()
    file.put(512, make_header(1536, 4, 4096))
    refused(
        CorruptImageError, file, "4 entries", "20480 bytes needs 5 blocks of 4096",
        offset=512 + 28,
    )  # fmt: skip


def test_block_outside_the_file(refused):
    vhd = small()
    vhd.table[4] = 1 << 20
    refused(
        CorruptImageError, vhd.build(), "block 4 ", "at 0x20000000", f"end at {TAIL:#x}",
        offset=1536 + 16, when="walking",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sector", "what"),
    [(0, "the footer copy [0x0, 0x200)"), (1, "the dynamic header [0x200, 0x600)"),
     (3, "the block allocation table [0x600, 0x614)")],
)  # fmt: skip
def test_block_on_top_of_metadata(refused, sector, what):
    # The blocks of the disk are far away, so that the wrong one overlaps none of them.
    vhd = DynamicVhd(20 * KIB, 4 * KIB)
    vhd.store(3, pattern(3, 4 * KIB), at=16 * KIB)
    vhd.table[2] = sector
    refused(
        CorruptImageError, vhd.build(), "block 2 ", f"at {sector * 512:#x}", what,
        offset=1536 + 8, when="walking",
    )  # fmt: skip


def test_two_blocks_at_one_place(refused):
    vhd = small()
    vhd.table[0] = vhd.table[3]
    refused(
        CorruptImageError, vhd.build(), "block 3 at 0x800 overlaps block 0 at 0x800",
        "4608 bytes each", offset=1536 + 12, when="walking",
    )  # fmt: skip


def test_blocks_that_overlap_by_a_sector(refused):
    vhd = small()
    vhd.table[1] -= 1
    refused(CorruptImageError, vhd.build(), "block 3 at 0x800 overlaps block 1 at 0x1800",
            when="walking")  # fmt: skip


def test_entry_behind_the_disk_does_not_count(opened):
    vhd = DynamicVhd(8 * KIB, 4 * KIB, entries=3)
    vhd.store(1, pattern(1, 4 * KIB))
    vhd.table[2] = 1 << 30
    assert opened(vhd.build()).pread(0, 99999) == bytes(4096) + pattern(1, 4096)


def short_of_1000_bytes() -> SparseFile:
    """The last stored block, which is block 1 of the disk, lacks its last 1000 bytes."""
    file = small().build(tail=False)
    file.cut(file.size - 1000)
    return file


def test_short_last_block(opened, codes):
    file = short_of_1000_bytes()
    file.append(small().make_footer())
    image = opened(file)
    assert image.pread(0, 99999) == (
        bytes(4096) + pattern(1, 4096)[:3096] + bytes(1000) + bytes(4096) + pattern(3, 4096)
        + bytes(4096)
    )  # fmt: skip
    assert codes(image) == ["short-block"]


def test_short_last_block_map(opened):
    file = short_of_1000_bytes()
    file.append(small().make_footer())
    assert rows_of(opened(file).windows())[1:3] == [
        (4096, 3096, "DATA", 0, 7168),
        (7192, 5096, "ZERO", None, None),
    ]


def test_a_block_cut_short_without_a_footer_behind_it_is_a_cut_file(refused):
    error = refused(CorruptImageError, short_of_1000_bytes(), "block 1 has data up to 0x2c00",
                    "the file ends at 0x2818", offset=0x2818, when="walking")  # fmt: skip
    assert "cut short: copy it again" in error.hint


@pytest.mark.parametrize("lost", ["behind the disk", "not written"])
def test_a_file_that_ends_in_a_block_where_nothing_is_lost_is_read(lost, opened, codes):
    size = 7168 if lost == "behind the disk" else 8192
    vhd = DynamicVhd(size, 4 * KIB)
    vhd.store(1, pattern(1, 4 * KIB), bitmap=b"\xff" if size == 7168 else b"\xfc")
    file = vhd.build(tail=False)
    file.cut(file.size - 1024)
    image = opened(file)
    assert image.pread(0, 99999) == bytes(4096) + pattern(1, 4096)[:3072] + bytes(size - 7168)
    assert codes(image) == ["footer-missing"]


def test_file_cut_before_a_block(refused):
    file = small().build(tail=False)
    file.cut(2048 + 4608)
    refused(CorruptImageError, file, "block 1 ", "at 0x1a00", "end at 0x1a00", when="walking")


def test_the_builders_checksum_is_the_known_one():
    """A footer of all zeros but one byte: the complement of that byte."""
    assert with_checksum(b"\x05" + bytes(511), 64)[64:68] == b"\xff\xff\xff\xfa"


def test_a_block_with_more_sectors_than_are_looked_at_at_once(opened, codes):
    # 512 MiB a block, 2^20 sectors. Marked: the last sector of the first quarter, the first one
    # of the second, and the last one of all.
    vhd = DynamicVhd(1 << 30, 1 << 29)
    bitmap = bytearray(1 << 17)
    bitmap[(1 << 15) - 1], bitmap[1 << 15], bitmap[-1] = 0x01, 0x80, 0x01
    data = vhd.store(1, bitmap=bytes(bitmap))
    image = opened(vhd.build(), ask_holes=False)
    start = 1 << 29
    found = [row for row in rows_of(image.windows()) if row[2] == "DATA"]
    assert found == [
        (start + (1 << 27) - 512, 512, "DATA", 0, data + (1 << 27) - 512),
        (start + (1 << 27), 512, "DATA", 0, data + (1 << 27)),
        (start + (1 << 29) - 512, 512, "DATA", 0, data + (1 << 29) - 512),
    ]
    assert codes(image) == []


def test_bitmaps_of_a_source_that_only_python_reads(tmp_path):
    vhd = small()
    vhd.store(4, pattern(4, 4 * KIB), bitmap=b"\x0f")
    stored = vhd.build().write(tmp_path / "disk.vhd").read_bytes()

    with Image(open_format(Far(stored))) as image:
        assert image.pread(0, 20 * KIB) == (
            SMALL_BYTES[: 16 * KIB] + bytes(2 * KIB) + pattern(4, 4 * KIB)[2048:]
        )
