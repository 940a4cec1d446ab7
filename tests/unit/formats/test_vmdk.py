"""VMDK: hosted sparse extents and how they are described. Other subjects: test_vmdk_*.py."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from tests.support import KIB, MIB, pattern, peek, poke
from tests.support.build_vmdk import SECTOR, descriptor, header, write_sparse
from tests.support.reading import codes, opened, the_map
from vhdfast import Kind, open_image
from vhdfast.errors import (
    CorruptImageError,
    InvalidImageError,
    UnknownFormatError,
    UnsupportedImageError,
)

GRAIN = 64 * KIB
GIB = 1 << 30
Z, D = Kind.ZERO, Kind.DATA


# ---- the map ------------------------------------------------------------------------------------


def test_an_empty_disk_is_one_row_of_zeros(tmp_path: Path) -> None:
    write_sparse(tmp_path / "d.vmdk", 2048)
    with opened(tmp_path / "d.vmdk") as image:
        assert the_map(image) == [(0, MIB, Z, None)]
        assert image.pread(0, MIB) == bytes(MIB)
        assert image.notices == ()


def test_grains_lie_where_the_tables_say(tmp_path: Path) -> None:
    one, three = pattern(1, GRAIN), pattern(3, GRAIN)
    layout = write_sparse(tmp_path / "d.vmdk", 512, {1: one, 3: three}, order=[3, 1])
    with opened(layout.path) as image:
        assert the_map(image) == [
            (0, GRAIN, Z, None),
            (GRAIN, GRAIN, D, layout.grains[1]),
            (2 * GRAIN, GRAIN, Z, None),
            (3 * GRAIN, GRAIN, D, layout.grains[3]),
        ]
        assert layout.grains[3] < layout.grains[1]
        assert image.pread(0, 4 * GRAIN) == bytes(GRAIN) + one + bytes(GRAIN) + three


def test_grains_that_follow_each_other_are_one_row(tmp_path: Path) -> None:
    layout = write_sparse(tmp_path / "d.vmdk", 512, {i: pattern(i, GRAIN) for i in range(4)})
    with opened(layout.path) as image:
        assert the_map(image) == [(0, 4 * GRAIN, D, layout.grains[0])]


@pytest.mark.parametrize("grain", [8, 16, 256, 2048])
def test_grain_sizes(tmp_path: Path, grain: int) -> None:
    body = pattern(2, grain * SECTOR)
    layout = write_sparse(tmp_path / "d.vmdk", 4 * grain, {2: body}, grain=grain)
    with opened(layout.path) as image:
        assert image.info().block_size == grain * SECTOR
        assert image.pread(2 * grain * SECTOR, grain * SECTOR) == body
        assert the_map(image)[1] == (2 * grain * SECTOR, grain * SECTOR, D, layout.grains[2])


def test_a_disk_may_end_inside_a_grain(tmp_path: Path) -> None:
    body = pattern(1, GRAIN)
    layout = write_sparse(tmp_path / "d.vmdk", 128 + 3, {1: body})
    with opened(layout.path) as image:
        assert image.virtual_size == GRAIN + 3 * SECTOR
        assert the_map(image) == [(0, GRAIN, Z, None), (GRAIN, 3 * SECTOR, D, layout.grains[1])]
        assert image.pread(GRAIN, GRAIN) == body[: 3 * SECTOR]


def test_entries_behind_the_end_of_the_disk_mean_nothing(tmp_path: Path) -> None:
    # qemu-img leaves some in images whose size is no whole number of grains.
    layout = write_sparse(tmp_path / "d.vmdk", 256, {0: b"x"})
    poke(layout.path, layout.tables[0] + 4 * 2, b"\xff\xff\xff\x7f")
    with opened(layout.path) as image:
        assert the_map(image) == [(0, GRAIN, D, layout.grains[0]), (GRAIN, GRAIN, Z, None)]


def test_a_zeroed_grain_is_zeros_where_the_flag_says_so(tmp_path: Path) -> None:
    layout = write_sparse(tmp_path / "d.vmdk", 384, {0: b"x", 1: None})
    with opened(layout.path) as image:
        assert the_map(image) == [(0, GRAIN, D, layout.grains[0]), (GRAIN, 2 * GRAIN, Z, None)]


def test_without_the_flag_entry_1_is_a_place_in_the_header_region(tmp_path: Path) -> None:
    layout = write_sparse(tmp_path / "d.vmdk", 384, {0: b"x", 1: None}, redundant=False, flags=1)
    with (
        pytest.raises(CorruptImageError, match=r"grain 1 .* on top of the descriptor") as caught,
        opened(layout.path) as image,
    ):
        image.pread(0, 512)
    assert caught.value.offset == layout.tables[0] + 4


@pytest.mark.parametrize("max_rows", [1, 2, 7, 600])
def test_windows_of_any_size_give_the_same_map(tmp_path: Path, max_rows: int) -> None:
    # Three tables, the middle one missing.
    numbers = [0, 1, 5, 510, 511, 1024, 1030, 1031]
    grains = {number: b"%d" % number for number in numbers}
    layout = write_sparse(tmp_path / "d.vmdk", 8 * 1040, grains, grain=8)
    with opened(layout.path) as image:
        whole = [row for row in the_map(image) if row[2] == D]
        parts = [row for row in the_map(image, max_rows) if row[2] == D]
        assert sum(row[1] for row in parts) == sum(row[1] for row in whole) == 8 * 4096
        for offset, _, _, place in parts:
            assert place == layout.grains[offset // 4096]
        for number in numbers:
            assert image.pread(number * 4096, 8).rstrip(b"\0") == b"%d" % number


def test_a_window_may_begin_inside_a_grain(tmp_path: Path) -> None:
    layout = write_sparse(tmp_path / "d.vmdk", 512, {1: pattern(1, GRAIN)})
    with opened(layout.path) as image:
        (extent,) = image.extents(GRAIN + 512, 1024)
        assert (extent.offset, extent.length, extent.kind) == (GRAIN + 512, 1024, D)
        assert extent.file_offset == layout.grains[1] + 512


def test_a_huge_empty_disk_takes_no_time(tmp_path: Path) -> None:
    # 64 TiB: a directory of 8 MiB, nearly all of it a hole.
    layout = write_sparse(tmp_path / "d.vmdk", 64 << 31, {0: b"first", (64 << 24) - 1: b"last"})
    start = time.monotonic()
    with opened(layout.path) as image:
        assert [row[2] for row in the_map(image) if row[2] == D] == [D, D]
        assert image.pread((64 << 40) - GRAIN, 4) == b"last"
    assert time.monotonic() - start < 2


def test_a_last_grain_cut_by_the_end_of_the_file_ends_in_zeros(tmp_path: Path) -> None:
    body = pattern(1, GRAIN)
    layout = write_sparse(tmp_path / "d.vmdk", 128, {0: body})
    with open(layout.path, "r+b") as file:
        file.truncate(layout.grains[0] + 1000)
    with opened(layout.path) as image:
        assert image.pread(0, GRAIN) == body[:1000] + bytes(GRAIN - 1000)
        assert codes(image) == ["short-block"]


# ---- what the header says -----------------------------------------------------------------------


def test_info(tmp_path: Path) -> None:
    text = descriptor(
        ['RW 2048 SPARSE "d.vmdk"'], "monolithicSparse", cid="1234abcd",
        more=['ddb.uuid = "60 00 C2 9a"', 'ddb.virtualHWVersion = "7"'],
    )  # fmt: skip
    write_sparse(tmp_path / "d.vmdk", 2048, text=text)
    with opened(tmp_path / "d.vmdk") as image:
        info = image.info()
    assert (info.format, info.subformat, info.virtual_size) == ("vmdk", "monolithicSparse", MIB)
    assert info.block_size == GRAIN
    assert info.geometry == (20, 16, 63)
    assert info.identifiers == {"cid": "1234abcd", "uuid": "60 00 C2 9a"}
    assert info.details == {
        "adapter type": "lsilogic",
        "hardware version": "7",
        "number of extents": 1,
        "extents": [
            {
                "size": MIB, "type": "SPARSE", "access": "RW", "name": "d.vmdk", "version": 1,
                "flags": 3, "compressed": False, "directory": "header",
            }
        ],
    }  # fmt: skip


def test_a_renamed_file_is_still_its_own_extent(tmp_path: Path) -> None:
    write_sparse(tmp_path / "old.vmdk", 128, {0: b"content"})
    (tmp_path / "old.vmdk").rename(tmp_path / "new.vmdk")
    with opened(tmp_path / "new.vmdk") as image:
        assert image.pread(0, 7) == b"content"


def test_an_extent_without_a_name_is_the_file_itself(tmp_path: Path) -> None:
    # FreeBSD's mkimg writes it so.
    text = descriptor(['RW 128 SPARSE ""'], "monolithicSparse")
    write_sparse(tmp_path / "d.vmdk", 128, {0: b"content"}, text=text)
    with opened(tmp_path / "d.vmdk") as image:
        assert image.pread(0, 7) == b"content"


def test_an_embedded_descriptor_may_add_zeros(tmp_path: Path) -> None:
    text = descriptor(["RW 8 ZERO", 'RW 128 SPARSE "d.vmdk"', "RW 8 ZERO"])
    layout = write_sparse(tmp_path / "d.vmdk", 128, {0: pattern(1, GRAIN)}, text=text)
    with opened(layout.path) as image:
        assert the_map(image) == [
            (0, 4096, Z, None),
            (4096, GRAIN, D, layout.grains[0]),
            (4096 + GRAIN, 4096, Z, None),
        ]


def test_an_embedded_descriptor_may_name_other_extents(tmp_path: Path) -> None:
    (tmp_path / "flat").write_bytes(b"flat".ljust(512))
    text = descriptor(['RW 128 SPARSE "d.vmdk"', 'RW 1 FLAT "flat" 0'])
    write_sparse(tmp_path / "d.vmdk", 128, {0: b"sparse"}, text=text)
    with opened(tmp_path / "d.vmdk") as image:
        assert image.pread(0, 6) == b"sparse"
        assert image.pread(GRAIN, 4) == b"flat"
    (tmp_path / "d.vmdk").rename(tmp_path / "other.vmdk")
    with pytest.raises(InvalidImageError, match="0 of the extents .* could be this file"):
        opened(tmp_path / "other.vmdk")


def test_a_header_without_sectors_is_a_place_for_a_descriptor(tmp_path: Path) -> None:
    (tmp_path / "flat").write_bytes(b"flat".ljust(512))
    text = descriptor(['RW 1 FLAT "flat" 0']).encode()
    path = tmp_path / "d.vmdk"
    path.write_bytes(header(0, 0, descriptor_at=1, descriptor_size=2) + text.ljust(1024, b"\0"))
    with opened(path) as image:
        assert image.pread(0, 512) == b"flat".ljust(512)


def test_an_extent_on_its_own_is_read_and_noticed(tmp_path: Path) -> None:
    write_sparse(tmp_path / "d-s001.vmdk", 128, {0: b"content"}, text=None)
    with opened(tmp_path / "d-s001.vmdk") as image:
        assert image.pread(0, 7) == b"content"
        assert codes(image) == ["extent-alone"]
        assert image.info().subformat == "sparse extent"


def test_an_image_that_was_not_closed_is_noticed(tmp_path: Path) -> None:
    write_sparse(tmp_path / "d.vmdk", 128, unclean=1)
    with opened(tmp_path / "d.vmdk") as image:
        assert [(n.code, n.offset) for n in image.notices] == [("not-closed", 72)]


def test_more_capacity_than_the_descriptor_says_is_left_out(tmp_path: Path) -> None:
    text = descriptor(['RW 128 SPARSE "d.vmdk"'], "monolithicSparse")
    write_sparse(tmp_path / "d.vmdk", 256, {1: b"beyond"}, text=text)
    with opened(tmp_path / "d.vmdk") as image:
        assert image.virtual_size == GRAIN
        assert codes(image) == ["capacity-differs"]


def test_less_capacity_than_the_descriptor_says_is_damage(tmp_path: Path) -> None:
    text = descriptor(['RW 129 SPARSE "d.vmdk"'], "monolithicSparse")
    write_sparse(tmp_path / "d.vmdk", 128, text=text)
    with pytest.raises(CorruptImageError, match="128 sectors, its descriptor says 129") as caught:
        opened(tmp_path / "d.vmdk")
    assert caught.value.offset == 12


# (bytes at, value, class, offset, message)
HEADERS = [
    (4, struct.pack("<I", 4), UnsupportedImageError, 4, "version 4"),
    (4, struct.pack("<I", 0), UnsupportedImageError, 4, "version 0"),
    (12, struct.pack("<Q", 1 << 55), InvalidImageError, 12, "capacity"),
    (20, struct.pack("<Q", 4), InvalidImageError, 20, "grain size is 4 sectors"),
    (20, struct.pack("<Q", 100), InvalidImageError, 20, "power of two"),
    (20, struct.pack("<Q", 1 << 22), InvalidImageError, 20, "power of two"),
    (36, struct.pack("<Q", 2049), InvalidImageError, 36, "descriptor's size"),
    (28, struct.pack("<Q", 1 << 40), CorruptImageError, 28, "descriptor is said to lie"),
    (44, struct.pack("<I", 511), InvalidImageError, 44, "511 entries"),
    (73, b"\n \n\n", CorruptImageError, 73, "line ends"),
    (77, struct.pack("<H", 1), InvalidImageError, 77, "both to say the same"),
    (8, struct.pack("<I", 3 | 1 << 17), UnsupportedImageError, 8, "both or neither"),
]


@pytest.mark.parametrize(("at", "value", "kind", "offset", "message"), HEADERS)
def test_headers_that_are_refused(
    tmp_path: Path, at: int, value: bytes, kind: type[Exception], offset: int, message: str
) -> None:
    write_sparse(tmp_path / "d.vmdk", 128, {0: b"x"})
    poke(tmp_path / "d.vmdk", at, value)
    with pytest.raises(kind, match=message) as caught:
        opened(tmp_path / "d.vmdk")
    assert caught.value.offset == offset  # type: ignore[attr-defined]


def test_line_ends_count_only_where_the_flag_says_so(tmp_path: Path) -> None:
    write_sparse(tmp_path / "d.vmdk", 128, {0: b"x"}, flags=2)
    poke(tmp_path / "d.vmdk", 73, bytes(4))
    with opened(tmp_path / "d.vmdk") as image:
        assert image.pread(0, 1) == b"x"


# ---- damage -------------------------------------------------------------------------------------


def test_a_damaged_directory_is_replaced_by_the_redundant_one(tmp_path: Path) -> None:
    layout = write_sparse(tmp_path / "d.vmdk", 128, {0: b"content"})
    for place, bad in (
        (56, struct.pack("<Q", 1 << 60)),
        (layout.directory, b"\xff\xff\xff\xff"),
        (layout.tables[0], b"\xff\xff\xff\xff"),
        (layout.tables[0], b"\1\0\0\0"),
    ):
        good = peek(layout.path, place, len(bad))
        poke(layout.path, place, bad)
        with opened(layout.path) as image:
            assert image.pread(0, 7) == b"content"
            assert [(n.code, n.offset) for n in image.notices] == [("grain-directory-damaged", 56)]
        poke(layout.path, place, good)


def test_without_a_redundant_directory_damage_is_an_error(tmp_path: Path) -> None:
    layout = write_sparse(tmp_path / "d.vmdk", 256, {0: b"content", 1: b"x"}, redundant=False)
    table, size = layout.tables[0], layout.path.stat().st_size
    for place, bad, offset, message in (
        (layout.directory, b"\xff\xff\xff\xff", layout.directory, "entry 0 of the grain directory"),
        (table, struct.pack("<I", size // 512), table, f"grain 0 .* the file ends at {size:#x}"),
        (table + 4, b"\xff\xff\xff\xff", table + 4, "grain 1 is said to lie at 0x1fffffffe00"),
        (table, struct.pack("<I", 0x100000), table, "grain 0 is said to lie at"),
        (table + 4, peek(layout.path, table, 4), table + 4, "grain 1 at .* shares bytes"),
        (
            table,
            struct.pack("<I", layout.directory // 512),
            table,
            "grain 0 .* on top of the grain directory",
        ),
        (table, struct.pack("<I", table // 512 + 1), table, "grain 0 at .* shares bytes"),
    ):
        good = peek(layout.path, place, 4)
        poke(layout.path, place, bad)
        with (
            pytest.raises(CorruptImageError, match=message) as caught,
            opened(layout.path) as image,
        ):
            image.pread(0, 512)
        assert caught.value.offset == offset
        poke(layout.path, place, good)


def test_two_directory_entries_with_one_table_are_damage(tmp_path: Path) -> None:
    grains = {0: b"one", 512: b"two"}
    layout = write_sparse(tmp_path / "d.vmdk", 1024 * 8, grains, grain=8, redundant=False)
    poke(layout.path, layout.directory + 4, peek(layout.path, layout.directory, 4))
    with pytest.raises(CorruptImageError, match="share"), opened(layout.path) as image:
        image.pread(0, 512)


def test_entries_may_share_a_table_that_says_one_thing(tmp_path: Path) -> None:
    grains = {0: b"one", **dict.fromkeys(range(512, 1024))}
    layout = write_sparse(tmp_path / "d.vmdk", 1536 * 8, grains, grain=8)
    for directory in (layout.directory, layout.redundant):
        poke(layout.path, directory + 8, peek(layout.path, directory + 4, 4))
    with opened(layout.path) as image:
        assert image.pread(0, 3) == b"one"
        assert image.extents().bytes_of(D) == 4096
        assert image.notices == ()


def test_a_table_that_says_two_things_is_of_one_entry(tmp_path: Path) -> None:
    layout = write_sparse(
        tmp_path / "d.vmdk", 1536 * 8, {0: b"one", 512: None}, grain=8, redundant=False
    )
    poke(layout.path, layout.directory + 8, peek(layout.path, layout.directory + 4, 4))
    with opened(layout.path) as image, pytest.raises(CorruptImageError, match="share bytes"):
        image.extents()


def test_a_quarter_of_a_million_entries_with_one_table_take_no_time(tmp_path: Path) -> None:
    layout = write_sparse(tmp_path / "d.vmdk", 128, grain=8, text=None, redundant=False)
    count = 1 << 18
    end = layout.path.stat().st_size
    poke(layout.path, 12, struct.pack("<Q", count * 4096))
    poke(layout.path, 56, struct.pack("<Q", end // 512 + 8))
    poke(layout.path, (end // 512 + 8) * 512, struct.pack("<I", end // 512) * count)
    before = time.process_time()
    with opened(layout.path) as image:
        assert sum(w.bytes_of(Kind.ZERO) for w in image.windows()) == count * 4096 * 512
    assert time.process_time() - before < 1.5


def test_a_directory_that_no_disk_needs_is_not_read(tmp_path: Path) -> None:
    layout = write_sparse(tmp_path / "d.vmdk", 128, grain=8, text=None, redundant=False)
    poke(layout.path, 12, struct.pack("<Q", (1 << 37) + 8))
    with pytest.raises(UnsupportedImageError, match="33554433 entries"):
        opened(layout.path)


def test_a_directory_beyond_the_file_is_damage(tmp_path: Path) -> None:
    layout = write_sparse(tmp_path / "d.vmdk", 128, {0: b"x"}, redundant=False)
    poke(layout.path, 56, struct.pack("<Q", 1 << 40))
    with pytest.raises(CorruptImageError, match="grain directory takes"):
        opened(layout.path)


def test_the_text_must_be_there_where_the_header_says(tmp_path: Path) -> None:
    write_sparse(tmp_path / "d.vmdk", 128, {0: b"x"})
    poke(tmp_path / "d.vmdk", 512, bytes(512))
    with pytest.raises(InvalidImageError, match="no descriptor here") as caught:
        opened(tmp_path / "d.vmdk")
    assert caught.value.offset == 512


def test_a_damaged_beginning_never_passes_for_a_raw_disk(tmp_path: Path) -> None:
    write_sparse(tmp_path / "d.img", 128, {0: b"x"})
    poke(tmp_path / "d.img", 0, bytes(512))
    with pytest.raises(UnknownFormatError, match="damaged vmdk image: a descriptor at offset"):
        open_image(tmp_path / "d.img")
