"""VHDX: what is read, and how it is described. tests/hostile has what is refused."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import MIB, pattern, peek, poke
from tests.support.build_vhdx import (
    BAT,
    HEADERS,
    REGION_TABLES,
    bat_index,
    header,
    seal,
    write_vhdx,
)
from tests.support.reading import codes, opened, the_map
from vhdfast import Kind
from vhdfast.errors import UnknownFormatError

GIB = 1 << 30
PAYLOAD = 4 * MIB  # where the first block lies when the BAT takes 1 MiB
Z, D = Kind.ZERO, Kind.DATA


# ---- the map ------------------------------------------------------------------------------------


def test_an_empty_disk_is_one_row_of_zeros(tmp_path: Path) -> None:
    with opened(write_vhdx(tmp_path / "d.vhdx", virtual_size=8 * MIB)) as image:
        assert the_map(image) == [(0, 8 * MIB, Z, None)]
        assert image.pread(0, 8 * MIB) == bytes(8 * MIB)
        assert image.notices == ()


def test_blocks_lie_where_the_table_says(tmp_path: Path) -> None:
    first, second = pattern(1, MIB), pattern(2, MIB)
    path = write_vhdx(tmp_path / "d.vhdx", virtual_size=4 * MIB, blocks={3: first, 1: second})
    with opened(path) as image:
        assert the_map(image) == [
            (0, MIB, Z, None),
            (MIB, MIB, D, PAYLOAD + MIB),
            (2 * MIB, MIB, Z, None),
            (3 * MIB, MIB, D, PAYLOAD),
        ]
        assert image.pread(0, 4 * MIB) == bytes(MIB) + second + bytes(MIB) + first


def test_blocks_that_follow_each_other_are_one_row(tmp_path: Path) -> None:
    blocks = {block: pattern(block, MIB) for block in range(4)}
    with opened(write_vhdx(tmp_path / "d.vhdx", virtual_size=4 * MIB, blocks=blocks)) as image:
        assert the_map(image) == [(0, 4 * MIB, D, PAYLOAD)]


@pytest.mark.parametrize("state", [0, 1, 2, 3, 5])
def test_states_without_payload_read_as_zeros(tmp_path: Path, state: int) -> None:
    # The offset of such an entry means nothing: here it points at the first block's payload.
    path = write_vhdx(
        tmp_path / "d.vhdx",
        virtual_size=2 * MIB,
        blocks={0: pattern(1, MIB)},
        states={1: PAYLOAD | state},
    )
    with opened(path) as image:
        assert the_map(image) == [(0, MIB, D, PAYLOAD), (MIB, MIB, Z, None)]


def test_a_disk_may_end_inside_a_block(tmp_path: Path) -> None:
    path = write_vhdx(
        tmp_path / "d.vhdx",
        virtual_size=2 * MIB + 512,
        block_size=2 * MIB,
        blocks={1: pattern(1, 2 * MIB)},
    )
    with opened(path) as image:
        assert the_map(image) == [(0, 2 * MIB, Z, None), (2 * MIB, 512, D, PAYLOAD)]
        assert image.pread(2 * MIB, 4096) == pattern(1, 512)


def test_the_largest_block_size(tmp_path: Path) -> None:
    path = write_vhdx(
        tmp_path / "d.vhdx", virtual_size=GIB, block_size=256 * MIB, blocks={2: b"x" * 512}
    )
    with opened(path) as image:
        assert the_map(image) == [
            (0, 512 * MIB, Z, None),
            (512 * MIB, 256 * MIB, D, PAYLOAD),
            (768 * MIB, 256 * MIB, Z, None),
        ]


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(("sector_size", "ratio"), [(512, 128), (4096, 1024)])
def test_a_bitmap_entry_follows_each_chunk(
    tmp_path: Path, fixed: bool, sector_size: int, ratio: int
) -> None:
    # Blocks of 32 MiB on both sides of the first two chunk borders.
    numbers = [ratio - 1, ratio, 2 * ratio - 1, 2 * ratio]
    path = write_vhdx(
        tmp_path / "d.vhdx",
        virtual_size=(2 * ratio + 1) * 32 * MIB,
        block_size=32 * MIB,
        sector_size=sector_size,
        fixed=fixed,
        blocks={number: b"%d" % number for number in numbers},
    )
    # What stands at a bitmap's place says nothing of the disk.
    poke(path, BAT + 8 * ratio, b"\xff" * 8)
    with opened(path) as image:
        assert image.info().details["chunk ratio"] == ratio
        for number in numbers:
            assert image.pread(number * 32 * MIB, 4) == (b"%d" % number).ljust(4, b"\0")
        assert sum(length for _, length, kind, _ in the_map(image) if kind is D) == 4 * 32 * MIB


@pytest.mark.large
def test_a_table_that_is_full_to_its_last_entry(tmp_path: Path) -> None:
    # 16257 whole chunks of 128 blocks with a bitmap's entry between them, none behind the last,
    # are 16 MiB to the byte.
    count = 16257 * 128
    path = write_vhdx(
        tmp_path / "d.vhdx",
        virtual_size=count * 32 * MIB,
        block_size=32 * MIB,
        blocks={count - 1: pattern(1, MIB)},
    )
    place = BAT + 16 * MIB
    assert peek(path, place - 8, 8) == (place | 6).to_bytes(8, "little")
    with opened(path) as image:
        assert image.pread((count - 1) * 32 * MIB, MIB) == pattern(1, MIB)


def test_windows_of_any_size_make_the_same_map(tmp_path: Path) -> None:
    blocks = {block: pattern(block, 512) for block in range(0, 40, 2)}
    with opened(write_vhdx(tmp_path / "d.vhdx", virtual_size=40 * MIB, blocks=blocks)) as image:
        whole = the_map(image)
        assert len(whole) == 40
        assert the_map(image, max_rows=1) == whole
        assert the_map(image, max_rows=7) == whole


def test_a_window_may_begin_and_end_inside_blocks(tmp_path: Path) -> None:
    path = write_vhdx(tmp_path / "d.vhdx", virtual_size=3 * MIB, blocks={1: pattern(1, MIB)})
    with opened(path) as image:
        rows = [(e.offset, e.length, e.kind, e.file_offset) for e in image.extents(4096, 2 * MIB)]
        assert rows == [
            (4096, MIB - 4096, Z, None),
            (MIB, MIB, D, PAYLOAD),
            (2 * MIB, 4096, Z, None),
        ]
        rows = [(e.offset, e.length, e.kind, e.file_offset) for e in image.extents(MIB + 512, 512)]
        assert rows == [(MIB + 512, 512, D, PAYLOAD + 512)]


def test_a_short_last_block_ends_in_zeros_with_a_notice(tmp_path: Path) -> None:
    path = write_vhdx(
        tmp_path / "d.vhdx",
        virtual_size=2 * MIB,
        blocks={0: pattern(1, MIB), 1: pattern(2, 8192)},
        short_end=True,
    )
    with opened(path) as image:
        assert the_map(image) == [
            (0, MIB + 8192, D, PAYLOAD),
            (MIB + 8192, MIB - 8192, Z, None),
        ]
        assert codes(image) == ["short-block"]
        assert image.pread(MIB, MIB) == pattern(2, 8192).ljust(MIB, b"\0")


def test_a_file_that_ends_behind_the_disks_end_needs_no_notice(tmp_path: Path) -> None:
    path = write_vhdx(
        tmp_path / "d.vhdx", virtual_size=4096, blocks={0: pattern(1, 4096)}, short_end=True
    )
    with opened(path) as image:
        assert the_map(image) == [(0, 4096, D, PAYLOAD)]
        assert codes(image) == []


# ---- what info says -----------------------------------------------------------------------------


def test_info(tmp_path: Path) -> None:
    path = write_vhdx(
        tmp_path / "d.vhdx", virtual_size=64 * MIB, block_size=2 * MIB, sector_size=4096
    )
    with opened(path) as image:
        info = image.info()
    assert (info.format, info.subformat) == ("vhdx", "dynamic")
    assert (info.virtual_size, info.file_size) == (64 * MIB, path.stat().st_size)
    assert (info.block_size, info.sector_size) == (2 * MIB, 4096)
    assert info.creator == "build_vhdx 1.0"
    assert info.identifiers == {
        "virtual disk id": "01234567-89ab-cdef-0123-456789abcdef",
        "data write guid": "bbbbbbbb-0000-0000-0000-000000000002",
        "file write guid": "aaaaaaaa-0000-0000-0000-000000000001",
    }
    assert info.details == {
        "physical sector size": 4096,
        "log": "empty",
        "log size": MIB,
        "chunk ratio": 16384,
        "header sequence": 7,
    }


def test_a_fixed_disk_says_so(tmp_path: Path) -> None:
    with opened(write_vhdx(tmp_path / "d.vhdx", virtual_size=MIB, fixed=True)) as image:
        assert image.info().subformat == "fixed"


def test_a_creator_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    path = write_vhdx(tmp_path / "d.vhdx", virtual_size=MIB)
    poke(path, 8, "a\x1b[2Jb\n\ud800c\0".encode("utf-16-le", "surrogatepass"))
    with opened(path) as image:
        creator = image.info().creator
    assert creator is not None
    assert creator.isprintable()
    assert creator.startswith("a?[2Jb?")


# ---- headers and region tables ------------------------------------------------------------------


@pytest.mark.parametrize("newer", [0, 1])
def test_the_header_with_the_larger_number_is_current(tmp_path: Path, newer: int) -> None:
    path = write_vhdx(tmp_path / "d.vhdx", virtual_size=MIB)
    # The other one has a log that could not be replayed.
    poke(path, HEADERS[newer], header(0xFFFFFFFFFFFFFFFF))
    poke(path, HEADERS[1 - newer], header(0xFFFFFFFFFFFFFFFE, log_id=uuid.UUID(int=1)))
    with opened(path) as image:
        assert image.info().details["header sequence"] == 0xFFFFFFFFFFFFFFFF
        assert codes(image) == []


def test_two_equal_headers_are_one(tmp_path: Path) -> None:
    path = write_vhdx(tmp_path / "d.vhdx", virtual_size=MIB)
    poke(path, HEADERS[0], header(3))
    poke(path, HEADERS[1], header(3))
    with opened(path) as image:
        assert image.virtual_size == MIB
        assert codes(image) == []


@pytest.mark.parametrize("damaged", [0, 1])
def test_one_damaged_header_is_a_notice(tmp_path: Path, damaged: int) -> None:
    path = write_vhdx(tmp_path / "d.vhdx", virtual_size=MIB, blocks={0: pattern(1, MIB)})
    poke(path, HEADERS[damaged] + 100, b"!")
    with opened(path) as image:
        assert image.pread(0, MIB) == pattern(1, MIB)
        assert codes(image) == ["header-damaged"]
        assert image.notices[0].offset == HEADERS[damaged]
        assert "checksum" in image.notices[0].message


def test_a_damaged_first_region_table_is_a_notice(tmp_path: Path) -> None:
    path = write_vhdx(tmp_path / "d.vhdx", virtual_size=MIB, blocks={0: pattern(1, MIB)})
    poke(path, REGION_TABLES[0], b"gone")
    with opened(path) as image:
        assert image.pread(0, MIB) == pattern(1, MIB)
        assert codes(image) == ["region-table-damaged"]
        assert image.notices[0].offset == REGION_TABLES[0]


def test_a_damaged_second_region_table_is_not_looked_at(tmp_path: Path) -> None:
    path = write_vhdx(tmp_path / "d.vhdx", virtual_size=MIB)
    poke(path, REGION_TABLES[1], bytes(65536))
    with opened(path) as image:
        assert codes(image) == []


def test_an_empty_log_may_have_no_place(tmp_path: Path) -> None:
    path = write_vhdx(tmp_path / "d.vhdx", virtual_size=MIB)
    for place in HEADERS:
        poke(path, place, header(9, log_length=0, log_offset=0, log_version=7))
    seal(path)
    poke(path, HEADERS[0] + 8, b"\x0a")
    seal(path)
    with opened(path) as image:
        assert image.info().details["log size"] == 0


def test_a_damaged_identifier_is_not_a_raw_disk(tmp_path: Path) -> None:
    path = write_vhdx(tmp_path / "d.img", virtual_size=MIB, blocks={0: pattern(1, MIB)})
    poke(path, 0, b"VHDXFILE")
    with pytest.raises(UnknownFormatError, match=r"damaged vhdx image: .*head.*--from vhdx"):
        opened(path)
    with opened(path, "vhdx") as image:
        assert codes(image) == ["identifier-damaged"]
        assert image.pread(0, MIB) == pattern(1, MIB)


# ---- in general ---------------------------------------------------------------------------------


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_blocks_in_any_order_read_back(tmp_path: Path, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 24), label="blocks")
    cut = data.draw(st.integers(0, MIB // 4096 - 1), label="sectors cut off the last block") * 4096
    stored = data.draw(st.permutations(range(count)), label="order")
    stored = stored[: data.draw(st.integers(0, count), label="stored")]
    rest = [block for block in range(count) if block not in stored]
    states = {block: data.draw(st.sampled_from([0, 1, 2, 3, 5])) for block in rest}
    sector_size = data.draw(st.sampled_from([512, 4096]))
    blocks = {block: pattern(block, 8192) for block in stored}
    path = write_vhdx(
        tmp_path / "d.vhdx",
        virtual_size=count * MIB - cut,
        blocks=blocks,
        states=states,
        sector_size=sector_size,
        fixed=data.draw(st.booleans()),
    )
    with opened(path) as image:
        seen: dict[int, int | None] = {}
        for window in image.windows(max_rows=data.draw(st.integers(1, 30))):
            for extent in window:
                for block in range(extent.offset // MIB, -(-extent.end // MIB)):
                    at = extent.file_offset
                    if at is not None:
                        at += block * MIB - extent.offset
                    seen[block] = at
        expected: dict[int, int | None] = dict.fromkeys(range(count))
        expected |= {block: PAYLOAD + MIB * place for place, block in enumerate(stored)}
        assert seen == expected
        for block in range(count):
            want = blocks.get(block, b"").ljust(MIB, b"\0")[: image.virtual_size - block * MIB]
            assert image.pread(block * MIB, MIB) == want


def test_mapping_an_empty_disk_of_1_tib_costs_little(tmp_path: Path) -> None:
    # 0.3 s are asked for; blocks of 1 MiB are 32 times what Hyper-V would make of it.
    path = write_vhdx(tmp_path / "d.vhdx", virtual_size=1 << 40)
    before = time.process_time()
    with opened(path) as image:
        assert sum(length for _, length, _, _ in the_map(image)) == 1 << 40
    assert time.process_time() - before < 0.3


@pytest.mark.large
def test_the_largest_disk_is_read_in_windows(tmp_path: Path) -> None:
    import tracemalloc

    last = (64 << 40) // MIB - 1
    path = write_vhdx(tmp_path / "d.vhdx", virtual_size=64 << 40, blocks={last: pattern(1, MIB)})
    assert bat_index(last) == last + last // 4096
    tracemalloc.start()
    with opened(path) as image:
        assert image.pread((64 << 40) - MIB, MIB) == pattern(1, MIB)
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * MIB
