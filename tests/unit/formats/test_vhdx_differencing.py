"""Differencing VHDX: finding the parent, knowing it, and reading through chains."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import MIB, pattern, poke
from tests.support.build_vhdx import (
    BAT,
    DATA_ID,
    HEADERS,
    LOG,
    METADATA,
    PARENT_LOCATOR,
    Data,
    Entry,
    bitmap_index,
    header,
    linkage,
    parent_locator,
    standard_items,
    write_vhdx,
)
from vhdfast import Image, Kind, convert, open_image
from vhdfast.errors import (
    CorruptImageError,
    InvalidImageError,
    MissingReferenceError,
    UnsafeReferenceError,
    VhdfastError,
)

SIZE = 4 * MIB
BASE = pattern(9, SIZE)
CHILD_ID = uuid.UUID("cccccccc-0000-0000-0000-000000000003")
# The child's place for its first bitmap or block, when the BAT takes 1 MiB.
FIRST = 4 * MIB
Z, D = Kind.ZERO, Kind.DATA

Open = Callable[..., Image]


@pytest.fixture
def disks(tmp_path: Path) -> Path:
    """An own directory for the disks, with the parent base.vhdx in it: 4 MiB, all stored."""
    folder = tmp_path / "disks"
    folder.mkdir()
    blocks = {block: BASE[block * MIB : (block + 1) * MIB] for block in range(4)}
    write_vhdx(folder / "base.vhdx", virtual_size=SIZE, blocks=blocks)
    return folder


def child(path: Path, **fields: Any) -> Path:
    """A differencing disk; by default of base.vhdx beside it."""
    fields.setdefault("parent", {"relative_path": ".\\base.vhdx"})
    fields["parent"] = {"parent_linkage": linkage(), **fields["parent"]}
    return write_vhdx(path, **{"virtual_size": SIZE, "data_id": CHILD_ID, **fields})


def refusal(
    path: Path, kind: type[VhdfastError], *fragments: str, at: int | None = None, **options: Any
) -> VhdfastError:
    with pytest.raises(kind) as caught, open_image(path, **options) as image:
        for _ in image.windows():
            pass
    assert type(caught.value) is kind
    assert caught.value.path == str(path)
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert caught.value.offset == at
    return caught.value


def the_map(image: Image, max_rows: int = 65536) -> list[tuple[int, int, Kind, int | None]]:
    """(offset, length, kind, file) of every row."""
    return [
        (extent.offset, extent.length, extent.kind, extent.file)
        for window in image.windows(max_rows=max_rows)
        for extent in window
    ]


# ---- finding it ---------------------------------------------------------------------------------

FOUND = {
    "relative": {"relative_path": ".\\base.vhdx"},
    "relative without a dot": {"relative_path": "base.vhdx"},
    "relative, elsewhere": {"relative_path": "..\\..\\base.vhdx"},
    "volume": {"volume_path": "\\\\?\\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\\a\\base.vhdx"},
    "absolute": {"absolute_win32_path": "\\\\?\\d:\\path2\\base.vhdx"},
    "absolute, short": {"absolute_win32_path": "C:\\base.vhdx"},
    "a share": {"absolute_win32_path": "\\\\?\\MyServer\\MyShare\\base.vhdx"},
    "the relative one is stale": {
        "relative_path": ".\\gone.vhdx",
        "absolute_win32_path": "C:\\base.vhdx",
    },
}


@pytest.mark.parametrize("how", FOUND)
def test_the_parent_is_found(disks: Path, opening: Open, how: str) -> None:
    image = opening(child(disks / "child.avhdx", parent=FOUND[how]))
    assert image.pread(0, SIZE) == BASE
    assert image.info().parent == str(disks / "base.vhdx")
    assert image.notices == ()


def test_the_parent_is_found_in_an_own_place_only(disks: Path, tmp_path: Path) -> None:
    path = child(tmp_path / "child.vhdx", parent={"absolute_win32_path": "C:\\disks\\base.vhdx"})
    refusal(path, MissingReferenceError, "parent 'base.vhdx' is not there")
    path = child(tmp_path / "child.vhdx", parent={"relative_path": "disks\\base.vhdx"})
    error = refusal(path, UnsafeReferenceError, "'disks/base.vhdx', 'base.vhdx'")
    assert error.hint is not None
    assert f"--allow-reference {disks / 'base.vhdx'}" in error.hint


def test_what_the_user_allows_or_names(disks: Path, tmp_path: Path, opening: Open) -> None:
    path = child(tmp_path / "child.vhdx", parent={"relative_path": "disks\\base.vhdx"})
    assert opening(path, allow_references=[disks]).pread(0, SIZE) == BASE
    assert opening(path, parents=[disks / "base.vhdx"]).pread(0, SIZE) == BASE


def test_info_names_parent_and_locator(disks: Path, opening: Open) -> None:
    path = child(disks / "child.avhdx", parent={"relative_path": ".\\base.vhdx", "x\x07": "\x1b"})
    info = opening(path).info()
    assert info.subformat == "differencing"
    assert info.parent == str(disks / "base.vhdx")
    assert info.details["parent locator relative_path"] == ".\\base.vhdx"
    assert info.details["parent locator parent_linkage"] == linkage()
    assert info.details["parent locator x?"] == "?"


# ---- knowing it ---------------------------------------------------------------------------------

OTHER = uuid.UUID("dddddddd-0000-0000-0000-000000000004")


@pytest.mark.parametrize("named", [False, True])
def test_a_parent_that_was_written_to_is_refused(disks: Path, named: bool) -> None:
    pairs = {"parent_linkage": linkage(OTHER), "relative_path": "base.vhdx"}
    path = child(disks / "child.vhdx", parent=pairs)
    options = {"parents": [disks / "base.vhdx"]} if named else {}
    refusal(
        path, CorruptImageError, str(DATA_ID), str(OTHER), "base.vhdx",
        at=METADATA + 65536 + 40, **options,
    )  # fmt: skip


@pytest.mark.parametrize("text", [linkage().upper(), str(DATA_ID), DATA_ID.hex])
def test_a_linkage_may_be_written_in_other_ways(disks: Path, opening: Open, text: str) -> None:
    pairs = {"parent_linkage": text, "relative_path": "base.vhdx"}
    assert opening(child(disks / "child.vhdx", parent=pairs)).pread(0, SIZE) == BASE


def test_the_second_linkage_will_do(disks: Path, opening: Open) -> None:
    pairs = {
        "parent_linkage": linkage(OTHER),
        "parent_linkage2": linkage(),
        "relative_path": "base.vhdx",
    }
    assert opening(child(disks / "child.vhdx", parent=pairs)).pread(0, SIZE) == BASE


def test_a_second_linkage_of_zeros_is_none(disks: Path) -> None:
    nil = uuid.UUID(int=0)
    write_vhdx(disks / "base.vhdx", virtual_size=SIZE, data_id=nil)
    pairs = {"parent_linkage2": linkage(nil), "relative_path": "base.vhdx"}
    path = child(disks / "child.vhdx", parent=pairs)
    refusal(path, CorruptImageError, str(nil), f"expected {DATA_ID}", at=METADATA + 65536 + 40)


def test_the_parents_newer_header_counts(disks: Path, opening: Open) -> None:
    poke(disks / "base.vhdx", HEADERS[0], header(8, data_id=OTHER))
    path = child(disks / "child.vhdx")
    refusal(path, CorruptImageError, str(OTHER), at=METADATA + 65536 + 40)
    pairs = {"parent_linkage": linkage(OTHER), "relative_path": "base.vhdx"}
    assert opening(child(path, parent=pairs)).pread(0, SIZE) == BASE


def test_sectors_of_another_size(disks: Path) -> None:
    path = child(disks / "child.vhdx", sector_size=4096)
    refusal(path, InvalidImageError, "sectors of 512 bytes, expected 4096")


def test_a_parent_of_another_format(disks: Path) -> None:
    (disks / "base.vhdx").write_bytes(b"conectix" + bytes(3 * MIB))
    with pytest.raises(CorruptImageError, match="neither header is intact"):
        open_image(child(disks / "child.vhdx"))


def test_loops(disks: Path) -> None:
    pairs = {"parent_linkage": linkage(CHILD_ID), "relative_path": "one.vhdx"}
    one = child(disks / "one.vhdx", parent=pairs)
    refusal(one, InvalidImageError, "stands above itself")
    child(disks / "one.vhdx", parent={**pairs, "relative_path": "two.vhdx"})
    child(disks / "two.vhdx", parent=pairs)
    with pytest.raises(InvalidImageError, match="stands above itself"):
        open_image(one)


def test_128_parents_are_read_and_129_are_not(disks: Path, opening: Open) -> None:
    below = "base.vhdx"
    for number in range(129):
        pairs = {"relative_path": below}
        below = f"{number}.avhdx"
        child(disks / below, parent=pairs, data_id=DATA_ID)
    assert opening(disks / "127.avhdx").pread(0, SIZE) == BASE
    with pytest.raises(InvalidImageError, match="more than 128"):
        open_image(disks / "128.avhdx")


# ---- blocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "from_parent"), [(0, True), (1, False), (2, False), (3, False),
                                                    (5, False)])  # fmt: skip
def test_states_without_payload(
    disks: Path, opening: Open, state: int, from_parent: bool
) -> None:
    path = child(disks / "child.vhdx", states=dict.fromkeys(range(4), state))
    assert opening(path).pread(0, SIZE) == (BASE if from_parent else bytes(SIZE))


def test_a_stored_block_is_the_childs_whatever_its_bitmap_says(
    disks: Path, opening: Open
) -> None:
    body = pattern(1, MIB)
    path = child(disks / "child.vhdx", blocks={2: body}, bitmaps={0: b""})
    image = opening(path, ask_holes=False)
    assert image.pread(0, SIZE) == BASE[: 2 * MIB] + body + BASE[3 * MIB :]
    assert the_map(image) == [(0, 2 * MIB, D, 1), (2 * MIB, MIB, D, 0), (3 * MIB, MIB, D, 1)]


def test_a_partially_stored_block(disks: Path, opening: Open) -> None:
    body = pattern(1, MIB)
    # Of block 1: sectors 0, 10 and 15, then 2047. Its bits begin at byte 256 of the bitmap.
    bits = bytes(256) + bytes([0x01, 0x84]) + bytes(253) + bytes([0x80])
    path = child(disks / "child.vhdx", partial={1: body}, bitmaps={0: bits})
    image = opening(path, ask_holes=False)
    assert the_map(image) == [
        (0, MIB, D, 1),
        (MIB, 512, D, 0),
        (MIB + 512, 9 * 512, D, 1),
        (MIB + 10 * 512, 512, D, 0),
        (MIB + 11 * 512, 4 * 512, D, 1),
        (MIB + 15 * 512, 512, D, 0),
        (MIB + 16 * 512, MIB - 17 * 512, D, 1),
        (2 * MIB - 512, 512, D, 0),
        (2 * MIB, 2 * MIB, D, 1),
    ]
    expected = bytearray(BASE)
    for sector in (0, 10, 15, 2047):
        at = 512 * sector
        expected[MIB + at : MIB + at + 512] = body[at : at + 512]
    assert image.pread(0, SIZE) == bytes(expected)


@pytest.mark.parametrize(("bits", "kept"), [(b"\xff" * MIB, True), (b"", False)])
def test_bitmaps_of_one_kind_of_bit(disks: Path, opening: Open, bits: bytes, kept: bool) -> None:
    body = pattern(1, MIB)
    path = child(disks / "child.vhdx", partial={0: body}, bitmaps={0: bits})
    assert opening(path).pread(0, MIB) == (body if kept else BASE[:MIB])


def test_a_bit_speaks_for_a_logical_sector(tmp_path: Path, opening: Open) -> None:
    base, body = pattern(9, 2 * MIB), pattern(1, 2 * MIB)
    options: dict[str, Any] = {"virtual_size": 2 * MIB, "block_size": 2 * MIB, "sector_size": 4096}
    write_vhdx(tmp_path / "base.vhdx", blocks={0: base}, **options)
    path = child(tmp_path / "child.vhdx", partial={0: body}, bitmaps={0: b"\x02"}, **options)
    assert opening(path).pread(0, 2 * MIB) == base[:4096] + body[4096:8192] + base[8192:]


def test_bitmaps_of_several_chunks(tmp_path: Path, opening: Open) -> None:
    # Blocks of 256 MiB: 16 in a chunk of 4 GiB. Blocks 15, 16 and 33 are in chunks 0, 1 and 2.
    block_size = 256 * MIB
    size = 34 * block_size
    write_vhdx(tmp_path / "base.vhdx", virtual_size=size, block_size=block_size)
    half = MIB // 16 * 15
    path = child(
        tmp_path / "child.vhdx", virtual_size=size, block_size=block_size,
        partial={15: b"a" * 4096, 16: b"b" * 4096, 33: b"c" * 4096}, short_end=True,
        bitmaps={2: bytes(MIB // 16) + b"\x04", 0: bytes(half) + b"\x01", 1: b"\x02"},
    )  # fmt: skip
    image = opening(path, ask_holes=False)
    for max_rows in (65536, 1):
        found = [row for row in the_map(image, max_rows) if row[2] == D]
        assert found == [
            (15 * block_size, 512, D, 0),
            (16 * block_size + 512, 512, D, 0),
            (33 * block_size + 1024, 512, D, 0),
        ]


def test_a_disk_that_ends_inside_a_block(disks: Path, opening: Open) -> None:
    body = pattern(1, 2 * MIB)
    path = child(
        disks / "child.vhdx", virtual_size=3 * MIB + 512, block_size=2 * MIB, partial={1: body},
        bitmaps={0: b"\xff" * (MIB // 2)},
    )  # fmt: skip
    image = opening(path)
    assert image.pread(0, SIZE) == BASE[: 2 * MIB] + body[: MIB + 512]
    assert [notice.code for notice in image.notices] == ["parent-size"]


def test_a_disk_larger_than_its_parent(disks: Path, opening: Open) -> None:
    path = child(disks / "child.vhdx", virtual_size=6 * MIB)
    image = opening(path)
    assert image.pread(0, 8 * MIB) == BASE + bytes(2 * MIB)
    (notice,) = image.notices
    assert notice.message == f"the parent has {SIZE} bytes, this disk {6 * MIB}"


def test_a_log_that_changes_the_bitmap_and_the_table(disks: Path, opening: Open) -> None:
    body = pattern(1, MIB)
    # In place: block 0 not present, no sector marked. In the log: block 0 partially present, and
    # its second sector marked.
    path = child(disks / "child.vhdx", blocks={0: body}, bitmaps={0: b""})
    poke(path, BAT, bytes(8))
    table = struct.pack("<Q", FIRST + MIB | 7).ljust(4096, b"\0")
    changes = [Data(BAT, table), Data(FIRST, b"\x02".ljust(4096, b"\0"))]
    log = Entry(1, changes).to_bytes(0, path.stat().st_size)
    assert opening(path).pread(0, SIZE) == BASE
    poke(path, LOG, log)
    poke(path, HEADERS[0], header(8, log_id=Entry(1).log_id, data_id=CHILD_ID))
    image = opening(path)
    assert image.pread(0, SIZE) == BASE[:512] + body[512:1024] + BASE[1024:]
    assert [notice.code for notice in image.notices] == ["log-replayed"]


def test_a_log_of_the_parent_is_replayed(disks: Path, opening: Open) -> None:
    # Blocks 0 and 1 of the parent change places, in its log only.
    update = struct.pack("<QQQQ", *(at * MIB | 6 for at in (5, 4, 6, 7))).ljust(4096, b"\0")
    blocks = {block: BASE[block * MIB : (block + 1) * MIB] for block in range(4)}
    log = [Entry(1, [Data(BAT, update)])]
    write_vhdx(disks / "base.vhdx", virtual_size=SIZE, blocks=blocks, entries=log)
    image = opening(child(disks / "child.vhdx", blocks={3: pattern(1, MIB)}))
    assert image.pread(0, SIZE) == (
        BASE[MIB : 2 * MIB] + BASE[:MIB] + BASE[2 * MIB : 3 * MIB] + pattern(1, MIB)
    )


def test_convert_writes_the_whole_disk(disks: Path, tmp_path: Path) -> None:
    body = pattern(1, MIB)
    path = child(disks / "child.vhdx", partial={1: body}, bitmaps={0: bytes(256) + b"\x0f"})
    convert(path, tmp_path / "out.vhd", verify_copy=True)
    out = (tmp_path / "out.vhd").read_bytes()
    assert out[:SIZE] == BASE[:MIB] + body[:2048] + BASE[MIB + 2048 :]


# ---- damage -------------------------------------------------------------------------------------

BITMAP_AT = BAT + 8 * bitmap_index(0)


def partial(disks: Path, **fields: Any) -> Path:
    return child(
        disks / "child.vhdx",
        **{"partial": {1: pattern(1, MIB)}, "bitmaps": {0: bytes(256) + b"\1"}, **fields},
    )


@pytest.mark.parametrize("state", [0, 1, 2, 3, 4, 5, 7])
def test_a_partially_stored_block_without_a_bitmap(disks: Path, state: int) -> None:
    path = partial(disks, bitmaps={}, bitmap_states={0: FIRST | state})
    refusal(
        path, CorruptImageError, f"the sector bitmap of chunk 0 has state {state}, expected 6",
        "block 1 is partially", at=BITMAP_AT,
    )  # fmt: skip


@pytest.mark.parametrize("place", [1 << 20, 1 << 44, ((1 << 44) - 1) << 20])
def test_a_bitmap_out_of_place(disks: Path, place: int) -> None:
    path = partial(disks)
    poke(path, BITMAP_AT, struct.pack("<Q", place | 6))
    where = "on top of the log" if place == MIB else "the file ends at"
    refusal(path, CorruptImageError, "bitmap of chunk 0 is said", where, at=BITMAP_AT)


@pytest.mark.parametrize(("index", "name"), [(1, "block 1"), (bitmap_index(0), "the sector bit")])
def test_a_bitmap_on_a_block(disks: Path, index: int, name: str) -> None:
    path = partial(disks, blocks={0: b""})
    # The bitmap lies at 4 MiB, block 0 at 5 MiB, block 1 at 6 MiB.
    poke(path, BAT + 8 * index, struct.pack("<Q", 5 * MIB | (7 if index == 1 else 6)))
    refusal(path, CorruptImageError, name, "at 0x500000 overlaps block 0", at=BAT + 8 * index)


def test_a_bitmap_inside_a_larger_block(tmp_path: Path) -> None:
    write_vhdx(tmp_path / "base.vhdx", virtual_size=SIZE, block_size=4 * MIB)
    path = child(
        tmp_path / "child.vhdx", block_size=4 * MIB, partial={0: b""}, bitmaps={0: b"\1"}
    )
    index = bitmap_index(0, 4 * MIB)
    poke(path, BAT + 8 * index, struct.pack("<Q", 7 * MIB | 6))
    refusal(
        path, CorruptImageError, "bitmap of chunk 0 at 0x700000 overlaps block 0 at 0x500000",
        "blocks take 4194304 bytes each, bitmaps 1048576", at=BAT + 8 * index,
    )  # fmt: skip


def test_a_bitmap_cut_short(disks: Path) -> None:
    path = partial(disks)
    # Block 1 lies at 5 MiB, in front of its bitmap, which the file's end cuts in front of its bits.
    poke(path, BITMAP_AT, struct.pack("<Q", 6 * MIB | 6))
    with open(path, "r+b") as file:
        file.truncate(6 * MIB + 511)
    refusal(path, CorruptImageError, "cut short by the end of the file", "block 1", at=BITMAP_AT)


def test_state_4_is_refused(disks: Path) -> None:
    path = child(disks / "child.vhdx", states={2: 4})
    refusal(
        path, CorruptImageError, "block 2 has state 4", "with a parent", "7 (partially stored)",
        at=BAT + 16,
    )  # fmt: skip


def test_the_table_must_reach_the_last_bitmap(disks: Path) -> None:
    # 1 MiB holds the entries of 131041 blocks with 31 bitmaps between them, not the last bitmap's.
    pairs = {"parent_linkage": linkage(), "relative_path": "base.vhdx"}
    items = [
        *standard_items(131041 * MIB, flags=2), (PARENT_LOCATOR, parent_locator(pairs), 4)
    ]  # fmt: skip
    path = write_vhdx(disks / "child.vhdx", virtual_size=SIZE, items=items)
    refusal(
        path, CorruptImageError, "BAT region has 1048576 bytes", "131041 blocks", "need 1048832",
        at=BAT,
    )  # fmt: skip


# ---- any chain ----------------------------------------------------------------------------------


@st.composite
def layers(draw: Any) -> list[dict[str, Any]]:
    """Block size, blocks' kinds and marked runs of each layer, the base first."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        block_size = draw(st.sampled_from([MIB, 2 * MIB]))
        count = SIZE // block_size
        kinds = draw(st.lists(st.sampled_from("npfz"), min_size=count, max_size=count))
        runs = draw(st.lists(st.tuples(st.integers(0, 8191), st.integers(1, 3000)), max_size=5))
        found.append({"block_size": block_size, "kinds": kinds, "runs": runs})
    return found


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(chain=layers(), ask_holes=st.booleans())
def test_any_chain_reads_as_its_layers_one_over_the_other(
    tmp_path: Path, chain: list[dict[str, Any]], ask_holes: bool
) -> None:
    expected = bytes(SIZE)
    for number, layer in enumerate(chain):
        block_size = layer["block_size"]
        fresh = pattern(number + 1, SIZE)
        marks = bytearray(SIZE // 512)
        for first, length in layer["runs"]:
            end = min(first + length, len(marks))
            marks[first:end] = b"\1" * (end - first)
        disk = bytearray(expected)
        blocks, partly, states = {}, {}, {}
        for block, kind in enumerate(layer["kinds"]):
            span = slice(block * block_size, (block + 1) * block_size)
            if kind == "f" or (kind == "p" and number == 0):
                disk[span] = blocks[block] = fresh[span]
            elif kind == "z":
                disk[span] = bytes(block_size)
                states[block] = 2
            elif kind == "p":
                partly[block] = fresh[span]
                for sector in range(span.start // 512, span.stop // 512):
                    if marks[sector]:
                        at = slice(sector * 512, sector * 512 + 512)
                        disk[at] = fresh[at]
        expected = bytes(disk)
        bits = bytes(
            sum(marks[at + bit] << bit for bit in range(8)) for at in range(0, len(marks), 8)
        )
        write_vhdx(
            tmp_path / f"{number}.vhdx", virtual_size=SIZE, block_size=block_size, blocks=blocks,
            states=states, partial=partly, bitmaps={0: bits} if number else None,
            parent={"parent_linkage": linkage(uuid.UUID(int=number)),
                    "relative_path": f".\\{number - 1}.vhdx"} if number else None,
            data_id=uuid.UUID(int=number + 1),
        )  # fmt: skip
    with open_image(tmp_path / f"{len(chain) - 1}.vhdx", ask_holes=ask_holes) as image:
        assert image.pread(0, SIZE) == expected
        pieces = [
            image.pread(row.offset, row.length)
            for window in image.windows(max_rows=3)
            for row in window
        ]
        assert b"".join(pieces) == expected
