"""VHDX files whose structures are wrong: a typed error that says what and where."""

from __future__ import annotations

import struct
import uuid
from pathlib import Path

import pytest

from tests.support import KIB, MIB, poke
from tests.support.build_vhdx import (
    BAT,
    BAT_REGION,
    HEADERS,
    LOG,
    LOG_ID,
    METADATA,
    METADATA_REGION,
    PARENT_LOCATOR,
    REGION_TABLES,
    header,
    linkage,
    parent_locator,
    poke_both,
    standard_items,
    write_vhdx,
)
from tests.support.vhdx_damage import (
    BODY,
    ITEM_AT,
    ITEMS,
    PAYLOAD,
    refusal,
    small_disk,
    u16,
    u32,
    u64,
)
from vhdfast import open_image
from vhdfast.errors import (
    CorruptImageError,
    ImageError,
    InvalidImageError,
    MissingReferenceError,
    UnsafeReferenceError,
    UnsupportedImageError,
)

Disk = Path


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return small_disk(tmp_path / "disk.vhdx")


# ---- the file and its headers -------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 7, 8, 519, 520, 64 * KIB, 256 * KIB, MIB - 1])
def test_a_file_shorter_than_the_header_section(disk: Disk, size: int) -> None:
    with open(disk, "r+b") as file:
        file.truncate(size)
    error = refusal(disk, f"has {size} bytes", "at least 1048576", "cut short", at=None)
    assert type(error) is CorruptImageError


def test_both_headers_damaged(disk: Disk) -> None:
    poke(disk, HEADERS[0], b"HEAD")
    poke(disk, HEADERS[1] + 4, bytes(4))
    error = refusal(
        disk, "neither header", "b'HEAD'", "expected b'head'", "0x00000000", "expected 0x",
        at=HEADERS[0],
    )  # fmt: skip
    assert type(error) is CorruptImageError


def test_two_headers_of_the_same_age_that_differ(disk: Disk) -> None:
    poke(disk, HEADERS[0], header(7, log_length=2 * MIB))
    error = refusal(disk, "number 7 and differ", "expected one to be newer", at=HEADERS[1])
    assert type(error) is CorruptImageError


@pytest.mark.parametrize("version", [0, 2, 0xFFFF])
def test_another_version(disk: Disk, version: int) -> None:
    poke_both(disk, HEADERS, 66, u16(version))
    error = refusal(disk, f"version {version}", "expected 1", at=HEADERS[1])
    assert type(error) is UnsupportedImageError


@pytest.mark.parametrize(
    ("offset", "length", "what", "kind"),
    [
        (MIB + 512, MIB, "expected whole MiB", InvalidImageError),
        (MIB, 4096, "expected whole MiB", InvalidImageError),
        (0, MIB, "begins at 0x0, expected 0x100000", InvalidImageError),
        (2 * MIB, MIB, "overlaps the", InvalidImageError),
        (MIB, 3 * MIB, "overlaps the metadata region", InvalidImageError),
        (BAT, MIB, "overlaps the", InvalidImageError),
    ],
)
def test_a_log_out_of_place(
    disk: Disk, offset: int, length: int, what: str, kind: type[ImageError]
) -> None:
    for place in HEADERS:
        poke(disk, place, header(7, log_offset=offset, log_length=length))
    assert type(refusal(disk, "log", what, at=HEADERS[0] + 68)) is kind


@pytest.mark.parametrize("offset", [64 * MIB, 1 << 62, (1 << 64) - MIB])
def test_a_log_behind_the_end(disk: Disk, offset: int) -> None:
    # Where it is empty, nothing is lost; where it is not, its changes are.
    for place in HEADERS:
        poke(disk, place, header(7, log_offset=offset))
    with open_image(disk) as image:
        assert image.pread(0, MIB) == BODY
    for place in HEADERS:
        poke(disk, place, header(7, log_offset=offset, log_id=LOG_ID))
    error = refusal(disk, "log ends at", "the file at 0x500000", at=HEADERS[0] + 68)
    assert type(error) is CorruptImageError


# ---- region tables ------------------------------------------------------------------------------


def with_regions(path: Path, *regions: tuple[uuid.UUID, int, int, int]) -> Path:
    return write_vhdx(path, virtual_size=3 * MIB, blocks={0: BODY}, regions=regions)


GOOD_BAT = (BAT_REGION, BAT, MIB, 1)
GOOD_METADATA = (METADATA_REGION, METADATA, MIB, 1)
ODD = uuid.UUID("deadbeef-0000-4000-8000-00000000cafe")


def test_both_region_tables_damaged(disk: Disk) -> None:
    poke(disk, REGION_TABLES[0], b"REGI")
    poke(disk, REGION_TABLES[1] + 65535, b"!")
    error = refusal(
        disk, "neither region table", "b'REGI'", "expected b'regi'", "checksum", "expected 0x",
        at=REGION_TABLES[0],
    )  # fmt: skip
    assert type(error) is CorruptImageError


@pytest.mark.parametrize("count", [2048, 0x7FFFFFFF, 0xFFFFFFFF])
def test_too_many_regions(disk: Disk, count: int) -> None:
    poke_both(disk, REGION_TABLES, 8, u32(count))
    error = refusal(disk, f"{count} entries", "at most 2047", at=REGION_TABLES[0] + 8)
    assert type(error) is InvalidImageError


def test_an_unknown_region_that_is_required(tmp_path: Path) -> None:
    path = with_regions(tmp_path / "d", GOOD_BAT, GOOD_METADATA, (ODD, 0, 0, 1))
    error = refusal(path, str(ODD), "unknown", at=REGION_TABLES[0] + 16 + 64)
    assert type(error) is UnsupportedImageError


def test_an_unknown_region_that_is_optional(tmp_path: Path) -> None:
    path = with_regions(tmp_path / "d", (ODD, 1 << 60, 0, 0), GOOD_BAT, GOOD_METADATA)
    with open_image(path) as image:
        assert image.pread(0, MIB) == BODY


@pytest.mark.parametrize(
    ("present", "missing"), [(GOOD_BAT, "metadata region"), (GOOD_METADATA, "BAT region")]
)
def test_a_missing_region(
    tmp_path: Path, present: tuple[uuid.UUID, int, int, int], missing: str
) -> None:
    path = with_regions(tmp_path / "d", present)
    error = refusal(path, f"no {missing}", "expected one", at=REGION_TABLES[0])
    assert type(error) is InvalidImageError


@pytest.mark.parametrize("twice", [GOOD_BAT, GOOD_METADATA])
def test_a_region_that_is_there_twice(
    tmp_path: Path, twice: tuple[uuid.UUID, int, int, int]
) -> None:
    path = with_regions(tmp_path / "d", GOOD_BAT, GOOD_METADATA, twice)
    error = refusal(path, "two entries for the", at=REGION_TABLES[0] + 16 + 64)
    assert type(error) is InvalidImageError


@pytest.mark.parametrize("region_id", [BAT_REGION, METADATA_REGION])
@pytest.mark.parametrize(
    ("offset", "length", "what", "kind"),
    [
        (BAT + 4096, MIB, "expected whole MiB", InvalidImageError),
        (BAT, 4096, "expected whole MiB", InvalidImageError),
        (BAT, 0, "expected whole MiB", InvalidImageError),
        (0, MIB, "begins at 0x0, expected 0x100000", InvalidImageError),
        (64 * MIB, MIB, "ends at 0x4100000, the file at 0x500000", CorruptImageError),
        (BAT, 0xFFF00000, "ends at 0x100200000, the file at 0x500000", CorruptImageError),
        ((1 << 64) - MIB, MIB, "the file at 0x500000", CorruptImageError),
    ],
)
def test_a_region_out_of_place(
    tmp_path: Path,
    region_id: uuid.UUID,
    offset: int,
    length: int,
    what: str,
    kind: type[ImageError],
) -> None:
    other = GOOD_METADATA if region_id == BAT_REGION else GOOD_BAT
    path = with_regions(tmp_path / "d", other, (region_id, offset, length, 1))
    assert type(refusal(path, "region", what, at=REGION_TABLES[0] + 16 + 32)) is kind


@pytest.mark.parametrize(
    ("regions", "at"),
    [
        (((BAT_REGION, METADATA, MIB, 1), GOOD_METADATA), REGION_TABLES[0]),
        (((BAT_REGION, METADATA, 2 * MIB, 1), (METADATA_REGION, BAT, MIB, 1)), REGION_TABLES[0]),
        (((BAT_REGION, LOG, MIB, 1), GOOD_METADATA), HEADERS[1] + 68),
    ],
)
def test_regions_that_overlap(
    tmp_path: Path, regions: tuple[tuple[uuid.UUID, int, int, int], ...], at: int
) -> None:
    error = refusal(with_regions(tmp_path / "d", *regions), "overlaps the", at=at)
    assert type(error) is InvalidImageError


# ---- metadata -----------------------------------------------------------------------------------

ENTRY_AT = METADATA + 32


def with_items(path: Path, items: list[tuple[uuid.UUID, bytes, int]]) -> Path:
    return write_vhdx(path, virtual_size=3 * MIB, blocks={0: BODY}, items=items)


def test_a_metadata_table_that_is_none(disk: Disk) -> None:
    poke(disk, METADATA, b"METADATA")
    error = refusal(disk, "b'METADATA'", "expected b'metadata'", at=METADATA)
    assert type(error) is InvalidImageError


@pytest.mark.parametrize("count", [2048, 0xFFFF])
def test_too_many_metadata_items(disk: Disk, count: int) -> None:
    poke(disk, METADATA + 10, u16(count))
    error = refusal(disk, f"{count} entries", "at most 2047", at=METADATA + 10)
    assert type(error) is InvalidImageError


def test_too_many_user_items(tmp_path: Path) -> None:
    users = [(uuid.UUID(int=number), b"", 1) for number in range(1025)]
    path = with_items(tmp_path / "d", standard_items(3 * MIB) + users)
    error = refusal(path, "1025 user entries", "1024 or fewer", at=METADATA)
    assert type(error) is InvalidImageError


def test_user_items_are_not_read(tmp_path: Path) -> None:
    # Even where they have the id of a system item, as the pair of both is what is unique.
    users = [(item_id, b"user", 1) for item_id, _, _ in standard_items(3 * MIB)]
    with open_image(with_items(tmp_path / "d", users + standard_items(3 * MIB))) as image:
        assert image.pread(0, MIB) == BODY


@pytest.mark.parametrize("name", ITEMS)
def test_a_missing_item(tmp_path: Path, name: str) -> None:
    items = standard_items(3 * MIB)
    del items[ITEMS[name]]
    error = refusal(with_items(tmp_path / "d", items), f"no {name}", "expected one", at=METADATA)
    assert type(error) is InvalidImageError


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_that_is_there_twice(tmp_path: Path, name: str) -> None:
    items = standard_items(3 * MIB)
    items.append(items[ITEMS[name]])
    error = refusal(
        with_items(tmp_path / "d", items), f"two entries for the {name}", at=ENTRY_AT + 5 * 32
    )
    assert type(error) is InvalidImageError


@pytest.mark.parametrize("flags", [4, 5, 0xFFFFFFFF])
def test_an_unknown_item_that_is_required(tmp_path: Path, flags: int) -> None:
    items = [*standard_items(3 * MIB), (ODD, b"?", flags)]
    error = refusal(with_items(tmp_path / "d", items), str(ODD), "unknown", at=ENTRY_AT + 5 * 32)
    assert type(error) is UnsupportedImageError


def test_an_unknown_item_that_is_optional(tmp_path: Path) -> None:
    items = [(ODD, b"?", 2), *standard_items(3 * MIB)]
    with open_image(with_items(tmp_path / "d", items)) as image:
        assert image.pread(0, MIB) == BODY


@pytest.mark.parametrize("name", ITEMS)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        (16, 0),
        (16, 64 * KIB - 1),
        (16, MIB - 3),
        (16, 0xFFFFFFFF),
        (20, 0),
        (20, 1),
        (20, 65),
        (20, MIB + 1),
        (20, 0xFFFFFFFF),
    ],
)
def test_an_item_out_of_place(disk: Disk, name: str, field: int, value: int) -> None:
    at = ENTRY_AT + 32 * ITEMS[name]
    poke(disk, at + field, u32(value))
    error = refusal(disk, f"the {name} is said to be", "expected", "between 0x10000", at=at)
    assert type(error) is InvalidImageError


def test_items_that_overlap(disk: Disk) -> None:
    poke(disk, ENTRY_AT + 32 + 16, u32(64 * KIB + 4))  # the disk size, on the file parameters
    error = refusal(
        disk, "file parameters at [0x210000, 0x210008)", "overlaps the virtual disk size",
        at=ITEM_AT + 4,
    )  # fmt: skip
    assert type(error) is InvalidImageError


@pytest.mark.parametrize(
    "size", [0, 1, 512, MIB - 1, MIB + 1, 3 * MIB, 512 * MIB, 1 << 31, 0xFFFFFFFF]
)
def test_a_block_size_out_of_bounds(disk: Disk, size: int) -> None:
    poke(disk, ITEM_AT, u32(size))
    error = refusal(disk, f"block of {size} bytes", "expected a power of two", at=ITEM_AT)
    assert type(error) is InvalidImageError


@pytest.mark.parametrize("size", [0, 1, 511, 3 * MIB + 1, (64 << 40) + 512, (1 << 64) - 512])
def test_a_disk_size_out_of_bounds(disk: Disk, size: int) -> None:
    poke(disk, ITEM_AT + 8, u64(size))
    error = refusal(disk, f"size is {size},", "multiple of 512 up to 64 TiB", at=ITEM_AT + 8)
    assert type(error) is InvalidImageError


@pytest.mark.parametrize("name", ["logical sector size", "physical sector size"])
@pytest.mark.parametrize("size", [0, 1, 256, 1024, 8192, 0xFFFFFFFF])
def test_a_sector_size_out_of_bounds(disk: Disk, name: str, size: int) -> None:
    at = ITEM_AT + (32 if name.startswith("logical") else 36)
    poke(disk, at, u32(size))
    error = refusal(disk, f"{name} is {size}", "expected 512 or 4096", at=at)
    assert type(error) is InvalidImageError


def test_a_disk_size_that_is_no_multiple_of_its_sectors(tmp_path: Path) -> None:
    items = standard_items(3 * MIB + 512, sector_size=4096)
    error = refusal(with_items(tmp_path / "d", items), "multiple of 4096", at=ITEM_AT + 8)
    assert type(error) is InvalidImageError


# ---- parents ------------------------------------------------------------------------------------


NAMED = {"parent_linkage": linkage(), "relative_path": "base.vhdx"}
# Where with_parent puts the locator: behind the five items.
LOCATOR_AT = ITEM_AT + 40


def with_parent(path: Path, locator: bytes) -> Path:
    return with_items(
        path, [*standard_items(3 * MIB, flags=2), (PARENT_LOCATOR, locator, 4)]
    )


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        ({"relative_path": r".\base.vhdx"}, "'base.vhdx'"),
        ({"absolute_win32_path": r"C:\a.vhdx"}, "'a.vhdx'"),
        ({"volume_path": r"\\?\Volume{1}\v.vhdx", "relative_path": "R"}, "'R', 'v.vhdx'"),
        ({"relative_path": "a\x1b[2Jb"}, "'a?[2Jb'"),
    ],
)
def test_a_missing_parent_is_named(tmp_path: Path, pairs: dict[str, str], named: str) -> None:
    locator = parent_locator({"parent_linkage": linkage(), **pairs})
    error = refusal(with_parent(tmp_path / "d", locator), "parent", named, "--parent", at=None)
    assert type(error) is MissingReferenceError


@pytest.mark.parametrize("name", ["x" * 30000, "a\0b"])
def test_a_parents_name_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    locator = parent_locator({**NAMED, "relative_path": name})
    error = refusal(with_parent(tmp_path / "d", locator), "which no file can have", at=None)
    assert type(error) is InvalidImageError
    assert len(str(error)) < 2000


def test_a_parent_without_a_name(tmp_path: Path) -> None:
    locator = parent_locator({"parent_linkage": linkage()})
    error = refusal(with_parent(tmp_path / "d", locator), "does not say where", at=None)
    assert type(error) is UnsafeReferenceError


@pytest.mark.parametrize("length", [0, 1, 19])
def test_a_locator_shorter_than_its_header(tmp_path: Path, length: int) -> None:
    path = with_parent(tmp_path / "d", parent_locator(NAMED)[:length])
    error = refusal(path, f"has {length} bytes, expected at least 20", at=LOCATOR_AT)
    assert type(error) is InvalidImageError


def test_a_locator_of_another_type(tmp_path: Path) -> None:
    path = with_parent(tmp_path / "d", bytes(16) + parent_locator(NAMED)[16:])
    error = refusal(path, "of type 00000000-", "expected b04aefb7-", at=LOCATOR_AT)
    assert type(error) is UnsupportedImageError


@pytest.mark.parametrize("count", [3, 65, 0xFFFF])
def test_a_locator_with_more_entries_than_it_holds(tmp_path: Path, count: int) -> None:
    body = parent_locator(NAMED)[:44] if count == 3 else parent_locator(NAMED) + bytes(12 * count)
    path = with_parent(tmp_path / "d", body[:18] + u16(count) + body[20:])
    error = refusal(path, f"has {count} entries", "at most 64", at=LOCATOR_AT + 18)
    assert type(error) is InvalidImageError


@pytest.mark.parametrize(
    "entry", [(0xFFFFFFFF, 44, 2, 2), (44, 0xFFFFFFFF, 2, 2), (44, 44, 0xFFFF, 2),
              (44, 44, 2, 0xFFFF), (198, 44, 2, 2)],
)  # fmt: skip
def test_an_entry_that_leaves_the_locator(
    tmp_path: Path, entry: tuple[int, int, int, int]
) -> None:
    body = parent_locator(NAMED)
    path = with_parent(tmp_path / "d", body[:32] + struct.pack("<IIHH", *entry) + body[44:])
    error = refusal(path, "entry 1 of the parent locator leaves it", at=LOCATOR_AT + 32)
    assert type(error) is InvalidImageError


def test_a_key_twice(tmp_path: Path) -> None:
    body = parent_locator(NAMED)
    path = with_parent(tmp_path / "d", body[:32] + body[20:32] + body[44:])
    error = refusal(path, "'parent_linkage' twice", at=LOCATOR_AT + 32)
    assert type(error) is InvalidImageError


@pytest.mark.parametrize("value", [None, "", "{}", "{bbbbbbbb}", "zz" * 16, "{" + "b" * 33 + "}"])
def test_a_linkage_that_is_no_guid(tmp_path: Path, value: str | None) -> None:
    pairs = {"relative_path": "base.vhdx"}
    if value is not None:
        pairs["parent_linkage"] = value
    error = refusal(
        with_parent(tmp_path / "d", parent_locator(pairs)), "parent_linkage", "expected a GUID",
        at=LOCATOR_AT,
    )  # fmt: skip
    assert type(error) is InvalidImageError


def test_a_second_linkage_that_is_no_guid(tmp_path: Path) -> None:
    locator = parent_locator({**NAMED, "parent_linkage2": "?"})
    error = refusal(with_parent(tmp_path / "d", locator), "parent_linkage2", at=LOCATOR_AT)
    assert type(error) is InvalidImageError


def test_a_parent_without_a_locator(tmp_path: Path) -> None:
    path = with_items(tmp_path / "d", standard_items(3 * MIB, flags=3))
    error = refusal(path, "no parent locator", "expected both", at=ITEM_AT + 4)
    assert type(error) is InvalidImageError


def test_a_locator_without_a_parent_is_not_read_as_zeros(tmp_path: Path) -> None:
    items = [*standard_items(3 * MIB), (PARENT_LOCATOR, parent_locator(NAMED), 4)]
    error = refusal(
        with_items(tmp_path / "d", items), "parent locator", "expected both", at=ITEM_AT + 4
    )
    assert type(error) is InvalidImageError


# ---- the block allocation table -----------------------------------------------------------------


def test_a_table_too_small_for_the_disk(disk: Disk) -> None:
    # 1 MiB holds 131072 entries: those of 131041 blocks, 31 bitmaps between them.
    poke(disk, ITEM_AT + 8, u64(131041 * MIB))
    with open_image(disk) as image:
        assert image.virtual_size == 131041 * MIB
    poke(disk, ITEM_AT + 8, u64(131042 * MIB))
    error = refusal(disk, "BAT region has 1048576 bytes", "131042 blocks", "need 1048584", at=BAT)
    assert type(error) is CorruptImageError


@pytest.mark.parametrize("state", [4, 7])
def test_a_state_that_no_such_disk_has(disk: Disk, state: int) -> None:
    poke(disk, BAT + 8, u64(PAYLOAD | state))
    error = refusal(disk, f"block 1 has state {state}", "expected 6", at=BAT + 8)
    assert type(error) is CorruptImageError


@pytest.mark.parametrize("place", [5 * MIB, 1 << 40, 1 << 52, 1 << 63, (1 << 64) - MIB])
def test_a_block_outside_the_file(disk: Disk, place: int) -> None:
    poke(disk, BAT + 16, u64(place | 6))
    error = refusal(disk, f"block 2 is said to lie at {place:#x}", "ends at 0x500000", at=BAT + 16)
    assert type(error) is CorruptImageError


@pytest.mark.parametrize(
    ("place", "what"),
    [
        (0, "header section"),
        (LOG, "log"),
        (METADATA, "metadata region"),
        (BAT, "BAT region"),
    ],
)
def test_a_block_on_top_of_a_structure(disk: Disk, place: int, what: str) -> None:
    poke(disk, BAT + 8, u64(place | 6))
    error = refusal(disk, f"block 1 is said to lie at {place:#x}", f"the {what} [", at=BAT + 8)
    assert type(error) is CorruptImageError


def test_a_block_that_reaches_into_a_structure(tmp_path: Path) -> None:
    path = write_vhdx(
        tmp_path / "d", virtual_size=4 * MIB, block_size=2 * MIB, blocks={0: b"", 1: b""},
        places={0: 8 * MIB, 1: 10 * MIB},
        regions=[(BAT_REGION, BAT, MIB, 1), (METADATA_REGION, METADATA, MIB, 1)],
    )  # fmt: skip
    for place in HEADERS:
        poke(path, place, header(7, log_offset=7 * MIB))
    poke(path, BAT, u64(6 * MIB | 6))
    assert "the log [0x700000, 0x800000)" in str(refusal(path, "block 0", at=BAT))


def test_two_blocks_in_one_place(disk: Disk) -> None:
    poke(disk, BAT + 16, u64(PAYLOAD | 6))
    error = refusal(
        disk, "block 2 at 0x400000 overlaps block 0 at 0x400000", "1048576 bytes each", at=BAT + 16
    )
    assert type(error) is CorruptImageError


def test_two_blocks_that_overlap_in_part(tmp_path: Path) -> None:
    path = write_vhdx(
        tmp_path / "d", virtual_size=8 * MIB, block_size=4 * MIB, blocks={1: b"", 0: b""},
        places={1: 4 * MIB, 0: 7 * MIB},
    )  # fmt: skip
    error = refusal(path, "block 1 at 0x400000 overlaps block 0 at 0x700000", at=BAT + 8)
    assert type(error) is CorruptImageError


def test_blocks_that_overlap_are_found_far_apart(tmp_path: Path) -> None:
    far = 300_000
    path = write_vhdx(
        tmp_path / "d", virtual_size=(far + 1) * MIB, blocks={0: BODY, far: b""},
        places={far: 64 * MIB, 0: 64 * MIB},
    )  # fmt: skip
    error = refusal(path, f"block {far} at", "overlaps block 0", at=BAT + 8 * (far + far // 4096))
    assert type(error) is CorruptImageError


def test_the_first_window_finds_an_overlap_of_the_last(disk: Disk) -> None:
    poke(disk, BAT + 16, u64(PAYLOAD | 6))
    with open_image(disk) as image, pytest.raises(CorruptImageError, match="overlaps"):
        image.pread(0, 512)
