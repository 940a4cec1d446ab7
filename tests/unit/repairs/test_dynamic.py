"""Repairs of dynamic VHDs: one footer from the other, checksums, and what is refused."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import MIB, SparseFile, pattern, peek, poke
from tests.support.build_vhd import (
    DIFFERENCING,
    DYNAMIC,
    DynamicVhd,
    differencing,
    make_footer,
    with_checksum,
)
from vhdfast import in_place
from vhdfast.errors import (
    CorruptImageError,
    UnprovenError,
    UnsupportedImageError,
    VhdfastError,
)

from .conftest import Refused, codes, digest, fields

Write = Callable[[SparseFile], Path]


def dynamic(**footer: object) -> DynamicVhd:
    image = DynamicVhd(6 * MIB, footer=dict(footer))
    image.store(1, pattern(1, 3000))
    image.store(0, pattern(2, 2 * MIB))
    return image


def repaired(path: Path, intact: bytes, expected: list[tuple[str, bool]], **options: bool) -> None:
    """Found, repaired to the very bytes, and undone."""
    before = digest(path)
    assert codes(path, **options) == expected
    in_place.repair(path, **options)
    assert path.read_bytes() == intact
    assert codes(path) == []
    in_place.undo(path)
    assert digest(path)[0] == before[0]


@pytest.fixture
def intact(write: Write) -> tuple[Path, bytes]:
    path = write(dynamic().build())
    return path, path.read_bytes()


def test_nothing_to_repair(intact: tuple[Path, bytes]) -> None:
    path, _ = intact
    assert codes(path) == []
    assert in_place.repair(path).action == "unchanged"


def test_what_qemu_writes_needs_no_repair(tmp_path: Path, qemu_img: Callable[..., str]) -> None:
    (tmp_path / "raw").write_bytes(pattern(3, 3 * MIB))
    qemu_img("convert", "-f", "raw", "-O", "vpc", tmp_path / "raw", tmp_path / "disk.vhd")
    assert codes(tmp_path / "disk.vhd") == []


@pytest.mark.parametrize("damage", [bytes(512), b"X", pattern(5, 512)])
def test_the_copy_at_the_start_comes_from_the_footer_at_the_end(
    intact: tuple[Path, bytes], qemu_img: Callable[..., str], damage: bytes
) -> None:
    path, whole = intact
    poke(path, 0, damage)
    repaired(path, whole, [("footer-missing", True)])
    in_place.repair(path)
    assert "virtual size: 6 MiB" in qemu_img("info", "-f", "vpc", path)


def test_a_copy_at_the_start_with_a_wrong_checksum(intact: tuple[Path, bytes]) -> None:
    path, whole = intact
    poke(path, 50, b"\xff")
    repaired(path, whole, [("footer-checksum", True)])


@pytest.mark.parametrize("damage", [bytes(512), b"X", b"conectix\xff\xff"])
def test_a_damaged_footer_at_the_end_is_overwritten(
    intact: tuple[Path, bytes], damage: bytes
) -> None:
    path, whole = intact
    poke(path, len(whole) - 512, damage)
    code = "footer-checksum" if damage.startswith(b"conectix") else "footer-missing"
    repaired(path, whole, [(code, True)])


def test_a_missing_footer_at_the_end_is_appended(write: Write) -> None:
    path = write(dynamic().build(tail=False))
    whole = path.read_bytes() + peek(path, 0, 512)
    repaired(path, whole, [("footer-missing", True)])


def test_what_is_no_footer_at_the_end_is_not_overwritten(write: Write) -> None:
    image = dynamic().build(tail=False)
    image.put(image.size, pattern(7, 700))
    path = write(image)
    before = path.read_bytes()
    in_place.repair(path)
    padding = bytes(-len(before) % 512)
    assert path.read_bytes() == before + padding + before[:512]


def test_a_note_at_the_end_is_not_overwritten(write: Write) -> None:
    image = dynamic().build(tail=False)
    image.put(image.size, b"sha256 of what was exported: " + b"ab" * 32 + bytes(512 - 93))
    path = write(image)
    before = path.read_bytes()
    in_place.repair(path)
    assert path.read_bytes() == before + before[:512]


def test_a_file_that_is_cut_short_gets_no_footer(write: Write, refused: Refused) -> None:
    path = write(dynamic().build(tail=False))
    os.truncate(path, path.stat().st_size - 4096)
    refused(path, UnprovenError, "the file is cut short")


def test_both_checksums_wrong_and_both_footers_the_same(intact: tuple[Path, bytes]) -> None:
    path, whole = intact
    for at in (0, len(whole) - 512):
        poke(path, at + 64, b"\0\0\0\0")
    repaired(path, whole, [("footer-checksum", True), ("footer-checksum", True)])


def test_both_checksums_wrong_and_the_footers_differ(
    intact: tuple[Path, bytes], refused: Refused
) -> None:
    path, whole = intact
    poke(path, 50, b"\xff")
    poke(path, len(whole) - 512 + 51, b"\xff")
    refused(path, UnprovenError, "do not confirm each other")


def test_one_footer_alone_with_a_wrong_checksum(write: Write, refused: Refused) -> None:
    path = write(dynamic().build(tail=False))
    poke(path, 64, b"\0\0\0\0")
    refused(path, UnprovenError, "do not confirm each other")


def test_two_intact_footers_that_differ(intact: tuple[Path, bytes], refused: Refused) -> None:
    path, _ = intact
    poke(path, 0, make_footer(5 * MIB, DYNAMIC, data_offset=512))
    refused(path, UnprovenError, "both intact and differ")


def test_the_checksum_of_the_dynamic_header(intact: tuple[Path, bytes]) -> None:
    path, whole = intact
    poke(path, 512 + 36, b"\1\2\3\4")
    repaired(path, whole, [("header-checksum", True)])


def test_a_damaged_dynamic_header_is_not_proven(
    intact: tuple[Path, bytes], refused: Refused
) -> None:
    path, _ = intact
    poke(path, 512 + 28, struct.pack(">I", 9))
    refused(path, UnprovenError, "9 entries do not fit the 3 blocks")


def test_a_dynamic_header_that_is_none(intact: tuple[Path, bytes], refused: Refused) -> None:
    path, _ = intact
    poke(path, 512, b"X")
    refused(path, CorruptImageError, "the dynamic header begins with")


def test_all_at_once(write: Write) -> None:
    image = dynamic(geometry=(1, 1, 1), unique_id=bytes(16), saved_state=1).build()
    image.put(image.size, bytes(1024))
    path = write(image)
    poke(path, 512 + 36, bytes(4))
    damaged = digest(path)
    assert codes(path, clear_saved_state=True) == [
        ("bytes-after-footer", True), ("header-checksum", True),
        ("geometry", True), ("unique-id", True), ("saved-state", True),
    ]  # fmt: skip
    in_place.repair(path, clear_saved_state=True)
    assert path.stat().st_size == image.size - 1024
    found = fields(path)
    assert (found["saved_state"], found["cylinders"]) == (0, 65535)
    assert found["unique_id"] != 0
    assert peek(path, 0, 512) == path.read_bytes()[-512:]
    header = peek(path, 512, 1024)
    assert header == with_checksum(header, 36)
    assert peek(path, 1536, 3000) == image.get(1536, 3000)
    in_place.undo(path)
    assert digest(path)[0] == damaged[0]


def test_data_behind_the_footer(write: Write, refused: Refused) -> None:
    image = dynamic().build()
    whole = image.get(0, image.size)
    image.put(image.size, b"x" + bytes(5000))
    path = write(image)
    refused(path, UnprovenError, "not all are zeros")
    repaired(path, whole, [("bytes-after-footer", True)], cut_trailing=True)


def test_a_vhd_among_the_blocks_is_not_taken_for_the_footer(write: Write) -> None:
    image = DynamicVhd(6 * MIB)
    image.store(0, make_footer(5 * MIB, DYNAMIC, data_offset=512))
    path = write(image.build(tail=False))
    whole = path.read_bytes() + peek(path, 0, 512)
    repaired(path, whole, [("footer-missing", True)])


def test_a_fixed_vhd_among_the_blocks_of_a_file_that_is_cut_short(
    write: Write, refused: Refused
) -> None:
    image = DynamicVhd(6 * MIB)
    image.store(0, bytes(MIB) + make_footer(MIB))
    path = write(image.build())
    os.truncate(path, image.first + image.bitmap_size + MIB + 512)
    refused(path, UnprovenError, "a disk of the guest's")


def test_a_block_on_top_of_the_footer_copy(write: Write, refused: Refused) -> None:
    image = dynamic()
    image.table[2] = 0
    refused(write(image.build()), CorruptImageError, "on top of the footer copy")


def test_a_header_where_the_footer_copy_belongs(write: Write, refused: Refused) -> None:
    image = dynamic().build()
    footer = make_footer(6 * MIB, DYNAMIC, data_offset=16)
    image.put(16, image.get(512, 1024))
    image.put(image.size - 512, footer)
    refused(write(image), UnprovenError, "where the footer copy belongs")


def test_a_differencing_disk_is_repaired_without_its_parent(write: Write) -> None:
    image = differencing(4 * MIB, parent_name="nowhere.vhd", relative=".\\nowhere.vhd")
    path = write(image.build())
    whole = path.read_bytes()
    poke(path, 0, bytes(512))
    assert in_place.plan_repair(path).subformat == "differencing"
    repaired(path, whole, [("footer-missing", True)])
    assert int.from_bytes(whole[60:64], "big") == DIFFERENCING


def test_a_parent_locator_where_the_footer_copy_belongs(write: Write, refused: Refused) -> None:
    image = differencing(4 * MIB, parent_name="nowhere.vhd", relative=".\\nowhere.vhd")
    path = write(image.build())
    header = peek(path, 512, 1024)
    locator = struct.pack(">Q", 64)
    poke(path, 512, with_checksum(header[:592] + locator + header[600:], 36))
    poke(path, 0, ".\\nowhere.vhd".encode("utf-16-le").rjust(100, b"\0").ljust(512, b"\0"))
    refused(path, UnprovenError, "a parent locator lies where the footer copy belongs")


def test_the_first_part_of_a_split_disk_gets_no_footer(write: Write, refused: Refused) -> None:
    path = write(dynamic().build(tail=False))
    path.with_suffix(".v01").write_bytes(b"more blocks")
    refused(path, UnprovenError, "disk.v01 lies beside it")


def test_the_data_of_a_dynamic_disk_is_not_changed(
    intact: tuple[Path, bytes], refused: Refused
) -> None:
    path, _ = intact
    refused(path, UnsupportedImageError, "is not changed in place", relocate_gpt=True)


def test_a_misaligned_dynamic_disk_stays(write: Write) -> None:
    image = DynamicVhd(6 * MIB + 512)
    assert codes(write(image.build())) == []


@settings(max_examples=80, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    st.lists(
        st.tuples(st.sampled_from(["head", "header", "table", "end"]), st.integers(0, 511),
                  st.binary(min_size=1, max_size=9)), max_size=4,
    ),
    st.integers(0, 600),
)  # fmt: skip
def test_any_damage_is_repaired_refused_or_left_and_undone(
    tmp_path: Path, damage: list[tuple[str, int, bytes]], cut: int
) -> None:
    image = DynamicVhd(256 * 1024, block_size=4096)
    image.store(7, pattern(4, 4096))
    image.store(2, pattern(5, 4096))
    path = image.build().write(tmp_path / "disk.vhd")
    size = path.stat().st_size
    places = {"head": 0, "header": 512, "table": 1536, "end": size - 512}
    for place, at, data in damage:
        poke(path, places[place] + at, data[: 512 - at])
    os.truncate(path, size - cut)
    before = digest(path)
    blocks = peek(path, image.first, 2 * 4608)
    try:
        result = in_place.repair(path, cut_trailing=True)
    except VhdfastError:
        assert digest(path) == before
        return
    if result.action == "changed":
        assert peek(path, image.first, 2 * 4608) == blocks
        assert fields(path)["disk_type"] == DYNAMIC
        assert peek(path, 0, 512) == path.read_bytes()[-512:]
        assert in_place.plan_repair(path).change is None
        in_place.undo(path)
    assert digest(path)[0] == before[0]
