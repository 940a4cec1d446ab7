"""Differencing VHD: finding the parent, knowing it, and reading through chains."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vhdfast import Kind, convert
from vhdfast.errors import (
    CorruptImageError,
    InvalidImageError,
    MissingReferenceError,
    UnsafeReferenceError,
    VhdfastError,
)
from vhdfast.image import Image, open_image

from ...support import KIB, SparseFile, pattern, rows_of
from ...support.build_vhd import DynamicVhd, differencing, fixed

SIZE, BLOCK = 20 * KIB, 4 * KIB
BASE_ID, CHILD_ID = bytes(range(1, 17)), b"child's unique i"
BASE = pattern(9, SIZE)
Z4 = bytes(4 * KIB)

Open = Callable[..., Image]


@pytest.fixture
def disks(tmp_path: Path) -> Path:
    """An own directory for the disks, with the parent base.vhd in it: 20 KiB, fixed."""
    folder = tmp_path / "disks"
    folder.mkdir()
    fixed(BASE).write(folder / "base.vhd")
    return folder


def child(**fields: Any) -> SparseFile:
    """Five blocks, of which the second is changed."""
    vhd = differencing(SIZE, BLOCK, **fields)
    vhd.footer["unique_id"] = CHILD_ID
    vhd.store(1, pattern(1, BLOCK))
    return vhd.build()


CHANGED = BASE[:BLOCK] + pattern(1, BLOCK) + BASE[2 * BLOCK :]


def refusal(path: Path, kind: type[VhdfastError], *fragments: str, **options: Any) -> VhdfastError:
    with pytest.raises(kind) as caught:
        open_image(path, **options).close()
    assert type(caught.value) is kind
    for fragment in fragments:
        assert fragment in str(caught.value)
    return caught.value


# ---- finding it ---------------------------------------------------------------------------------


def utf16(text: str) -> bytes:
    return text.encode("utf-16-le")


FOUND: dict[str, dict[str, Any]] = {
    "relative": {"relative": ".\\base.vhd"},
    "relative without a dot": {"relative": "base.vhd"},
    "relative by way of a directory": {"relative": ".\\..\\disks\\base.vhd"},
    "relative with slashes": {"relative": "./base.vhd"},
    "relative that ends in zeros": {"relative": ".\\base.vhd\0\0\0"},
    "relative that leads out, found by its last part": {"relative": "..\\..\\base.vhd"},
    "absolute of Windows": {"absolute": "C:\\somewhere\\base.vhd"},
    "absolute of Windows, long": {"absolute": "\\\\?\\C:\\somewhere\\base.vhd"},
    "a share": {"absolute": "\\\\server\\share\\base.vhd"},
    "absolute without a directory": {"absolute": "base.vhd"},
    "the relative one is wrong": {"relative": ".\\gone.vhd", "absolute": "C:\\base.vhd"},
    "the relative one no name": {"relative": "x" * 5000, "absolute": "C:\\base.vhd"},
    "the relative one too long": {"relative": "x" * 300, "absolute": "C:\\base.vhd"},
    "root of a drive": {"relative": "\\etc\\base.vhd"},
    "the name in the header": {"parent_name": "base.vhd"},
    "the name in the header, of Windows": {"parent_name": "D:\\vm\\base.vhd"},
    "big-endian": {"locators": [(b"W2ru", ".\\base.vhd".encode("utf-16-be"))]},
    "with a byte order mark": {"locators": [(b"W2ru", ".\\base.vhd".encode("utf-16"))]},
    "an odd byte more": {"locators": [(b"W2ru", utf16(".\\base.vhd") + b"\0")]},
    "deprecated, relative": {"locators": [(b"Wi2r", utf16(".\\base.vhd"))]},
    "deprecated, in bytes": {"locators": [(b"Wi2r", b".\\base.vhd\0")]},
    "deprecated, absolute": {"locators": [(b"Wi2k", utf16("C:\\base.vhd"))]},
    "a URL": {"locators": [(b"MacX", b"file://localhost/gone/b%61se.vhd")]},
    "a URL of another host": {"locators": [(b"MacX", b"file://host/disks/base.vhd")]},
    "no URL of a file, and a name": {
        "locators": [(b"MacX", b"http://[host/base.vhd")], "parent_name": "base.vhd",
    },
    "an alias and a name": {"locators": [(b"Mac ", b"\0\1\2")], "parent_name": "base.vhd"},
    "an unknown kind and a name": {"locators": [(b"XXXX", b"?")], "parent_name": "base.vhd"},
}  # fmt: skip


@pytest.mark.parametrize("how", FOUND)
def test_the_parent_is_found(disks: Path, opening: Open, how: str) -> None:
    image = opening(child(**FOUND[how]).write(disks / "child.vhd"))
    assert image.pread(0, SIZE) == CHANGED
    assert image.info().parent == str(disks / "base.vhd")
    assert image.notices == ()


def test_an_absolute_path_of_this_system(disks: Path, tmp_path: Path, opening: Open) -> None:
    path = child(absolute=str(disks / "base.vhd")).write(disks / "child.vhd")
    assert opening(path).pread(0, SIZE) == CHANGED
    moved = path.rename(tmp_path / "child.vhd")
    error = refusal(moved, UnsafeReferenceError, str(disks / "base.vhd"), "'base.vhd'")
    assert error.hint is not None
    assert f"--allow-reference {disks / 'base.vhd'}" in error.hint
    assert opening(moved, allow_references=[disks]).pread(0, SIZE) == CHANGED
    assert opening(moved, allow_all_references=True).pread(0, SIZE) == CHANGED


def test_a_url_of_this_system(disks: Path, tmp_path: Path, opening: Open) -> None:
    url = f"file://localhost{disks}/base.vhd".encode()
    path = child(locators=[(b"MacX", url)]).write(tmp_path / "child.vhd")
    assert opening(path, allow_references=[disks]).pread(0, SIZE) == CHANGED


def test_a_relative_path_outside_the_directory_is_unsafe(disks: Path, tmp_path: Path) -> None:
    inner = disks / "inner"
    inner.mkdir()
    path = child(relative="..\\base.vhd").write(inner / "child.vhd")
    error = refusal(path, UnsafeReferenceError, "'../base.vhd'", "lies outside", "'base.vhd'")
    assert error.hint is not None
    assert f"--allow-reference {disks / 'base.vhd'}" in error.hint


def test_the_last_part_counts_only_in_the_own_directory(disks: Path, tmp_path: Path) -> None:
    (tmp_path / "child").mkdir()
    path = child(absolute="C:\\disks\\base.vhd").write(tmp_path / "child" / "child.vhd")
    error = refusal(path, MissingReferenceError, "parent 'base.vhd' is not there")
    assert error.hint is not None
    assert "--parent FILE" in error.hint


def test_all_names_that_were_looked_for_are_named(tmp_path: Path) -> None:
    path = child(
        relative=".\\sub\\a.vhd", absolute="C:\\x\\b.vhd", parent_name="D:\\y\\c\u00e9.vhd"
    ).write(tmp_path / "child.vhd")
    refusal(path, UnsafeReferenceError, "'sub/a.vhd'", "'a.vhd', 'b.vhd', 'c\u00e9.vhd'")
    path = child(absolute="C:\\x\\b.vhd", parent_name="D:\\c\x1b.vhd").write(path)
    refusal(path, MissingReferenceError, "(looked for 'b.vhd', 'c?.vhd')")


def test_no_name_at_all(disks: Path) -> None:
    path = child().write(disks / "child.vhd")
    refusal(path, UnsafeReferenceError, "does not say where its parent is", "--parent FILE")


def test_the_user_names_the_parent(disks: Path, tmp_path: Path, opening: Open) -> None:
    path = child(relative=".\\gone.vhd").write(tmp_path / "child.vhd")
    image = opening(path, parents=[disks / "base.vhd"])
    assert image.pread(0, SIZE) == CHANGED


def test_a_locator_out_of_the_file_is_left_out(disks: Path, opening: Open) -> None:
    past = 1 << 20
    top = (1 << 64) - 1
    entries = [(b"W2ru", 512, 20, past), (b"W2ku", 512, 0x10001, 0), (b"W2ru", 1, 20, top)]
    vhd = differencing(SIZE, BLOCK, parent_name="base.vhd")
    vhd.header["locators"] = entries
    vhd.store(1, pattern(1, BLOCK))
    image = opening(vhd.build().write(disks / "child.vhd"))
    assert image.pread(0, SIZE) == CHANGED
    assert [(n.code, n.offset) for n in image.notices] == [
        ("parent-locator", 512 + 576), ("parent-locator", 512 + 600), ("parent-locator", 512 + 624),
    ]  # fmt: skip


def test_space_in_sectors_or_in_bytes_is_all_one(disks: Path, opening: Open) -> None:
    for space in (0, 1, 512, 0xFFFFFFFF):
        vhd = differencing(SIZE, BLOCK)
        vhd.store(1, pattern(1, BLOCK))
        name = utf16(".\\base.vhd")
        at = vhd.next
        vhd.pieces.append((at, name))
        vhd.next += 512
        vhd.header["locators"] = [(b"W2ru", space, len(name), at)]
        assert opening(vhd.build().write(disks / "child.vhd")).pread(0, SIZE) == CHANGED


def test_info_says_what_the_locators_hold(disks: Path, opening: Open) -> None:
    path = child(
        relative=".\\base.vhd", absolute="C:\\a\x07\\base.vhd", parent_name="base.vhd",
        parent_timestamp=1000,
    ).write(disks / "child.vhd")  # fmt: skip
    info = opening(path).info()
    assert info.subformat == "differencing"
    assert info.parent == str(disks / "base.vhd")
    assert info.details["parent unique id"] == str(uuid.UUID(bytes=BASE_ID))
    assert info.details["parent name"] == "base.vhd"
    assert info.details["parent locator W2ru"] == ".\\base.vhd"
    assert info.details["parent locator W2ku"] == "C:\\a?\\base.vhd"
    assert info.details["parent timestamp"] == 1000


# ---- knowing it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [False, True])
def test_another_disk_is_not_the_parent(disks: Path, named: bool) -> None:
    path = child(relative="base.vhd", parent_id=bytes(15) + b"\7").write(disks / "child.vhd")
    options = {"parents": [disks / "base.vhd"]} if named else {}
    error = refusal(
        path, CorruptImageError, str(uuid.UUID(bytes=BASE_ID)), str(uuid.UUID(int=7)),
        "base.vhd", **options,
    )  # fmt: skip
    assert error.path == str(path)
    assert error.offset == 512 + 40


def test_another_time_is_noticed(disks: Path, opening: Open) -> None:
    path = child(relative="base.vhd", parent_timestamp=5000).write(disks / "child.vhd")
    assert [(n.code, n.offset) for n in opening(path).notices] == [
        ("parent-timestamp", 512 + 56)
    ]


def test_the_time_of_the_footer_or_of_the_file_will_do(disks: Path, opening: Open) -> None:
    os.utime(disks / "base.vhd", (0, 946684800 + 7777))
    for time in (0, 1000, 7777, 7776):
        path = child(relative="base.vhd", parent_timestamp=time).write(disks / "child.vhd")
        assert opening(path).notices == ()


def test_a_parent_of_another_format_is_refused(disks: Path) -> None:
    (disks / "base.vhd").write_bytes(b"QFI\xfb" + bytes(100_000))
    path = child(relative="base.vhd").write(disks / "child.vhd")
    error = refusal(path, CorruptImageError, "no VHD footer")
    assert error.path == str(disks / "base.vhd")


def test_a_disk_that_is_its_own_parent(disks: Path) -> None:
    path = child(relative="child.vhd", parent_id=CHILD_ID).write(disks / "child.vhd")
    refusal(path, InvalidImageError, "stands above itself")
    refusal(path, InvalidImageError, "stands above itself", parents=[path])


def test_two_disks_that_are_each_others_parents(disks: Path) -> None:
    one = child(relative="two.vhd").write(disks / "one.vhd")
    child(relative="one.vhd").write(disks / "two.vhd")
    refusal(one, InvalidImageError, "stands above itself")


def test_a_parent_of_the_same_name_in_another_directory(
    disks: Path, tmp_path: Path, opening: Open
) -> None:
    # "base.vhd" in the child's own directory is the child itself.
    (tmp_path / "child").mkdir()
    path = child(relative="base.vhd", absolute=str(disks / "base.vhd"))
    image = opening(path.write(tmp_path / "child" / "base.vhd"), allow_references=[disks])
    assert image.pread(0, SIZE) == CHANGED


def long_chain(folder: Path, depth: int) -> Path:
    """disk0 is the base, each other one the child of the one before."""
    fixed(BASE, unique_id=bytes(16)).write(folder / "disk0.vhd")
    for number in range(1, depth + 1):
        vhd = differencing(
            SIZE, BLOCK, relative=f".\\disk{number - 1}.vhd",
            parent_id=(number - 1).to_bytes(16, "big"),
        )  # fmt: skip
        vhd.footer["unique_id"] = number.to_bytes(16, "big")
        vhd.build().write(folder / f"disk{number}.vhd")
    return folder / f"disk{depth}.vhd"


def test_128_parents_are_read_and_129_are_not(tmp_path: Path, opening: Open) -> None:
    path = long_chain(tmp_path, 129)
    assert opening(tmp_path / "disk128.vhd").pread(0, SIZE) == BASE
    refusal(path, InvalidImageError, "more than 128")


def test_a_refused_parent_leaves_no_file_open(disks: Path) -> None:
    path = child(relative="base.vhd", parent_id=bytes(16)).write(disks / "child.vhd")
    before = len(os.listdir("/proc/self/fd"))
    refusal(path, CorruptImageError)
    assert len(os.listdir("/proc/self/fd")) == before


# ---- reading through it -------------------------------------------------------------------------


def test_the_map_of_a_partially_present_block(disks: Path, opening: Open) -> None:
    vhd = differencing(SIZE, BLOCK, relative="base.vhd")
    data = vhd.store(2, pattern(1, BLOCK), bitmap=b"\x61")  # sectors 1, 2 and 7
    image = opening(vhd.build().write(disks / "child.vhd"), ask_holes=False)
    assert rows_of(image.windows()) == [
        (0, 8704, "DATA", 1, 0),
        (8704, 1024, "DATA", 0, data + 512),
        (9728, 2048, "DATA", 1, 9728),
        (11776, 512, "DATA", 0, data + 3584),
        (12288, 8192, "DATA", 1, 12288),
    ]


def test_a_block_of_which_nothing_is_marked_is_the_parents(disks: Path, opening: Open) -> None:
    vhd = differencing(SIZE, BLOCK, relative="base.vhd")
    vhd.store(2, pattern(1, BLOCK), bitmap=b"\0")
    image = opening(vhd.build().write(disks / "child.vhd"))
    assert image.pread(0, SIZE) == BASE
    assert image.notices == ()


def test_stored_zeros_hide_the_parent(disks: Path, opening: Open) -> None:
    vhd = differencing(SIZE, BLOCK, relative="base.vhd")
    vhd.store(2)
    path = vhd.build().write(disks / "child.vhd")
    for ask_holes in (False, True):
        image = opening(path, ask_holes=ask_holes)
        assert image.pread(0, SIZE) == BASE[: 2 * BLOCK] + Z4 + BASE[3 * BLOCK :]


def test_blocks_of_one_sector(disks: Path, opening: Open) -> None:
    vhd = differencing(SIZE, 512, relative="base.vhd")
    vhd.store(3, pattern(1, 512))
    vhd.store(4, pattern(2, 512), bitmap=b"\x7f")
    image = opening(vhd.build().write(disks / "child.vhd"))
    assert image.pread(0, SIZE) == BASE[:1536] + pattern(1, 512) + BASE[2048:]


@pytest.mark.parametrize("size", [SIZE + 8 * KIB, SIZE - 6 * KIB])
def test_a_parent_of_another_size(disks: Path, opening: Open, size: int) -> None:
    vhd = differencing(size, BLOCK, relative="base.vhd")
    image = opening(vhd.build().write(disks / "child.vhd"))
    assert image.pread(0, 1 << 20) == BASE.ljust(size, b"\0")[:size]
    (notice,) = image.notices
    assert notice.code == "parent-size"
    assert f"has {SIZE} bytes, this disk {size}" in notice.message


def test_a_dynamic_parents_unmarked_sectors_read_as_zeros(tmp_path: Path, opening: Open) -> None:
    base = DynamicVhd(SIZE, BLOCK)
    base.store(0, pattern(3, BLOCK), bitmap=b"\x0f")
    base.build().write(tmp_path / "base.vhd")
    image = opening(child(relative="base.vhd").write(tmp_path / "child.vhd"))
    assert image.pread(0, BLOCK) == bytes(2 * KIB) + pattern(3, BLOCK)[2048:]


def test_chs_size_counts_for_child_and_parent(disks: Path, opening: Open) -> None:
    fixed(BASE, geometry=(1, 1, 33)).write(disks / "base.vhd")
    vhd = differencing(SIZE, BLOCK, relative="base.vhd")
    vhd.footer["geometry"] = (1, 1, 34)
    image = opening(vhd.build().write(disks / "child.vhd"), chs_size=True)
    assert image.pread(0, SIZE) == BASE[: 33 * 512] + bytes(512)


def test_convert_writes_the_whole_disk(disks: Path, tmp_path: Path) -> None:
    path = child(relative="base.vhd").write(disks / "child.vhd")
    convert(path, tmp_path / "out.vhd", verify_copy=True)
    assert (tmp_path / "out.vhd").read_bytes()[:SIZE] == CHANGED


def test_a_terabyte_of_alternating_sectors_is_mapped_in_windows(
    tmp_path: Path, opening: Open
) -> None:
    base = DynamicVhd(1 << 40)
    base.build().write(tmp_path / "base.vhd")
    vhd = differencing(1 << 40, relative="base.vhd")
    for block in range(100):
        vhd.store(block * 3, bitmap=b"\xaa" * 512)
    image = opening(vhd.build().write(tmp_path / "child.vhd"), ask_holes=False)
    stored = longest = 0
    for window in image.windows():
        stored += window.bytes_of(Kind.DATA)
        longest = max(longest, len(window))
    assert stored == 100 << 20
    assert longest <= 65536


@st.composite
def layers(draw: Any) -> list[tuple[int, int, list[tuple[int, int]]]]:
    """(sectors, block size, [(first sector, sectors)]) of each layer, the base first."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        sectors = draw(st.integers(1, 60))
        runs = draw(
            st.lists(st.tuples(st.integers(0, sectors - 1), st.integers(1, 20)), max_size=5)
        )
        found.append((sectors, draw(st.sampled_from([512, 2048, 4096, 8192])), runs))
    return found


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(chain=layers(), base_is_fixed=st.booleans(), ask_holes=st.booleans())
def test_any_chain_reads_as_its_layers_one_over_the_other(
    tmp_path: Path,
    chain: list[tuple[int, int, list[tuple[int, int]]]],
    base_is_fixed: bool,
    ask_holes: bool,
) -> None:
    expected = b""
    for number, (sectors, block_size, runs) in enumerate(chain):
        size = 512 * sectors
        marked = {s for first, count in runs for s in range(first, min(first + count, sectors))}
        disk = bytearray(expected.ljust(size, b"\0")[:size])
        fresh = pattern(number + 1, size)
        for sector in marked:
            disk[512 * sector : 512 * sector + 512] = fresh[512 * sector : 512 * sector + 512]
        expected = bytes(disk)
        path = tmp_path / f"{number}.vhd"
        if number == 0 and base_is_fixed:
            fixed(expected, unique_id=bytes([number] * 16)).write(path)
            continue
        vhd = DynamicVhd(size, block_size) if number == 0 else differencing(
            size, block_size, relative=f"{number - 1}.vhd", parent_id=bytes([number - 1] * 16)
        )  # fmt: skip
        vhd.footer["unique_id"] = bytes([number] * 16)
        per_block = block_size // 512
        for block in sorted({sector // per_block for sector in marked}, reverse=number % 2 == 1):
            bits = "".join(
                "1" if block * per_block + at in marked else "0" for at in range(per_block)
            )
            content = b"".join(
                fresh[512 * sector : 512 * sector + 512].ljust(512, b"?")
                if sector in marked else b"?" * 512
                for sector in range(block * per_block, (block + 1) * per_block)
            )  # fmt: skip
            bitmap = int(bits.ljust(-(-per_block // 8) * 8, "0"), 2)
            vhd.store(block, content, bitmap.to_bytes(-(-per_block // 8), "big"))
        vhd.build().write(path)
    with open_image(path, ask_holes=ask_holes) as image:
        assert image.pread(0, 1 << 20) == expected
        rows = [row for window in image.windows() for row in window]
        one_by_one = [row for window in image.windows(max_rows=1) for row in window]
        assert sum(row.length for row in one_by_one) == sum(row.length for row in rows)
        pieces = [image.pread(row.offset, row.length) for row in one_by_one]
        assert b"".join(pieces) == expected
