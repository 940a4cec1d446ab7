"""VHDX files whose structures are wrong: a typed error that says what and where."""

from __future__ import annotations

import struct
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.build_vhdx import (
    BAT,
    BAT_REGION,
    HEADERS,
    KIB,
    LOG,
    LOG_ID,
    METADATA,
    METADATA_REGION,
    MIB,
    PARENT_LOCATOR,
    REGION_TABLES,
    header,
    parent_locator,
    poke,
    poke_both,
    standard_items,
    write_vhdx,
)
from vhdfast import open_image
from vhdfast.errors import (
    CorruptImageError,
    ImageError,
    InvalidImageError,
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


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        ({"parent_linkage": "{}", "relative_path": r".\base.vhdx"}, r"'.\\base.vhdx'"),
        ({"absolute_win32_path": r"C:\a.vhdx"}, r"'C:\\a.vhdx'"),
        ({"volume_path": "V", "relative_path": "R"}, "'R'"),
        ({"relative_path": "a\x1b[2Jb"}, "'a?[2Jb'"),
        ({"relative_path": "x" * 30000}, "'xxx"),
        ({}, "'(unnamed)'"),
    ],
)
def test_a_differencing_disk_is_refused_by_its_parents_name(
    tmp_path: Path, pairs: dict[str, str], named: str
) -> None:
    items = [*standard_items(3 * MIB, flags=2), (PARENT_LOCATOR, parent_locator(pairs), 4)]
    error = refusal(
        with_items(tmp_path / "d", items), "differencing", "parent", named, "Merge-VHD", at=None
    )
    assert type(error) is UnsupportedImageError
    assert len(str(error)) < 2000


@pytest.mark.parametrize(
    "locator",
    [
        b"?",
        bytes(20),
        bytes(18) + b"\xff\xff",
        bytes(18) + b"\xff\xff" + b"\xff" * 12 * 64,
        bytes(18) + b"\x01\x00" + struct.pack("<IIHH", 0, 0, 0xFFFF, 0xFFFF),
    ],
)
def test_a_mangled_locator_is_still_a_parent(tmp_path: Path, locator: bytes) -> None:
    items = [*standard_items(3 * MIB, flags=2), (PARENT_LOCATOR, locator, 4)]
    error = refusal(with_items(tmp_path / "d", items), "differencing", "(unnamed)", at=None)
    assert type(error) is UnsupportedImageError


def test_a_parent_without_a_locator(tmp_path: Path) -> None:
    path = with_items(tmp_path / "d", standard_items(3 * MIB, flags=3))
    assert type(refusal(path, "differencing", at=None)) is UnsupportedImageError


def test_a_locator_without_a_parent_is_not_read_as_zeros(tmp_path: Path) -> None:
    items = [*standard_items(3 * MIB), (PARENT_LOCATOR, parent_locator({"relative_path": "b"}), 4)]
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


# ---- the log ------------------------------------------------------------------------------------


def with_log(path: Path, *entries: Entry, log: bytes | None = None) -> Path:
    return write_vhdx(
        path, virtual_size=3 * MIB, blocks={0: BODY}, log=log, entries=entries or None
    )


def test_a_log_version_that_is_unknown(tmp_path: Path) -> None:
    path = with_log(tmp_path / "d", Entry(1))
    poke_both(path, HEADERS, 64, u16(1))
    error = refusal(path, "log version 1", "expected 0", at=HEADERS[1] + 64)
    assert type(error) is UnsupportedImageError


def test_a_dirty_log_without_a_place(tmp_path: Path) -> None:
    path = with_log(tmp_path / "d", Entry(1))
    poke_both(path, HEADERS, 68, u32(0))
    error = refusal(path, "the log is [0x100000, 0x100000)", at=HEADERS[1] + 68)
    assert type(error) is InvalidImageError


def test_a_dirty_log_that_is_huge(tmp_path: Path) -> None:
    path = with_log(tmp_path / "d", Entry(1))
    with open(path, "r+b") as file:
        file.truncate(8 << 30)
    for place in HEADERS:
        poke(path, place, header(9, log_id=LOG_ID, log_offset=1 << 30, log_length=0xFFF00000))
    error = refusal(path, "4293918720 bytes", "at most 33554432", "Hyper-V", at=HEADERS[0] + 68)
    assert type(error) is UnsupportedImageError


def broken(change: Callable[[bytearray], None], reseal: bool = True) -> bytes:
    """A log of one entry with two changes, damaged."""
    log = log_bytes([Entry(1, [Data(BAT, bytes(4096)), Zero(BAT, 4096)])], PAYLOAD + MIB)
    entry = bytearray(log[:8192])
    change(entry)
    return (sealed(bytes(entry)) if reseal else bytes(entry)) + log[8192:]


def _put(at: int, data: bytes) -> Callable[[bytearray], None]:
    def change(entry: bytearray) -> None:
        entry[at : at + len(data)] = data

    return change


BROKEN = {
    "all zeros": bytes(MIB),
    "all ones": b"\xff" * MIB,
    "signature": broken(_put(0, b"LOGE")),
    "checksum": broken(_put(4096 + 100, b"!"), reseal=False),
    "entry length 0": broken(_put(8, u32(0))),
    "entry length odd": broken(_put(8, u32(8191))),
    "entry length beyond the log": broken(_put(8, u32(MIB + 4096))),
    "entry length all ones": broken(_put(8, u32(0xFFFFFFFF))),
    "tail odd": broken(_put(12, u32(1))),
    "tail beyond the log": broken(_put(12, u32(MIB))),
    "tail elsewhere": broken(_put(12, u32(65536))),
    "sequence 0": broken(_put(16, u64(0))),
    "sequence not the descriptors'": broken(_put(16, u64(2))),
    "descriptors one too many": broken(_put(24, u32(3))),
    "descriptors all ones": broken(_put(24, u32(0xFFFFFFFF))),
    "log id": broken(_put(32, b"!")),
    "descriptor signature": broken(_put(64, b"what")),
    "descriptor offset odd": broken(_put(64 + 16, u64(BAT + 512))),
    "descriptor sequence": broken(_put(64 + 24, u64(7))),
    "zero length odd": broken(_put(96 + 8, u64(4095))),
    "data signature": broken(_put(4096, b"DATA")),
    "data sequence high": broken(_put(4100, u32(1))),
    "data sequence low": broken(_put(8188, u32(2))),
    "data sector missing": broken(_put(96, b"desc")),
}


@pytest.mark.parametrize("log", BROKEN.values(), ids=BROKEN)
def test_a_log_that_holds_nothing_valid(tmp_path: Path, log: bytes) -> None:
    error = refusal(
        with_log(tmp_path / "d", log=log), "not closed", "no valid sequence to replay", at=LOG
    )
    assert type(error) is CorruptImageError


def test_the_undamaged_log_of_those_tests_is_replayed(tmp_path: Path) -> None:
    with open_image(with_log(tmp_path / "d", log=broken(_put(0, b"loge")))) as image:
        assert image.pread(0, MIB) == bytes(MIB)


def test_a_gap_in_the_sequence_ends_it(tmp_path: Path) -> None:
    # Entry 3 is gone: 4 points at a tail that its run does not hold, 1 and 2 are older and whole.
    log = log_bytes([Entry(1), Entry(2), Entry(9), Entry(4, [Zero(BAT, 4096)])], PAYLOAD + MIB)
    with open_image(with_log(tmp_path / "d", log=log)) as image:
        assert image.pread(0, MIB) == BODY


def test_a_log_written_to_a_longer_file(tmp_path: Path) -> None:
    path = with_log(tmp_path / "d", Entry(1, flushed=6 * MIB))
    error = refusal(path, "file of 6291456 bytes", "this one has 5242880", "cut short", at=LOG)
    assert type(error) is CorruptImageError


@pytest.mark.parametrize("last", [1 << 62, (1 << 64) - 1])
def test_a_size_that_no_file_has(tmp_path: Path, last: int) -> None:
    path = with_log(tmp_path / "d", Entry(1, last=last))
    error = refusal(path, f"has {last} bytes", "expected less than", at=LOG + 56)
    assert type(error) is InvalidImageError


@pytest.mark.parametrize(
    "change",
    [
        Zero(0, (1 << 64) - 4096),
        Zero((1 << 64) - 4096, 4096),
        Data((1 << 64) - 4096, bytes(4096)),
        Zero(1 << 61, 1 << 61),
    ],
)
def test_a_change_that_no_file_can_hold(tmp_path: Path, change: Data | Zero) -> None:
    path = with_log(tmp_path / "d", Entry(1, [Zero(BAT, 0), change]))
    error = refusal(path, "a change of the log reaches", "expected less than", at=LOG + 64 + 32)
    assert type(error) is InvalidImageError


def test_too_many_changes(tmp_path: Path) -> None:
    changes = [Zero(4096 * number, 4096) for number in range(16385)]
    path = with_log(tmp_path / "d", Entry(1, changes))
    error = refusal(path, "16385 changes", "at most 16384", at=LOG)
    assert type(error) is UnsupportedImageError


def test_the_log_can_bring_a_bad_table(tmp_path: Path) -> None:
    update = u64(1 << 40 | 6).ljust(4096, b"\0")
    path = with_log(tmp_path / "d", Entry(1, [Data(BAT, update)]))
    error = refusal(path, "block 0 is said to lie at 0x10000000000", at=BAT)
    assert type(error) is CorruptImageError


def spend(path: Path) -> tuple[float, int]:
    """(CPU seconds, peak bytes) of opening a file that may be refused."""
    tracemalloc.start()
    before = time.process_time()
    try:
        with open_image(path, "vhdx") as image:
            image.extents()
    except VhdfastError:
        pass
    seconds = time.process_time() - before
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak


def large_log(path: Path, log: bytes) -> Path:
    """A disk whose log is behind everything else, with room for 32 MiB."""
    write_vhdx(path, virtual_size=3 * MIB, blocks={0: BODY})
    poke(path, 8 * MIB, log)
    for place in HEADERS:
        poke(path, place, header(9, log_id=LOG_ID, log_offset=8 * MIB, log_length=len(log)))
    return path


def entry_head(length: int, tail: int, sequence: int, descriptors: int = 0) -> bytes:
    return struct.pack(
        "<4sIIIQII16sQQ", b"loge", 0, length, tail, sequence, descriptors, 0, LOG_ID.bytes_le, 0, 0
    )


def test_entries_as_long_as_the_log_at_every_sector(tmp_path: Path) -> None:
    # Each would have the whole log checked: 8192 times 32 MiB.
    size = 32 * MIB
    log = entry_head(size, 0, 1).ljust(4096, b"\0") * (size // 4096)
    seconds, peak = spend(large_log(tmp_path / "d", log))
    assert seconds < 5
    assert peak < 160 * MIB


def test_a_long_run_without_a_tail(tmp_path: Path) -> None:
    # 2047 valid entries that point at a sector in front of them all: no run of them is complete.
    sectors = [bytes(4096)]
    for number in range(1, 2048):
        sectors.append(sealed(entry_head(4096, 0, number).ljust(4096, b"\0")))
    path = large_log(tmp_path / "d", b"".join(sectors))
    seconds, _ = spend(path)
    assert seconds < 3
    assert "no valid sequence" in str(refusal(path, at=8 * MIB))


def test_a_log_of_nothing_but_zero_descriptors(tmp_path: Path) -> None:
    count = (32 * MIB - 64) // 32
    body = struct.pack("<4sIQQQ", b"zero", 0, 4096, 0, 1) * count
    entry = (entry_head(32 * MIB, 0, 1, count) + body).ljust(32 * MIB, b"\0")
    from vhdfast import crc32c  # 32 MiB are too much for the builder's

    entry = entry[:4] + u32(crc32c(entry)) + entry[8:]
    path = large_log(tmp_path / "d", entry)
    seconds, peak = spend(path)
    assert seconds < 3
    assert peak < 200 * MIB
    assert type(refusal(path, "changes", "at most 16384", at=8 * MIB)) is UnsupportedImageError


# ---- any field, any cut -------------------------------------------------------------------------

# (what, places, offset in them, bytes): every field that the specification names.
FIELDS = [
    *[
        (f"header {name}", HEADERS, at, size)
        for name, at, size in [
            ("signature", 0, 4), ("checksum", 4, 4), ("sequence", 8, 8), ("file id", 16, 16),
            ("data id", 32, 16), ("log id", 48, 16), ("log version", 64, 2), ("version", 66, 2),
            ("log length", 68, 4), ("log offset", 72, 8),
        ]
    ],
    *[
        (f"regions {name}", REGION_TABLES, at, size)
        for name, at, size in [
            ("signature", 0, 4), ("checksum", 4, 4), ("count", 8, 4), ("id", 16, 16),
            ("offset", 32, 8), ("length", 40, 4), ("required", 44, 4), ("second id", 48, 16),
            ("second offset", 64, 8), ("second length", 72, 4),
        ]
    ],
    *[
        (f"metadata {name}", (METADATA,), at, size)
        for name, at, size in [
            ("signature", 0, 8), ("count", 10, 2),
            *[
                (f"{item} {name}", 32 + 32 * index + at, size)
                for item, index in ITEMS.items()
                for name, at, size in [("id", 0, 16), ("offset", 16, 4), ("length", 20, 4),
                                       ("flags", 24, 4)]
            ],
            ("block size", 65536, 4), ("disk flags", 65540, 4), ("size", 65544, 8),
            ("disk id", 65552, 16), ("logical", 65568, 4), ("physical", 65572, 4),
        ]
    ],
    *[(f"BAT {block}", (BAT,), 8 * block, 8) for block in range(3)],
]  # fmt: skip


def read_all(path: Path) -> bytes | None:
    """The first 3 MiB of the disk, or None where a typed error refuses it."""
    try:
        with open_image(path, "vhdx") as image:
            return image.pread(0, 3 * MIB)
    except VhdfastError as error:
        assert error.path == str(path)
        assert error.exit_code == 4
        return None


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field[0])
def test_a_field_at_its_extremes_is_refused_or_harmless(disk: Disk, field: object) -> None:
    _, places, at, size = field  # type: ignore[misc]
    parts = {0: 320 * KIB, METADATA: 128 * KIB, BAT: 4 * KIB}
    original = {place: peek(disk, place, length) for place, length in parts.items()}
    top = 256**size - 1
    for value in (0, 1, 2, top, top - 1, top // 2, top // 2 + 1):
        for place in places:
            poke(disk, place + at, value.to_bytes(size, "little"))
        for reseal in (False, True):
            if reseal:
                seal(disk)
            content = read_all(disk)
            # A flag, a GUID or a size may well be another one; bytes of the file's structures
            # never become the disk's.
            if content is not None:
                assert content[:MIB].strip(b"\0") in (BODY.strip(b"\0"), b"")
                assert content[MIB:] == bytes(len(content) - MIB)
        for place, data in original.items():
            poke(disk, place, data)


@pytest.mark.parametrize(
    "size",
    [
        *[at + more for at in (MIB, LOG + MIB, METADATA, BAT, PAYLOAD) for more in (-1, 0, 1)],
        METADATA + 65536, METADATA + 65540, BAT + 8, PAYLOAD + 512, PAYLOAD + 4095,
        PAYLOAD + MIB - 1,
    ],
)  # fmt: skip
def test_a_file_cut_anywhere(disk: Disk, size: int) -> None:
    with open(disk, "r+b") as file:
        file.truncate(size)
    content = read_all(disk)
    if size <= PAYLOAD:
        assert content is None
    else:
        kept = BODY[: size - PAYLOAD].ljust(MIB, b"\0")
        assert content == kept + bytes(2 * MIB)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    damage=st.lists(
        st.tuples(
            st.sampled_from([*HEADERS, *REGION_TABLES, LOG, LOG + 4096, METADATA, ITEM_AT, BAT]),
            st.integers(0, 200),
            st.binary(min_size=1, max_size=16),
        ),
        min_size=1,
        max_size=4,
    ),
    reseal=st.booleans(),
)
def test_random_damage_never_ends_otherwise(
    tmp_path: Path, damage: list[tuple[int, int, bytes]], reseal: bool
) -> None:
    path = with_log(tmp_path / "d", Entry(1, [Data(BAT, u64(PAYLOAD | 6).ljust(4096, b"\0"))]))
    for place, at, data in damage:
        poke(path, place + at, data)
    if reseal:
        seal(path)
    read_all(path)
