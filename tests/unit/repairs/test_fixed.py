"""Repairs of fixed VHDs, against footers packed by hand and qemu-img."""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import KIB, MIB, SparseFile, build_gpt, pattern, peek, poke
from tests.support.build_vhd import FOOTER_FIELDS, fixed, make_footer, with_checksum
from vhdfast import in_place
from vhdfast.errors import (
    AmbiguousFormatError,
    TargetTooLargeError,
    UndoError,
    UnknownFormatError,
    UnprovenError,
    UnsupportedImageError,
    UsageError,
    VhdfastError,
)
from vhdfast.outputs.fixed_vhd import FixedVhd

from .conftest import Refused, codes, digest, fields

Write = Callable[[SparseFile], Path]

LARGEST = 0xFFFF10FF
UNDO = ".disk.vhd.vhdfast-undo"


def disk_of(size: int) -> SparseFile:
    """A disk with a partition in its first MiB, data at both ends of it, and nothing behind."""
    image = SparseFile(size)
    image.put(0, build_gpt.mbr_sector(build_gpt.mbr_entry(0x83, 1, 2047)))
    image.put(4096, pattern(1, 5000))
    image.put(MIB - 700, pattern(2, 700))
    return image


def geometry(found: dict[str, int]) -> int:
    return found["cylinders"] << 16 | found["heads"] << 8 | found["sectors"]


def undone(path: Path, before: tuple[str, int, list[str]]) -> None:
    in_place.undo(path)
    now = digest(path)
    assert (now[0], now[2]) == (before[0], before[2])


# ---- size ---------------------------------------------------------------------------------------


def test_nothing_to_repair(write: Write) -> None:
    path = write(fixed(disk_of(3 * MIB)))
    before = digest(path)
    assert codes(path) == []
    result = in_place.repair(path)
    assert (result.action, result.undo_file, result.steps) == ("unchanged", None, ())
    assert digest(path) == before


def test_what_convert_writes_needs_no_repair(small_disk: Path, tmp_path: Path) -> None:
    import vhdfast

    vhdfast.convert(small_disk, tmp_path / "disk.vhd")
    assert codes(tmp_path / "disk.vhd") == []


def test_a_disk_that_qemu_rounded_to_its_geometry_grows(
    tmp_path: Path, qemu_img: Callable[..., str]
) -> None:
    path = tmp_path / "disk.vhd"
    (tmp_path / "raw").write_bytes(pattern(3, 10 * MIB))
    qemu_img("convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed", tmp_path / "raw", path)
    os.unlink(tmp_path / "raw")
    assert path.stat().st_size == 10514432 + 512
    before = digest(path)
    assert codes(path) == [("size-alignment", True)]
    result = in_place.repair(path)
    assert result.undo_file == str(tmp_path / UNDO)
    assert path.stat().st_size == 11 * MIB + 512
    found = fields(path)
    assert (found["current_size"], found["original_size"]) == (11 * MIB, 11 * MIB)
    assert (geometry(found), found["creator"]) == (LARGEST, int.from_bytes(b"qemu", "big"))
    assert f"virtual size: 11 MiB ({11 * MIB} bytes)" in qemu_img("info", "-f", "vpc", path)
    content = path.read_bytes()
    assert content[: 10 * MIB] == pattern(3, 10 * MIB)
    assert not any(content[10 * MIB : 11 * MIB]), "the old footer is gone"
    assert codes(path) == []
    undone(path, before)


def test_only_size_and_geometry_of_a_footer_change(write: Write) -> None:
    size = 3 * MIB - 4096
    write(fixed(disk_of(size), creator=b"win ", creator_version=0x60003, timestamp=77,
                geometry=(100, 4, 17), original_size=MIB))  # fmt: skip
    path = write(fixed(disk_of(size), creator=b"win ", creator_version=0x60003, timestamp=77))
    in_place.repair(path)
    expected = make_footer(3 * MIB, creator=b"win ", creator_version=0x60003, timestamp=77)
    assert peek(path, 3 * MIB, 512) == expected


@pytest.mark.parametrize("missing", [100, 511, 512, 513, 1000, 4096])
def test_growing_by_less_than_a_footer_takes(write: Write, missing: int) -> None:
    size = 2 * MIB - missing
    image = disk_of(size)
    image.put(size - 50, pattern(4, 50))
    path = write(fixed(image))
    before = digest(path)
    in_place.repair(path)
    assert path.stat().st_size == 2 * MIB + 512
    assert fields(path)["current_size"] == 2 * MIB
    assert peek(path, size - 50, 50 + missing) == pattern(4, 50) + bytes(missing)
    undone(path, before)


def test_another_alignment(write: Write) -> None:
    path = write(fixed(disk_of(3 * MIB)))
    assert in_place.plan_repair(path, align=4 * MIB).new_size == 4 * MIB


@pytest.mark.parametrize("align", [0, 100, 1000])
def test_an_impossible_alignment(write: Write, refused: Refused, align: int) -> None:
    refused(write(fixed(disk_of(MIB))), UsageError, "an alignment of", align=align)


def test_a_size_beyond_what_azure_takes(
    write: Write, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 32767 GiB do not fit into a file of ext4.
    limit = dataclasses.replace(FixedVhd.constraints, max_size=3 * MIB)
    monkeypatch.setattr(FixedVhd, "constraints", limit)
    refused(write(fixed(disk_of(3 * MIB + 512))), TargetTooLargeError, "at most 3 MiB")


def test_a_footer_smaller_than_its_file_where_only_zeros_lie_between(write: Write) -> None:
    path = write(fixed(disk_of(2 * MIB + 4096), current_size=2 * MIB, original_size=2 * MIB))
    assert codes(path) == [("size-below-file", True)]
    assert in_place.plan_repair(path).new_size == 3 * MIB
    before = digest(path)
    in_place.repair(path, shrink=True)
    assert path.stat().st_size == 2 * MIB + 512
    assert fields(path)["current_size"] == 2 * MIB
    undone(path, before)


def test_a_raw_disk_that_ends_with_a_footer(write: Write, refused: Refused) -> None:
    image = disk_of(4 * MIB - 512)
    image.append(make_footer(2 * MIB))
    refused(write(image), UnprovenError, "may as well be a raw disk")


def test_a_footer_smaller_than_its_file_and_data_between(write: Write, refused: Refused) -> None:
    image = disk_of(2 * MIB + 4096)
    image.put(2 * MIB + 1000, b"x")
    path = write(fixed(image, current_size=2 * MIB))
    refused(path, UnprovenError, "nothing proves which size is right")


def test_a_footer_larger_than_its_file(write: Write, refused: Refused) -> None:
    path = write(fixed(disk_of(2 * MIB), current_size=3 * MIB))
    refused(path, UnprovenError, "what is missing cannot be known")


# ---- shrinking ----------------------------------------------------------------------------------


def test_shrinking_to_the_size_before_rounding(write: Write) -> None:
    path = write(fixed(disk_of(2 * MIB + 16384)))
    before = digest(path)
    assert in_place.plan_repair(path).new_size == 3 * MIB
    in_place.repair(path, shrink=True)
    assert path.stat().st_size == 2 * MIB + 512
    assert fields(path)["current_size"] == 2 * MIB
    assert peek(path, MIB - 700, 700) == pattern(2, 700)
    undone(path, before)


def test_shrinking_a_disk_whose_end_is_not_empty(write: Write, refused: Refused) -> None:
    image = disk_of(2 * MIB + 16384)
    image.put(2 * MIB + 16383, b"x")
    error = refused(write(fixed(image)), UnprovenError, "it is not empty", shrink=True)
    assert error.offset == 2 * MIB + 16383


def test_shrinking_into_a_partition(write: Write, refused: Refused) -> None:
    image = SparseFile(2 * MIB + 16384)
    image.put(0, build_gpt.mbr_sector(build_gpt.mbr_entry(0x83, 1, 4096)))
    refused(write(fixed(image)), UnprovenError, "partition 1 ends at 2097664", shrink=True)


def test_shrinking_a_disk_without_a_partition_table(write: Write, refused: Refused) -> None:
    image = SparseFile(2 * MIB + 16384)
    image.put(0x438, b"\x53\xef")
    text = "no partitions .ext2/3/4 signature."
    refused(write(fixed(image)), UnprovenError, text, shrink=True)


def test_shrinking_an_empty_disk(write: Write) -> None:
    path = write(fixed(SparseFile(2 * MIB + 16384)))
    in_place.repair(path, shrink=True)
    assert path.stat().st_size == 2 * MIB + 512


def test_shrinking_a_disk_with_a_damaged_gpt(write: Write, refused: Refused) -> None:
    image = gpt_disk(4096 + 32)
    image.put(512 + 16, bytes(4))
    image.put((4096 + 31) * 512 + 16, bytes(4))
    refused(write(fixed(image)), UnprovenError, "the GPT is damaged", shrink=True)


# ---- the backup of a GPT ------------------------------------------------------------------------


def gpt_disk(sectors: int) -> SparseFile:
    table = build_gpt.Gpt(sectors)
    table.add(1, 64, 2047, "root")
    return table.build()


def test_the_backup_of_a_gpt_stays_unless_asked(write: Write) -> None:
    path = write(fixed(gpt_disk(4096 + 32)))
    assert codes(path) == [("size-alignment", True), ("gpt-backup", False)]


@pytest.mark.parametrize("more", [1, 32, 33, 34, 1000])
def test_growing_moves_the_backup_of_a_gpt(write: Write, more: int) -> None:
    old, new = 6144 - more, 6144
    path = write(fixed(gpt_disk(old)))
    before = digest(path)
    assert codes(path, relocate_gpt=True) == [("size-alignment", True), ("gpt-backup", True)]
    in_place.repair(path, relocate_gpt=True)
    expected = build_gpt.Gpt(new)
    expected.add(1, 64, 2047, "root")
    content = path.read_bytes()
    assert content[: new * 512] == disk_bytes(expected.build())
    assert fields(path)["current_size"] == new * 512
    assert codes(path, relocate_gpt=True) == []
    undone(path, before)


def disk_bytes(image: SparseFile) -> bytes:
    return image.get(0, image.size)


def test_shrinking_takes_the_backup_of_a_gpt_along(write: Write, refused: Refused) -> None:
    path = write(fixed(gpt_disk(4096 + 32)))
    refused(path, UnprovenError, "the backup of the GPT lies there", shrink=True)
    before = digest(path)
    in_place.repair(path, shrink=True, relocate_gpt=True)
    expected = build_gpt.Gpt(4096)
    expected.add(1, 64, 2047, "root")
    assert path.read_bytes()[: 4096 * 512] == disk_bytes(expected.build())
    undone(path, before)


def test_a_disk_of_the_right_size_gets_its_backup_to_the_end(write: Write) -> None:
    image = gpt_disk(4096)
    image.put(3 * MIB - 1, b"\0")
    path = write(fixed(image))
    assert codes(path) == [("gpt-backup", False)]
    in_place.repair(path, relocate_gpt=True)
    assert peek(path, 3 * MIB - 512, 8) == b"EFI PART"
    assert peek(path, 2 * MIB - 512, 8) == bytes(8)


def test_moving_the_backup_where_there_is_no_table(write: Write, refused: Refused) -> None:
    path = write(fixed(SparseFile(MIB)))
    refused(path, UsageError, "no partition table", relocate_gpt=True)


# ---- footers ------------------------------------------------------------------------------------

DAMAGE = {
    "cookie": b"conectiX",
    "features": bytes(4),
    "version": b"\0\0\0\0",
    "data_offset": bytes(8),
    "current_size": struct.pack(">Q", 3 * MIB + 1),
    "disk_type": bytes(4),
}


@pytest.mark.parametrize("name", sorted(DAMAGE))
def test_one_damaged_field_is_proven_by_the_checksum(write: Write, name: str) -> None:
    whole = fixed(disk_of(3 * MIB))
    path = write(whole)
    intact = path.read_bytes()
    poke(path, 3 * MIB + FOOTER_FIELDS[name][0], DAMAGE[name])
    before = digest(path)
    assert codes(path) == [("footer-damaged", True)]
    in_place.repair(path)
    assert path.read_bytes() == intact
    undone(path, before)


def test_a_damaged_reserved_field(write: Write) -> None:
    path = write(fixed(disk_of(3 * MIB)))
    intact = path.read_bytes()
    poke(path, 3 * MIB + 300, b"rubbish")
    in_place.repair(path)
    assert path.read_bytes() == intact


def test_a_wrong_checksum_is_proven_by_the_size(write: Write) -> None:
    path = write(fixed(disk_of(3 * MIB)))
    intact = path.read_bytes()
    poke(path, 3 * MIB + 64, bytes(4))
    assert codes(path) == [("footer-checksum", True)]
    in_place.repair(path)
    assert path.read_bytes() == intact


@pytest.mark.parametrize("names", [("cookie", "version"), ("current_size", "disk_type")])
def test_two_damaged_fields_are_not_proven(
    write: Write, refused: Refused, names: tuple[str, str]
) -> None:
    path = write(fixed(disk_of(3 * MIB)))
    for name in names:
        poke(path, 3 * MIB + FOOTER_FIELDS[name][0], DAMAGE[name])
    before = digest(path)
    with pytest.raises(VhdfastError) as caught:
        in_place.repair(path)
    assert isinstance(caught.value, UnprovenError | UnsupportedImageError)
    assert digest(path) == before


def test_a_damaged_size_and_a_wrong_checksum(write: Write, refused: Refused) -> None:
    path = write(fixed(disk_of(3 * MIB)))
    poke(path, 3 * MIB + 48, DAMAGE["current_size"])
    poke(path, 3 * MIB + 64, bytes(4))
    refused(path, UnprovenError, "more than one of its fields is damaged")


def test_a_footer_without_a_cookie_of_a_misaligned_disk(write: Write) -> None:
    path = write(fixed(disk_of(3 * MIB - 512)))
    poke(path, 3 * MIB - 512, b"\0")
    assert codes(path) == [("footer-damaged", True), ("size-alignment", True)]
    in_place.repair(path)
    assert fields(path)["current_size"] == 3 * MIB
    assert peek(path, 3 * MIB - 512, 512) == bytes(512)


def test_a_footer_of_511_bytes_gets_its_last_byte(write: Write) -> None:
    path = write(fixed(disk_of(3 * MIB)))
    intact = path.read_bytes()
    os.truncate(path, 3 * MIB + 511)
    before = digest(path)
    assert codes(path) == [("footer-511", True)]
    in_place.repair(path)
    assert path.read_bytes() == intact
    undone(path, before)


def test_a_footer_of_511_bytes_of_a_misaligned_disk(write: Write) -> None:
    path = write(fixed(disk_of(3 * MIB - 1024)))
    os.truncate(path, 3 * MIB - 1024 + 511)
    before = digest(path)
    in_place.repair(path)
    assert fields(path)["current_size"] == 3 * MIB
    assert peek(path, 3 * MIB - 1024, 1024) == bytes(1024)
    undone(path, before)


def test_zeros_behind_the_footer_are_removed(write: Write) -> None:
    image = fixed(disk_of(3 * MIB))
    image.put(image.size, bytes(5000))
    path = write(image)
    before = digest(path)
    assert codes(path) == [("bytes-after-footer", True)]
    in_place.repair(path)
    assert path.stat().st_size == 3 * MIB + 512
    assert fields(path)["current_size"] == 3 * MIB
    undone(path, before)


def test_data_behind_the_footer_is_removed_on_request(write: Write, refused: Refused) -> None:
    image = fixed(disk_of(3 * MIB - 4096))
    image.put(image.size, bytes(100) + b"who knows" + bytes(9000))
    path = write(image)
    refused(path, UnprovenError, "not all are zeros")
    before = digest(path)
    assert [code for code, _ in codes(path, cut_trailing=True)] == [
        "bytes-after-footer", "size-alignment"
    ]  # fmt: skip
    in_place.repair(path, cut_trailing=True)
    assert path.stat().st_size == 3 * MIB + 512
    assert peek(path, 3 * MIB - 4096, 4096) == bytes(4096)
    undone(path, before)


@pytest.mark.parametrize(
    ("old", "is_wrong"),
    [
        ((65535, 16, 255), False),
        ((90, 4, 17), False),  # what the specification gives 3 MiB: below the size
        ((96, 4, 16), False),  # spans it exactly
        ((91, 4, 17), True),  # beyond: qemu before 2.2.1
        ((0, 0, 0), True),
        ((1024, 255, 63), True),
    ],
)
def test_geometries(write: Write, old: tuple[int, int, int], is_wrong: bool) -> None:
    path = write(fixed(disk_of(3 * MIB), geometry=old))
    assert codes(path) == ([("geometry", True)] if is_wrong else [])
    in_place.repair(path)
    expected = (65535, 16, 255) if is_wrong else old
    assert peek(path, 3 * MIB, 512) == make_footer(3 * MIB, geometry=expected)


@pytest.mark.parametrize(
    ("field", "value", "right"),
    [
        ("features", 0, 2),
        ("features", 0x13, 2),
        ("version", 0x00010007, 0x00010000),
        ("data_offset", 512, 2**64 - 1),
        ("data_offset", 2**64 - 2, 2**64 - 1),
    ],
)
def test_fields_that_have_one_value(write: Write, field: str, value: int, right: int) -> None:
    path = write(fixed(disk_of(3 * MIB), **{field: value}))
    before = digest(path)
    assert codes(path) == [(f"footer-{field.replace('_', '-')}", True)]
    in_place.repair(path)
    assert peek(path, 3 * MIB, 512) == make_footer(3 * MIB, **{field: right})
    undone(path, before)


def test_a_fixed_disk_that_points_to_a_dynamic_header(write: Write, refused: Refused) -> None:
    path = write(fixed(disk_of(3 * MIB), data_offset=8192))
    poke(path, 8192, b"cxsparse")
    refused(path, UnprovenError, "points to a dynamic header")


def test_an_original_size_of_nothing(write: Write) -> None:
    path = write(fixed(disk_of(3 * MIB), original_size=0))
    assert codes(path) == [("original-size", True)]
    in_place.repair(path)
    assert fields(path)["original_size"] == 3 * MIB


def test_a_disk_that_was_resized_once_keeps_its_original_size(write: Write) -> None:
    assert codes(write(fixed(disk_of(3 * MIB), original_size=2 * MIB))) == []


def test_a_missing_unique_id(write: Write) -> None:
    path = write(fixed(disk_of(3 * MIB), unique_id=bytes(16)))
    assert codes(path) == [("unique-id", True)]
    in_place.repair(path, unique_id="01234567-89ab-cdef-0123-456789abcdef")
    assert fields(path)["unique_id"] == 0x0123456789ABCDEF0123456789ABCDEF
    in_place.undo(path)
    in_place.repair(path)
    assert fields(path)["unique_id"] >> 76 & 15 == 4, "a random one"


def test_a_unique_id_that_is_there_is_not_replaced(write: Write, refused: Refused) -> None:
    path = write(fixed(disk_of(3 * MIB)))
    refused(path, UsageError, "the disk has a unique id", unique_id="0" * 32)
    path = write(fixed(disk_of(3 * MIB), unique_id=bytes(16)))
    refused(path, UsageError, "is no UUID", unique_id="zero")


def test_a_saved_state_is_cleared_on_request(write: Write) -> None:
    path = write(fixed(disk_of(3 * MIB), saved_state=1))
    assert codes(path) == [("saved-state", False)]
    assert in_place.repair(path).action == "unchanged"
    assert codes(path, clear_saved_state=True) == [("saved-state", True)]
    in_place.repair(path, clear_saved_state=True)
    assert fields(path)["saved_state"] == 0


def test_a_disk_that_a_snapshot_depends_on(write: Write, refused: Refused) -> None:
    path = write(fixed(disk_of(2 * MIB + 512)))
    path.with_name("disk_01234567-89AB-CDEF-0123-456789ABCDEF.avhd").touch()
    refused(path, UnprovenError, "a snapshot that depends on this disk")
    path = write(fixed(disk_of(2 * MIB), geometry=(1, 1, 1)))
    in_place.repair(path)
    assert fields(path)["cylinders"] == 65535


def test_what_an_intact_reserved_field_holds_stays(write: Write) -> None:
    footer = make_footer(3 * MIB, saved_state=1)
    footer = with_checksum(footer[:400] + b"Citrix" + footer[406:], 64)
    image = disk_of(3 * MIB)
    image.append(footer)
    path = write(image)
    assert codes(path) == [("saved-state", False)]
    in_place.repair(path, clear_saved_state=True)
    assert peek(path, 3 * MIB + 400, 6) == b"Citrix"
    assert fields(path)["saved_state"] == 0


# ---- refused ------------------------------------------------------------------------------------


def test_a_raw_disk_is_no_vhd(tmp_path: Path, small_disk: Path, refused: Refused) -> None:
    error = refused(small_disk, UnsupportedImageError, "this is a raw disk")
    assert "convert --in-place" in (error.hint or "")


def test_what_is_unknown_is_left_alone(tmp_path: Path, refused: Refused) -> None:
    for content in (b"", b"x", bytes(512), pattern(1, 5000)):
        path = tmp_path / "what"
        path.write_bytes(content)
        refused(path, UnknownFormatError, "empty|no known format")


@pytest.mark.parametrize("kind", ["qcow2", "vhdx", "vmdk", "vdi"])
def test_other_formats(
    tmp_path: Path, qemu_img: Callable[..., str], refused: Refused, kind: str
) -> None:
    path = tmp_path / "disk"
    qemu_img("create", "-f", kind, path, "1M")
    error = refused(path, UnsupportedImageError, f"this is a {kind} file")
    assert "vhdfast convert" in (error.hint or "")


def test_a_vhd_that_is_another_format_besides(write: Write, refused: Refused) -> None:
    image = disk_of(3 * MIB)
    image.put(0, b"QFI\xfb" + struct.pack(">I", 3))
    refused(write(fixed(image)), AmbiguousFormatError, "is a VHD and qcow2")


def test_versions_and_types_to_come(write: Write, refused: Refused) -> None:
    for change in ({"version": 0x20000}, {"disk_type": 7}):
        footer = make_footer(3 * MIB, **{"disk_type": 2, **change})
        image = disk_of(3 * MIB)
        image.append(footer)
        refused(write(image), UnsupportedImageError, "expected 1.0 and 2, 3 or 4")


def test_an_interrupted_repair_is_completed_first(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(fixed(disk_of(3 * MIB - 4096)))
    before = digest(path)
    in_place.repair(path)
    after = path.read_bytes()
    undone(path, before)

    from vhdfast.edits import System

    class Power(BaseException):
        pass

    calls = []

    def dying(self: System, fd: int) -> None:
        calls.append(fd)
        if len(calls) > 2:
            raise Power

    with monkeypatch.context() as patched:
        patched.setattr(System, "sync", dying)
        patched.setattr(System, "write", lambda self, fd, data, offset: (
            dying(self, fd) if len(calls) > 2 else os.pwrite(fd, data, offset)))  # fmt: skip
        with pytest.raises(Power):
            in_place.repair(path)
    assert path.read_bytes() not in (after, b"")
    with pytest.raises(UndoError, match=r"an earlier change \(repair\) was interrupted"):
        in_place.plan_repair(path)
    result = in_place.repair(path)
    assert (result.action, result.title) == ("completed", "repair")
    assert path.read_bytes() == after
    undone(path, before)


@settings(max_examples=100, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    st.lists(st.tuples(st.integers(0, 511), st.binary(min_size=1, max_size=9)), max_size=4),
    st.integers(-2, 600),
)
def test_any_damage_is_repaired_refused_or_left_and_undone(
    tmp_path: Path, damage: list[tuple[int, bytes]], cut: int
) -> None:
    size = 128 * KIB - 1024
    image = SparseFile(size)
    image.put(4096, pattern(1, size - 4096))
    path = fixed(image).write(tmp_path / "disk.vhd")
    disk = path.read_bytes()[:size]
    for at, data in damage:
        poke(path, size + at, data[: 512 - at])
    os.truncate(path, size + 512 - cut)
    before = digest(path)
    try:
        result = in_place.repair(path, cut_trailing=True, align=64 * KIB)
    except VhdfastError:
        assert digest(path) == before
        return
    if result.action == "changed":
        assert path.read_bytes()[:size] == disk
        assert fields(path)["current_size"] == path.stat().st_size - 512
        assert in_place.plan_repair(path, align=64 * KIB).change is None
        undone(path, before)
    assert digest(path)[0] == before[0]
