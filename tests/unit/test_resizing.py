"""Another size in place, against files made by hand, qemu-img and sgdisk."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import MIB, SparseFile, build_gpt, pattern, peek, poke
from tests.support.build_vhd import DynamicVhd, fixed, make_footer
from tests.unit.repairs.conftest import digest
from vhdfast import contents, in_place
from vhdfast.errors import (
    ImageError,
    InUseError,
    PartitionTableError,
    TargetError,
    TargetTooLargeError,
    UnknownFormatError,
    UnprovenError,
    UnsupportedImageError,
    UsageError,
    VhdfastError,
)


def raw(tmp_path: Path, size: int = 4 * MIB) -> Path:
    image = SparseFile(size)
    image.put(0, build_gpt.mbr_sector(build_gpt.mbr_entry(0x83, 1, 2047)))
    image.put(4096, pattern(1, 4096))
    return image.write(tmp_path / "disk.raw")


def vhd(tmp_path: Path, size: int = 4 * MIB) -> Path:
    image = SparseFile(size)
    image.put(0, build_gpt.mbr_sector(build_gpt.mbr_entry(0x83, 1, 2047)))
    image.put(4096, pattern(1, 4096))
    return fixed(image, geometry=(120, 4, 17)).write(tmp_path / "disk.vhd")


def refused(path: Path, kind: type[VhdfastError], text: str, *size: int, **options: object) -> str:
    before = digest(path)
    for act in (in_place.plan_resize, in_place.resize):
        with pytest.raises(kind, match=text) as caught:
            act(path, *size, **options)  # type: ignore[arg-type]
        assert type(caught.value) is kind
        assert digest(path) == before
    return caught.value.hint or ""


def undone(path: Path, before: tuple[str, int, list[str]]) -> None:
    assert in_place.undo(path).action == "undone"
    now = digest(path)
    assert (now[0], now[2]) == (before[0], before[2])


def test_a_raw_disk_grows(tmp_path: Path) -> None:
    path = raw(tmp_path)
    before = digest(path)
    plan = in_place.plan_resize(path, 10 * MIB)
    assert digest(path) == before
    assert (plan.format, plan.old_size, plan.new_size) == ("raw", 4 * MIB, 10 * MIB)
    in_place.resize(path, 10 * MIB)
    assert path.stat().st_size == 10 * MIB
    assert peek(path, 4096, 4096) == pattern(1, 4096)
    undone(path, before)


def test_a_fixed_vhd_grows(tmp_path: Path, qemu_img: Callable[..., str]) -> None:
    path = vhd(tmp_path)
    before = digest(path)
    in_place.resize(path, by=3 * MIB)
    assert path.stat().st_size == 7 * MIB + 512
    assert peek(path, 7 * MIB, 512) == make_footer(7 * MIB)
    assert peek(path, 4 * MIB, 512) == bytes(512)
    assert f"virtual size: 7 MiB ({7 * MIB} bytes)" in qemu_img("info", "-f", "vpc", path)
    undone(path, before)


def test_the_size_that_it_has(tmp_path: Path) -> None:
    for path in (raw(tmp_path), vhd(tmp_path)):
        before = digest(path)
        assert in_place.resize(path, 4 * MIB).action == "unchanged"
        assert digest(path) == before


@pytest.mark.parametrize(("size", "expected"), [(4 * MIB - 512, 4), (3 * MIB, 3), (512, 1)])
def test_rounding_up(tmp_path: Path, size: int, expected: int) -> None:
    path = SparseFile(size).write(tmp_path / "disk.raw")
    assert in_place.plan_resize(path, align=MIB).new_size == expected * MIB


@pytest.mark.parametrize("make", [raw, vhd])
def test_shrinking(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    refused(path, UsageError, "less than the disk has", MIB)
    refused(path, UnprovenError, "partition 1 ends at 1048576", MIB - 512, shrink=True)
    before = digest(path)
    in_place.resize(path, 2 * MIB, shrink=True)
    footer = 512 if path.suffix == ".vhd" else 0
    assert path.stat().st_size == 2 * MIB + footer
    if footer:
        assert peek(path, 2 * MIB, 512) == make_footer(2 * MIB)
    undone(path, before)


def test_shrinking_does_not_cut_data_off(tmp_path: Path) -> None:
    path = raw(tmp_path)
    poke(path, 3 * MIB - 1, b"x")
    refused(path, UnprovenError, "it is not empty", 3 * MIB - 512, shrink=True)
    in_place.resize(path, 3 * MIB, shrink=True)
    assert peek(path, 3 * MIB - 1, 1) == b"x"


def test_a_file_system_on_the_whole_disk_with_a_boot_loader_is_not_cut(tmp_path: Path) -> None:
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed (apt install e2fsprogs)")
    path = SparseFile(20 * MIB).write(tmp_path / "disk.raw")
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True, capture_output=True)
    poke(path, 510, b"\x55\xaa")
    refused(path, UnprovenError, "no partitions .ext2/3/4 signature.", 15 * MIB, shrink=True)
    # A table that was forgotten there, and says nothing of what lies on the disk now.
    poke(path, 446, build_gpt.mbr_entry(0x83, 2048, 2048))
    refused(path, UnprovenError, "ext2/3/4 lies outside of all", 15 * MIB, shrink=True)


def test_growing_a_file_system_is_not_undone_under_it(tmp_path: Path) -> None:
    if shutil.which("resize2fs") is None:
        pytest.skip("resize2fs is not installed (apt install e2fsprogs)")
    path = SparseFile(20 * MIB).write(tmp_path / "disk.raw")
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True, capture_output=True)
    in_place.resize(path, 30 * MIB)
    subprocess.run(["e2fsck", "-fy", path], check=True, capture_output=True)
    subprocess.run(["resize2fs", path], check=True, capture_output=True)
    before = digest(path)
    with pytest.raises(UnprovenError, match=f"the file system ends at {30 * MIB}"):
        in_place.undo(path)
    assert digest(path) == before


@pytest.mark.parametrize("make", [raw, vhd])
def test_growing_is_not_undone_under_a_partition(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)
    before = digest(path)
    in_place.resize(path, 6 * MIB)
    time.sleep(0.02)  # times of files go by ticks
    poke(path, 446, build_gpt.mbr_entry(0x83, 1, 4 * MIB // 512))
    with pytest.raises(UnprovenError, match=f"partition 1 ends at {4 * MIB + 512}"):
        in_place.undo(path)
    poke(path, 446, build_gpt.mbr_entry(0x83, 1, 2047))
    in_place.undo(path)
    assert digest(path)[0] == before[0]


@pytest.mark.parametrize(
    "command", ["mkfs.ext4 -q -F", "mkfs.xfs -q", "mkfs.btrfs -q", "mkfs.ntfs -qFf", "mkfs.exfat"]
)
def test_what_a_file_system_says_of_its_size(tmp_path: Path, command: str) -> None:
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"{command.split()[0]} is not installed")
    path = SparseFile(320 * MIB).write(tmp_path / "disk.raw")
    subprocess.run([*command.split(), path], check=True, capture_output=True)
    with open(path, "rb") as file:
        found = contents.file_system_size(lambda at, length: os.pread(file.fileno(), length, at))
    assert found == 320 * MIB


def test_a_table_without_partitions(tmp_path: Path) -> None:
    image = SparseFile(4 * MIB)
    image.put(0, build_gpt.mbr_sector())
    path = image.write(tmp_path / "disk.raw")
    assert in_place.plan_resize(path, 2 * MIB, shrink=True).new_size == 2 * MIB
    poke(path, 5000, b"x")
    refused(path, UnprovenError, "no partitions .a boot sector.", 2 * MIB, shrink=True)


def test_signatures_within_partitions_are_the_partitions(tmp_path: Path) -> None:
    path = raw(tmp_path)
    poke(path, 0x10040, b"_BHRfS_M")
    assert in_place.plan_resize(path, 2 * MIB, shrink=True).new_size == 2 * MIB


@pytest.mark.parametrize("name", ["disk.raw", "disk.vhd"])
@pytest.mark.parametrize("new", [4096 + 8, 8192, 3000])
def test_the_backup_of_a_gpt_goes_along(tmp_path: Path, name: str, new: int) -> None:
    table = build_gpt.Gpt(4096)
    table.add(1, 64, 2047, "root")
    image = table.build() if name == "disk.raw" else fixed(table.build())
    path = image.write(tmp_path / name)
    before = digest(path)
    in_place.resize(path, new * 512, shrink=True, relocate_gpt=True)
    expected = build_gpt.Gpt(new)
    expected.add(1, 64, 2047, "root")
    wanted = expected.build()
    assert path.read_bytes()[: new * 512] == wanted.get(0, wanted.size)
    undone(path, before)


def test_sgdisk_is_content_with_a_moved_backup(tmp_path: Path) -> None:
    if shutil.which("sgdisk") is None:
        pytest.skip("sgdisk is not installed (apt install gdisk)")
    path = SparseFile(16 * MIB).write(tmp_path / "disk.raw")
    subprocess.run(["sgdisk", "-n", "1:2048:+4M", path], check=True, capture_output=True)
    in_place.resize(path, by=16 * MIB, relocate_gpt=True)
    done = subprocess.run(["sgdisk", "-v", path], check=True, capture_output=True, text=True)
    assert "No problems found" in done.stdout


def test_the_backup_does_not_go_on_top_of_data_outside_of_partitions(tmp_path: Path) -> None:
    table = build_gpt.Gpt(4096)
    table.add(1, 64, 2047, "root")
    path = table.build().write(tmp_path / "disk.raw")
    os.truncate(path, 4 * MIB)
    poke(path, 4 * MIB - 1024, b"a RAID controller's")
    refused(path, UnprovenError, "data that belongs to no partition", 4 * MIB, relocate_gpt=True)
    poke(path, 3 * MIB - 1024, b"too")
    poke(path, 4 * MIB - 1024, bytes(512))
    for size in (4 * MIB, 5 * MIB):
        assert in_place.plan_resize(path, size, relocate_gpt=True).change is not None
    options = {"shrink": True, "relocate_gpt": True}
    refused(path, UnprovenError, "data that belongs to no partition", 3 * MIB, **options)


def test_a_gpt_whose_backup_stays_behind_is_noticed(tmp_path: Path) -> None:
    path = build_gpt.Gpt(4096).build().write(tmp_path / "disk.raw")
    (notice,) = in_place.plan_resize(path, 8 * MIB).notices
    assert notice.code == "gpt-backup"
    assert in_place.plan_resize(path, 8 * MIB, relocate_gpt=True).notices == ()
    assert in_place.plan_resize(path, 2 * MIB).notices == ()


def test_a_partition_where_the_backup_would_go(tmp_path: Path) -> None:
    table = build_gpt.Gpt(4096)
    table.add(1, 64, 4000, "root")
    path = table.build().write(tmp_path / "disk.raw")
    refused(path, PartitionTableError, "partition 1 ends at", 4010 * 512, shrink=True,
            relocate_gpt=True)  # fmt: skip


def test_other_formats_are_converted(tmp_path: Path, qemu_img: Callable[..., str]) -> None:
    path = tmp_path / "disk"
    for kind in ("qcow2", "vhdx", "vmdk", "vdi", "parallels"):
        qemu_img("create", "-f", kind, path, "1M")
        assert "vhdfast convert --size" in refused(path, UnsupportedImageError, kind, 2 * MIB)
    path = DynamicVhd(MIB).build().write(tmp_path / "disk.vhd")
    hint = refused(path, UnsupportedImageError, "a dynamic VHD", 2 * MIB)
    assert "vhdfast convert --size" in hint


def test_a_compressed_disk(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw.gz"
    path.write_bytes(b"\x1f\x8b\x08\0" + bytes(600))
    refused(path, UnsupportedImageError, "gzip", 2 * MIB)


@pytest.mark.parametrize("damage", ["checksum", "behind", "size"])
def test_a_damaged_vhd_is_repaired_first(tmp_path: Path, damage: str) -> None:
    path = vhd(tmp_path)
    if damage == "checksum":
        poke(path, 4 * MIB + 64, bytes(4))
    elif damage == "behind":
        os.truncate(path, 4 * MIB + 511)
    else:
        poke(path, 4 * MIB, make_footer(4 * MIB - 512))
    assert "vhdfast repair" in refused(path, UnprovenError, "footer of this fixed VHD", 5 * MIB)


def test_a_disk_that_a_snapshot_depends_on(tmp_path: Path) -> None:
    path = vhd(tmp_path)
    (tmp_path / "disk_01234567-89AB-CDEF-0123-456789ABCDEF.avhd").touch()
    refused(path, UnprovenError, "a snapshot that depends on this disk", 5 * MIB)
    assert in_place.resize(path, 4 * MIB).action == "unchanged"


def test_the_first_part_of_a_split_disk(tmp_path: Path) -> None:
    for path in (vhd(tmp_path), raw(tmp_path).rename(tmp_path / "other.vhd")):
        path.with_suffix(".v01").touch()
        refused(path, UnprovenError, "v01 lies beside it", 10 * MIB)


def test_a_vhd_is_not_taken_for_a_raw_disk(tmp_path: Path) -> None:
    refused(vhd(tmp_path), UsageError, "this is a VHD", 5 * MIB, from_format="raw")


def test_a_file_that_nothing_speaks_for(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(pattern(1, 5120))
    refused(path, UnknownFormatError, "no known format", 8192)
    in_place.resize(path, 8192, from_format="raw")
    assert path.read_bytes() == pattern(1, 5120) + bytes(3072)


@pytest.mark.parametrize(
    ("size", "options", "kind", "text"),
    [
        (MIB + 1, {}, UsageError, "no whole number of sectors"),
        (5 * MIB, {"align": 100}, UsageError, "an alignment of 100"),
        (0, {"shrink": True}, UsageError, "a disk of 0 bytes"),
        (1 << 63, {}, TargetTooLargeError, "are possible"),
    ],
)
def test_impossible_sizes(
    tmp_path: Path, size: int, options: dict[str, object], kind: type[VhdfastError], text: str
) -> None:
    refused(raw(tmp_path), kind, text, size, **options)


def test_a_vhd_of_more_than_azure_takes(tmp_path: Path) -> None:
    refused(vhd(tmp_path), TargetTooLargeError, "35183298347008 bytes", 32768 << 30)


def test_devices_and_what_is_missing(tmp_path: Path) -> None:
    for path in ("/dev/null", tmp_path / "missing", tmp_path):
        with pytest.raises(ImageError):
            in_place.plan_resize(path, MIB)


def test_a_block_device(tmp_path: Path, as_root: None) -> None:
    path = raw(tmp_path)
    done = subprocess.run(["losetup", "-f", "--show", path], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("there are no loop devices")
    device = done.stdout.strip()
    try:
        with pytest.raises(TargetError, match="not devices"):
            in_place.plan_resize(device, 8 * MIB)
        with pytest.raises(InUseError):
            in_place.resize(path, 8 * MIB)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
