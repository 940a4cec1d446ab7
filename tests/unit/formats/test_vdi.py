"""VDI: what is read, how it is described, what is refused."""

from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import GIB, KIB, MIB, SparseFile, pattern, poke, rows_of
from tests.support.build_vdi import (
    CHILD_ID,
    DIFFERENCING,
    DISCARDED,
    FIELDS,
    FREE,
    IMAGE_ID,
    MAP,
    MODIFY_ID,
    NONE,
    STATIC,
    vdi,
)
from vhdfast import Image, open_image
from vhdfast.errors import (
    CorruptImageError,
    InvalidImageError,
    UnknownFormatError,
    UnsafeReferenceError,
    UnsupportedImageError,
    VhdfastError,
)

Opened = Callable[..., Image]
Refused = Callable[..., VhdfastError]
OTHER_ID = uuid.UUID("99999999-0000-0000-0000-000000000009")


def the_map(image: Image, max_rows: int = 65536) -> list[tuple[Any, ...]]:
    return rows_of(list(image.windows(max_rows=max_rows)))


# ---- the map ------------------------------------------------------------------------------------


def test_an_empty_disk_is_one_row_of_zeros(opened: Opened) -> None:
    image = opened(vdi(virtual_size=8 * MIB), ask_holes=False)
    assert the_map(image) == [(0, 8 * MIB, "ZERO", None, None)]
    assert image.notices == ()


def test_blocks_lie_where_the_map_says(opened: Opened) -> None:
    one, two = pattern(1, MIB), pattern(2, MIB)
    image = opened(vdi(virtual_size=4 * MIB, blocks={3: one, 1: two}), ask_holes=False)
    assert the_map(image) == [
        (0, MIB, "ZERO", None, None),
        (MIB, MIB, "DATA", 0, 2 * MIB),
        (2 * MIB, MIB, "ZERO", None, None),
        (3 * MIB, MIB, "DATA", 0, MIB),
    ]
    assert image.pread(0, 4 * MIB) == bytes(MIB) + two + bytes(MIB) + one


@pytest.mark.parametrize("entry", [FREE, DISCARDED])
def test_blocks_that_are_not_stored_are_zeros(opened: Opened, entry: int) -> None:
    file = vdi(virtual_size=2 * MIB, blocks={0: pattern(1, MIB)}, entries={1: entry})
    assert the_map(opened(file, ask_holes=False)) == [
        (0, MIB, "DATA", 0, MIB),
        (MIB, MIB, "ZERO", None, None),
    ]


def test_extra_bytes_lie_in_front_of_each_block(opened: Opened) -> None:
    one, two = pattern(1, MIB), pattern(2, MIB)
    image = opened(vdi(virtual_size=2 * MIB, blocks={1: one, 0: two}, block_extra=512))
    assert image.pread(0, 2 * MIB) == two + one
    assert image.info().details["extra bytes per block"] == 512


@pytest.mark.parametrize("size", [4 * KIB, 64 * KIB, 32 * MIB])
def test_any_block_size_that_is_a_power_of_two(opened: Opened, size: int) -> None:
    body = pattern(1, 4 * KIB)
    image = opened(vdi(virtual_size=3 * size, block_size=size, blocks={2: body}))
    assert image.pread(2 * size, 4 * KIB) == body
    assert image.info().block_size == size


def test_a_size_inside_a_sector_is_rounded_up_as_qemu_does(opened: Opened) -> None:
    image = opened(vdi(virtual_size=MIB + 1, blocks={1: b"ab"}))
    assert image.virtual_size == MIB + 512
    assert image.pread(MIB, 512) == b"ab" + bytes(510)
    assert image.info().details["size in the header"] == MIB + 1


def test_a_map_larger_than_the_disk_is_read_as_far_as_it_goes(opened: Opened) -> None:
    # What stands behind the disk's blocks names one that is not there, and one twice.
    file = vdi(
        virtual_size=MIB, block_count=4, blocks={0: b"x"}, entries={1: 0, 2: 99, 3: 0}
    )
    assert opened(file).pread(0, 1) == b"x"


def test_a_last_block_that_the_file_cuts_short_is_noticed(
    opened: Opened, codes: Callable[[Image], list[str]]
) -> None:
    file = vdi(virtual_size=2 * MIB, blocks={0: pattern(1, MIB), 1: pattern(2, MIB)})
    file.cut(2 * MIB + 1000)
    image = opened(file)
    assert image.pread(MIB, MIB) == pattern(2, MIB)[:1000] + bytes(MIB - 1000)
    assert codes(image) == ["short-block"]


def test_windows_of_one_row_give_the_same_map(opened: Opened) -> None:
    blocks = {number: pattern(number, 512) for number in (5, 0, 3, 4, 9)}
    image = opened(vdi(virtual_size=10 * MIB, blocks=blocks), ask_holes=False)
    for number, body in blocks.items():
        assert image.pread(number * MIB, 512) == body

    def by_block(max_rows: int) -> list[tuple[int, str, int | None]]:
        return [
            (start, kind, None if place is None else place + start - first)
            for first, length, kind, _, place in the_map(image, max_rows)
            for start in range(first, first + length, MIB)
        ]

    assert by_block(1) == by_block(65536)


@pytest.mark.large
def test_a_large_disk_is_mapped_in_windows(opened: Opened) -> None:
    started = time.monotonic()
    image = opened(vdi(virtual_size=2 << 40, blocks={(2 << 20) - 1: b"end"}), ask_holes=False)
    total = sum(window.length for window in image.windows())
    assert total == 2 << 40
    assert image.pread((2 << 40) - MIB, 3) == b"end"
    assert time.monotonic() - started < 2


# ---- what it says of itself ---------------------------------------------------------------------


def test_info_gives_the_headers_words(opened: Opened) -> None:
    image = opened(
        vdi(
            virtual_size=4 * MIB, blocks={0: b"x"}, image_type=STATIC, comment=b"my\x07 disk",
            geometry=(1, 2, 3), logical_geometry=(4, 5, 6),
        )
    )  # fmt: skip
    info = image.info()
    assert (info.format, info.subformat) == ("vdi", "static")
    assert info.creator == "Oracle VM VirtualBox Disk Image"
    assert info.geometry == (4, 5, 6)
    assert info.identifiers == {
        "image uuid": str(IMAGE_ID),
        "modification uuid": str(MODIFY_ID),
    }
    assert info.details == {"blocks allocated": 1, "comment": "my? disk"}


def test_the_old_geometry_counts_where_there_is_no_other(opened: Opened) -> None:
    file = vdi(
        virtual_size=MIB, geometry=(1, 2, 3), logical_geometry=(4, 5, 6), header_size=0x180
    )
    assert opened(file).info().geometry == (1, 2, 3)


# ---- differencing -------------------------------------------------------------------------------


def parent_file(**changes: Any) -> SparseFile:
    blocks = {0: pattern(1, MIB), 1: pattern(2, MIB), 2: pattern(3, MIB)}
    return vdi(virtual_size=4 * MIB, blocks=blocks, **changes)


def child_file(**changes: Any) -> SparseFile:
    fields: dict[str, Any] = {
        "virtual_size": 4 * MIB,
        "blocks": {1: pattern(9, MIB)},
        "entries": {2: DISCARDED},
        "image_type": DIFFERENCING,
        "image_id": CHILD_ID,
        "link_id": IMAGE_ID,
        "parent_modify_id": MODIFY_ID,
    }
    return vdi(**{**fields, **changes})


def test_a_differencing_image_lies_over_the_named_parent(opened: Opened, tmp_path: Path) -> None:
    base = parent_file().write(tmp_path / "base.vdi")
    image = opened(child_file(), "child.vdi", parents=[base])
    assert image.pread(0, 4 * MIB) == pattern(1, MIB) + pattern(9, MIB) + bytes(2 * MIB)
    info = image.info()
    assert (info.subformat, info.parent) == ("differencing", str(base))
    assert info.identifiers["parent uuid"] == str(IMAGE_ID)
    assert image.notices == ()


def test_a_chain_of_three(opened: Opened, tmp_path: Path) -> None:
    base = parent_file().write(tmp_path / "base.vdi")
    middle = child_file().write(tmp_path / "middle.vdi")
    top = child_file(
        blocks={3: pattern(7, MIB)}, entries={}, image_id=OTHER_ID, link_id=CHILD_ID
    )
    image = opened(top, "top.vdi", parents=[middle, base])
    expected = pattern(1, MIB) + pattern(9, MIB) + bytes(MIB) + pattern(7, MIB)
    assert image.pread(0, 4 * MIB) == expected


def test_without_a_parent_the_option_is_named(refused: Refused) -> None:
    error = refused(UnsafeReferenceError, child_file(), "does not say where its parent is")
    assert "--parent" in str(error.hint)


def test_another_parent_is_refused_naming_both_uuids(refused: Refused, tmp_path: Path) -> None:
    base = parent_file(image_id=OTHER_ID).write(tmp_path / "base.vdi")
    refused(
        CorruptImageError, child_file(), str(OTHER_ID), str(IMAGE_ID), offset=0x1A8,
        name="child.vdi", parents=[base],
    )  # fmt: skip


def test_a_parent_that_was_written_to_is_noticed(
    opened: Opened, tmp_path: Path, codes: Callable[[Image], list[str]]
) -> None:
    base = parent_file(modify_id=OTHER_ID).write(tmp_path / "base.vdi")
    image = opened(child_file(), "child.vdi", parents=[base])
    assert codes(image) == ["parent-modified"]


def test_a_raw_parent_must_be_said_and_cannot_be_checked(
    opened: Opened, tmp_path: Path, codes: Callable[[Image], list[str]]
) -> None:
    base = tmp_path / "base.raw"
    base.write_bytes(pattern(5, 4 * MIB))
    image = opened(child_file(), "child.vdi", parents=[base], backing_format="raw")
    assert image.pread(0, MIB) == pattern(5, MIB)
    assert codes(image) == ["parent-not-checked"]


def test_a_parent_that_is_no_vdi_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "base.raw"
    base.write_bytes(pattern(5, 4 * MIB))
    child = child_file().write(tmp_path / "child.vdi")
    with pytest.raises(InvalidImageError, match="signature") as caught:
        open_image(child, parents=[base])
    assert caught.value.path == str(base)


def test_an_image_is_not_its_own_parent(refused: Refused, tmp_path: Path) -> None:
    refused(
        InvalidImageError, child_file(link_id=CHILD_ID), "above itself", name="child.vdi",
        parents=[tmp_path / "child.vdi"],
    )  # fmt: skip


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "offset", "value", "fragment"),
    [
        (UnsupportedImageError, 0x46, b"\0\0", "version is 0.1"),
        (UnsupportedImageError, 0x46, b"\2\0", "version is 2.1"),
        (UnsupportedImageError, 0x44, b"\2\0", "version is 1.2"),
        (InvalidImageError, 0x48, b"\x7f\1\0\0", "383 bytes"),
        (InvalidImageError, 0x4C, b"\0", "type is 0"),
        (InvalidImageError, 0x4C, b"\5", "type is 5"),
        (UnsupportedImageError, 0x4C, b"\3", "undo image"),
        (InvalidImageError, 0x154, bytes(4), "on top of the header"),
        (InvalidImageError, 0x158, struct.pack("<I", MAP + 15), "on top of the block map"),
        (UnsupportedImageError, 0x168, struct.pack("<I", 4096), "sectors of 4096"),
        (InvalidImageError, 0x170, bytes(8), "0 bytes"),
        (InvalidImageError, 0x170, b"\xff" * 8, "below 2^63"),
        (InvalidImageError, 0x178, struct.pack("<I", 3 * MIB), "power of two"),
        (InvalidImageError, 0x178, struct.pack("<I", 2048), "power of two"),
        (InvalidImageError, 0x178, struct.pack("<I", 512 * MIB), "power of two"),
        (InvalidImageError, 0x178, bytes(4), "power of two"),
        (InvalidImageError, 0x17C, struct.pack("<I", MIB + 1), "extra data"),
        (InvalidImageError, 0x180, struct.pack("<I", 3), "3 entries"),
        (InvalidImageError, 0x180, b"\xff" * 4, "4294967295 entries"),
    ],
)
def test_a_field_out_of_bounds(
    refused: Refused, kind: type[VhdfastError], offset: int, value: bytes, fragment: str
) -> None:
    file = vdi(virtual_size=4 * MIB, blocks={0: b"x"})
    file.put(offset, value)
    where = 0x44 if offset == 0x46 else offset
    refused(kind, file, fragment, offset=where)


def test_a_base_with_a_parents_uuid_is_refused(refused: Refused) -> None:
    refused(InvalidImageError, child_file(image_type=1), "expected a UUID", offset=0x4C)


def test_a_differencing_image_without_one_is_refused(refused: Refused) -> None:
    refused(InvalidImageError, child_file(link_id=NONE), "expected a UUID", offset=0x1A8)


def test_a_map_outside_the_file(refused: Refused) -> None:
    file = vdi(virtual_size=4 * MIB)
    file.put(0x154, struct.pack("<II", MIB, 2 * MIB))
    refused(CorruptImageError, file, "block map takes", offset=0x154)


def test_a_block_outside_the_file(refused: Refused) -> None:
    file = vdi(virtual_size=4 * MIB, blocks={0: b"x"}, entries={2: 1})
    refused(CorruptImageError, file, "block 2 is stored block 1", offset=MAP + 8, when="walking")


def test_the_largest_number_is_outside_the_file(refused: Refused) -> None:
    file = vdi(
        virtual_size=GIB, block_size=256 * MIB, block_extra=256 * MIB, data_offset=0xFFFFFFFF,
        entries={1: 0xFFFFFFFD},
    )  # fmt: skip
    refused(CorruptImageError, file, "block 1", offset=MAP + 4, when="walking")


def test_a_block_that_is_stored_for_two(refused: Refused) -> None:
    file = vdi(virtual_size=4 * MIB, blocks={0: b"x"}, entries={3: 0})
    refused(
        CorruptImageError, file, "block 3 is stored block 0, and so is block 0",
        offset=MAP + 12, when="walking",
    )  # fmt: skip


def test_the_same_block_in_two_windows_of_the_map(refused: Refused) -> None:
    file = vdi(virtual_size=70000 * MIB, blocks={0: b"x"}, entries={69999: 0})
    refused(CorruptImageError, file, "block 69999", offset=MAP + 4 * 69999, when="walking")


def test_a_map_that_is_a_hole_ends_at_once(refused: Refused) -> None:
    file = SparseFile()
    file.put(0, vdi(virtual_size=MIB).get(0, 0x1D8))
    file.put(0x158, struct.pack("<I", 0xFFFFF000))
    count = 1_000_000_000
    file.put(0x170, struct.pack("<QIII", count * 4096, 4096, 0, count))
    file.size = 0x1_0000_0000
    started = time.monotonic()
    refused(CorruptImageError, file, "block 1 is stored block 0", when="walking")
    assert time.monotonic() - started < 1


def test_a_damaged_signature_does_not_make_a_raw_disk(refused: Refused) -> None:
    file = vdi(virtual_size=MIB)
    file.put(0x40, b"\0")
    file.put(510, b"\x55\xaa")
    refused(UnknownFormatError, file, "damaged vdi", name="disk.raw")


@pytest.mark.parametrize("size", [0, 63, 64, 100, 511, 512, MAP + 7, MIB - 1, MIB])
def test_a_file_cut_anywhere(tmp_path: Path, size: int) -> None:
    file = vdi(virtual_size=2 * MIB, blocks={1: b"x"})
    file.cut(size)
    path = file.write(tmp_path / "d.vdi")
    kinds = (CorruptImageError, InvalidImageError)
    with pytest.raises(kinds) as caught, open_image(path, "vdi") as image:
        image.pread(0, 2 * MIB)
    assert caught.value.path == str(path)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field[0])
def test_a_field_at_its_extremes_is_refused_or_harmless(
    tmp_path: Path, field: tuple[str, int, int]
) -> None:
    _, at, size = field
    body = pattern(1, MIB)
    path = vdi(virtual_size=3 * MIB, blocks={1: body}).write(tmp_path / "d.vdi")
    top = 256**size - 1
    for value in (0, 1, 2, 4, 511, 512, top, top - 1, top // 2, top // 2 + 1):
        before = poke(path, at, value.to_bytes(size, "little"))
        try:
            with open_image(path, "vdi") as image:
                assert image.virtual_size <= 4 * MIB
                image.pread(0, image.virtual_size)
        except VhdfastError as error:
            assert error.exit_code == 4
        poke(path, at, before)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    damage=st.lists(
        st.tuples(st.integers(0x40, MAP + 12), st.binary(min_size=1, max_size=8)), max_size=3
    )
)
def test_random_damage_never_ends_otherwise(
    tmp_path: Path, damage: list[tuple[int, bytes]]
) -> None:
    file = vdi(virtual_size=3 * MIB, blocks={1: b"x" * 4096})
    for at, data in damage:
        file.put(at, data)
    path = file.write(tmp_path / "d.vdi")
    try:
        with open_image(path, "vdi") as image:
            next(iter(image.windows()))
            image.pread(0, 3 * MIB)
    except VhdfastError as error:
        assert error.exit_code == 4


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), extra=st.sampled_from([0, 512]), unit=st.sampled_from([4 * KIB, 64 * KIB]))
def test_any_layout_reads_as_it_was_written(
    tmp_path: Path, data: st.DataObject, extra: int, unit: int
) -> None:
    count = data.draw(st.integers(1, 12))
    chosen = data.draw(st.lists(st.integers(0, count - 1), unique=True))
    places = data.draw(st.permutations(range(len(chosen))))
    zeroed = [block for block in range(count) if block not in chosen and block % 2]
    blocks = {block: pattern(block, unit) for block in chosen}
    file = vdi(
        virtual_size=count * unit, block_size=unit, block_extra=extra, blocks=blocks,
        numbers=dict(zip(chosen, places, strict=True)), entries=dict.fromkeys(zeroed, DISCARDED),
    )  # fmt: skip
    with open_image(file.write(tmp_path / "d.vdi"), ask_holes=False) as image:
        expected = b"".join(blocks.get(block, bytes(unit)) for block in range(count))
        assert image.pread(0, image.virtual_size) == expected
        start = 0
        for window in image.windows(max_rows=2):
            for row in window:
                assert row.offset == start
                stored = row.offset // unit in blocks
                assert (row.kind.name == "DATA") == stored
                start = row.offset + row.length
        assert start == count * unit
