"""Differencing VHDX: locators, sector bitmaps and their entries at their extremes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import MIB, pattern, peek, poke
from tests.support.build_vhdx import BAT, METADATA, bitmap_index, linkage, write_vhdx
from vhdfast import open_image
from vhdfast.errors import ImageError

SIZE = 3 * MIB
BASE, CHILD = pattern(1, SIZE), pattern(2, SIZE)
LOCATOR = METADATA + 65536 + 40
BITMAP, PAYLOAD = 4 * MIB, 5 * MIB
# Of block 1, which is partially present: sectors 0-3 are the child's.
BITS = bytes(256) + b"\x0f"
EXPECTED = BASE[:MIB] + CHILD[MIB : MIB + 2048] + BASE[MIB + 2048 : 2 * MIB] + CHILD[2 * MIB :]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    write_vhdx(
        tmp_path / "base.vhdx", virtual_size=SIZE,
        blocks={block: BASE[block * MIB : (block + 1) * MIB] for block in range(3)},
    )  # fmt: skip
    return write_vhdx(
        tmp_path / "child.vhdx",
        virtual_size=SIZE,
        blocks={2: CHILD[2 * MIB :]},
        partial={1: CHILD[MIB : 2 * MIB]},
        bitmaps={0: BITS},
        parent={"parent_linkage": linkage(), "relative_path": ".\\base.vhdx"},
    )


def read_all(path: Path) -> bytes | None:
    """The disk, or None where a typed error refuses it."""
    try:
        with open_image(path, "vhdx") as image:
            image.info()
            return image.pread(0, SIZE)
    except ImageError as error:
        assert error.exit_code == 4
        return None


def test_the_disk_is_right_before_it_is_damaged(disk: Path) -> None:
    assert read_all(disk) == EXPECTED


@pytest.mark.parametrize("field", [16, 18, *range(20, 44, 4), *range(28, 44, 2)])
@pytest.mark.parametrize("size", [2, 4])
def test_a_field_of_the_locator(disk: Path, field: int, size: int) -> None:
    kept = peek(disk, LOCATOR + field, size)
    top = 256**size - 1
    for value in (0, 1, 2, 20, 43, 44, 45, 255, top, top - 1, top // 2, top // 2 + 1):
        poke(disk, LOCATOR + field, value.to_bytes(size, "little"))
        assert read_all(disk) in (EXPECTED, None)
    poke(disk, LOCATOR + field, kept)


@pytest.mark.parametrize("index", [0, 1, 2, bitmap_index(0), bitmap_index(0) - 1])
def test_an_entry_of_the_table(disk: Path, index: int) -> None:
    own = {BASE[at : at + 512] for at in range(0, SIZE, 512)}
    own |= {CHILD[at : at + 512] for at in range(0, SIZE, 512)} | {bytes(512)}
    for state in range(8):
        for place in (0, 1, 2, 3, 4, 5, 6, 7, 8, (1 << 44) - 1, 1 << 43, 1 << 31, 1 << 32):
            poke(disk, BAT + 8 * index, (place << 20 | state).to_bytes(8, "little"))
            content = read_all(disk)
            # Bytes of the file's structures, the bitmap's among them, never become the disk's.
            for at in range(0, len(content or b""), 512):
                assert content is not None
                assert content[at : at + 512] in own, (state, place, at)


@pytest.mark.parametrize("size", [BITMAP - 1, BITMAP, BITMAP + 255, BITMAP + 512, PAYLOAD,
                                  PAYLOAD + MIB - 1, PAYLOAD + MIB, PAYLOAD + MIB + 1])  # fmt: skip
def test_a_file_cut_anywhere(disk: Path, size: int) -> None:
    with open(disk, "r+b") as file:
        file.truncate(size)
    content = read_all(disk)
    assert content is None or content[: 2 * MIB] == EXPECTED[: 2 * MIB] or size < PAYLOAD + 2 * MIB


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    damage=st.lists(
        st.tuples(
            st.sampled_from([LOCATOR, METADATA + 32 + 160, BAT, BAT + 8 * bitmap_index(0), BITMAP]),
            st.integers(0, 400),
            st.binary(min_size=1, max_size=16),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_random_damage_never_ends_otherwise(
    disk: Path, damage: list[tuple[int, int, bytes]]
) -> None:
    kept = [(place + at, peek(disk, place + at, len(data))) for place, at, data in damage]
    for place, at, data in damage:
        poke(disk, place + at, data)
    read_all(disk)
    for at, data in reversed(kept):
        poke(disk, at, data)
