"""Partition tables: against sfdisk, against tables packed by hand, and damaged."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import MIB, SparseFile, peek, poke
from tests.support.build_gpt import DISK, LINUX, Gpt, mbr_entry, mbr_sector
from vhdfast.errors import UsageError
from vhdfast.guest.partitions import PartitionTable, read_partitions
from vhdfast.guest.types import _GPT, _MBR, type_name

EFI = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"


def read(disk: SparseFile, sector_size: int = 512) -> PartitionTable:
    table = read_partitions(bounded(disk), disk.size, sector_size)
    assert table is not None
    return table


def bounded(disk: SparseFile) -> Any:
    """pread of a disk in memory that answers short at its end, as Image.pread does."""

    def pread(offset: int, length: int) -> bytes:
        assert offset >= 0 and 0 <= length <= 2 * MIB, "reads are bounded"
        return disk.get(offset, max(0, min(length, disk.size - offset)))

    return pread


def codes(table: PartitionTable) -> list[str]:
    return [problem.code for problem in table.problems]


def read_file(path: Path) -> PartitionTable:
    with open(path, "rb") as file:

        def pread(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        table = read_partitions(pread, path.stat().st_size)
    assert table is not None
    return table


@pytest.fixture
def sfdisk(tmp_path: Path) -> Any:
    """sfdisk(script, size) makes a disk; returns its path and what `sfdisk --json` says of it."""
    if shutil.which("sfdisk") is None:
        pytest.skip("sfdisk is not installed (apt install fdisk)")

    def make(script: str, size: int = 256 * MIB) -> tuple[Path, dict[str, Any]]:
        path = tmp_path / "disk.raw"
        with open(path, "wb") as file:
            file.truncate(size)
        subprocess.run(
            ["sfdisk", "--quiet", path], input=script, text=True, check=True, capture_output=True
        )
        said = subprocess.run(["sfdisk", "--json", path], capture_output=True, check=True).stdout
        return path, json.loads(said)["partitiontable"]

    return make


# ---- as sfdisk reads them -----------------------------------------------------------------------


def test_gpt_as_sfdisk_has_it(sfdisk: Any) -> None:
    path, said = sfdisk(
        "label: gpt\n"
        "size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=boot\n"
        f'size=32MiB, type={EFI}, name="EFI ü 系"\n'
        'start=100MiB, size=20MiB, attrs="LegacyBIOSBootable,GUID:63"\n'
        "size=+, type=E6D6D379-F507-44C2-A23C-238F2A3DF928\n"
    )
    table = read_file(path)
    assert (table.scheme, table.sector_size, table.problems) == ("gpt", 512, ())
    assert table.disk_id == said["id"].lower()
    assert [
        (p.offset // 512, p.length // 512, p.type, p.unique_id, p.name) for p in table.partitions
    ] == [
        (p["start"], p["size"], p["type"].lower(), p["uuid"].lower(), p.get("name", ""))
        for p in said["partitions"]
    ]
    assert [p.number for p in table.partitions] == [1, 2, 3, 4]
    assert [p.bootable for p in table.partitions] == [False, False, True, False]
    assert table.partitions[2].attributes == 1 << 63 | 1 << 2
    assert [p.type_name for p in table.partitions] == [
        "BIOS boot", "EFI system", "Linux file system", "Linux LVM",
    ]  # fmt: skip
    assert table.primary is not None and table.backup is not None
    assert (table.primary.first_usable_lba, table.primary.last_usable_lba) == (
        said["firstlba"],
        said["lastlba"],
    )
    assert table.primary.offset == 512 and table.backup.offset == 256 * MIB - 512
    assert table.backup.entries_offset == 256 * MIB - 512 - 16384
    assert table.backup_is_at_end
    assert table.end == table.partitions[3].end


def test_mbr_with_logical_partitions_as_sfdisk_has_it(sfdisk: Any) -> None:
    path, said = sfdisk(
        "label: dos\nlabel-id: 0x00c0ffee\n"
        "size=10MiB, type=83, bootable\n"
        "size=10MiB, type=82\n"
        "size=100MiB, type=5\n"
        "size=+, type=7\n"
        "size=10MiB, type=8e\n"
        "size=20MiB, type=fd\n"
        "size=+, type=83\n"
    )
    table = read_file(path)
    assert (table.scheme, table.disk_id, table.problems) == ("mbr", "00c0ffee", ())
    numbers = [int(p["node"].removeprefix(str(path))) for p in said["partitions"]]
    assert [p.number for p in table.partitions] == numbers == [1, 2, 3, 4, 5, 6, 7]
    assert [(p.offset // 512, p.length // 512, int(p.type, 16)) for p in table.partitions] == [
        (p["start"], p["size"], int(p["type"], 16)) for p in said["partitions"]
    ]
    assert [p.bootable for p in table.partitions] == [True] + [False] * 6
    assert [p.is_extended for p in table.partitions] == [False, False, True] + [False] * 4
    assert table.partitions[4].unique_id == "00c0ffee-05"
    assert table.partitions[4].type_name == "Linux LVM"


def test_an_empty_table_is_a_table(sfdisk: Any) -> None:
    path, _ = sfdisk("label: gpt\n")
    assert (read_file(path).scheme, read_file(path).partitions, read_file(path).end) == (
        "gpt", (), 0,
    )  # fmt: skip
    path, _ = sfdisk("label: dos\n")
    assert (read_file(path).scheme, read_file(path).partitions) == ("mbr", ())


@pytest.mark.parametrize(("label", "known"), [("gpt", _GPT), ("dos", _MBR)])
def test_types_are_those_that_sfdisk_lists(label: str, known: dict[Any, str]) -> None:
    """A digit gone wrong would stand for another type, or for none."""
    if shutil.which("sfdisk") is None:
        pytest.skip("sfdisk is not installed (apt install fdisk)")
    text = subprocess.run(
        ["sfdisk", "--list-types", "--label", label], capture_output=True, text=True, check=True
    ).stdout
    listed = {}
    for line in text.splitlines()[2:]:
        code, _, name = line.strip().partition("  ")
        listed[code.lower() if label == "gpt" else int(code, 16)] = name.lower()
    shared = known.keys() & listed.keys()
    assert len(shared) >= len(known) - 8
    assert listed[EFI if label == "gpt" else 0xEF].startswith("efi")
    for code in shared & {c for c in known if known[c].startswith(("Linux root", "Linux /usr"))}:
        ours = known[code].lower().replace("risc-v 64", "risc-v-64").replace("power", "ppc64le")
        assert ours == listed[code]


# ---- packed by hand -----------------------------------------------------------------------------


@pytest.fixture
def gpt() -> Gpt:
    made = Gpt(sectors=8192)
    made.add(1, 2048, 4095, "one")
    made.add(3, 4096, 4096, "three")
    return made


def test_sectors_of_4096_bytes() -> None:
    made = Gpt(sectors=8192, sector=4096)
    made.add(1, 256, 511, "root")
    table = read(made.build(), 4096)
    assert (table.sector_size, table.problems) == (4096, ())
    assert [(p.offset, p.length) for p in table.partitions] == [(MIB, MIB)]
    assert table.backup is not None and table.backup.offset == 8191 * 4096


@pytest.mark.parametrize(("made_for", "presented"), [(512, 4096), (4096, 512)])
def test_a_table_for_other_sectors_is_read_and_named(made_for: int, presented: int) -> None:
    made = Gpt(sectors=8192, sector=made_for)
    made.add(1, 256, 511)
    table = read(made.build(), presented)
    assert table.sector_size == made_for
    assert codes(table) == ["other-sector-size"]
    assert table.partitions[0].offset == 256 * made_for


def test_all_128_partitions_and_larger_entries() -> None:
    made = Gpt(sectors=65536, entry_size=256)
    for number in range(1, 129):
        made.add(number, 2048 + number * 8, 2048 + number * 8 + 7, f"p{number}")
    table = read(made.build())
    assert table.problems == ()
    assert [p.name for p in table.partitions] == [f"p{n}" for n in range(1, 129)]
    assert table.partitions[127].offset == (2048 + 1024) * 512


def test_numbers_are_those_of_entries(gpt: Gpt) -> None:
    table = read(gpt.build())
    assert [(p.number, p.offset, p.length, p.name) for p in table.partitions] == [
        (1, MIB, MIB, "one"), (3, 2 * MIB, 512, "three"),
    ]  # fmt: skip
    assert table.partitions[1].unique_id == "00000000-0000-0000-0000-000000000003"
    assert table.disk_id == DISK


def test_mbr_on_a_disk_of_4096_byte_sectors_counts_in_them() -> None:
    disk = SparseFile(64 * MIB)
    disk.put(0, mbr_sector(mbr_entry(0x83, 256, 512, 0x80), signature=7))
    table = read(disk, 4096)
    assert [(p.offset, p.length, p.unique_id) for p in table.partitions] == [
        (MIB, 2 * MIB, "00000007-01")
    ]


@pytest.mark.parametrize(
    "sector",
    [
        bytes(512),
        bytes(510) + b"\x55\xab",
        b"\xeb\x52\x90NTFS    ".ljust(510, b"\0") + b"\x55\xaa",
        b"\xeb\x3c\x90mkfs.fat".ljust(0x36, b"\0") + b"FAT16   ".ljust(456, b"\0") + b"\x55\xaa",
        mbr_sector(b"This is not a bootable disk"),
    ],
    ids=["nothing", "no signature", "NTFS", "FAT", "text where the table would be"],
)
def test_disks_without_a_table(sector: bytes) -> None:
    disk = SparseFile(4 * MIB)
    disk.put(0, sector)
    assert read_partitions(bounded(disk), disk.size) is None


def test_a_disk_of_less_than_a_sector_has_no_table() -> None:
    assert read_partitions(bounded(SparseFile(100)), 100) is None
    assert read_partitions(bounded(SparseFile(512)), 512) is None


def test_a_real_fat_is_no_table(tmp_path: Path) -> None:
    if shutil.which("mkfs.fat") is None:
        pytest.skip("mkfs.fat is not installed (apt install dosfstools)")
    path = tmp_path / "fat.raw"
    path.write_bytes(bytes(4 * MIB))
    subprocess.run(["mkfs.fat", path], check=True, capture_output=True)
    with open(path, "rb") as file:
        assert read_partitions(lambda o, n: (file.seek(o), file.read(n))[1], 4 * MIB) is None


def test_other_sector_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="sectors of 520 bytes"):
        read_partitions(bounded(SparseFile(MIB)), MIB, 520)


# ---- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "code", "offset"),
    [
        (512, "no-primary", 512),
        (512 + 40, "primary-header", 512),
        (512 + 92 - 1, "primary-header", 512),
        (1024 + 5, "primary-entries", 1024),
        (1024 + 128 * 128 - 1, "primary-entries", 1024),
        (8191 * 512, "no-backup", 8191 * 512),
        (8191 * 512 + 40, "backup-header", 8191 * 512),
        (8159 * 512, "backup-entries", 8159 * 512),
    ],
)
def test_one_damaged_copy_leaves_the_other(gpt: Gpt, place: int, code: str, offset: int) -> None:
    disk = gpt.build()
    disk.put(place, bytes([disk.get(place, 1)[0] ^ 0x40]))
    table = read(disk)
    assert [(p.code, p.offset) for p in table.problems] == [(code, offset)]
    assert [p.name for p in table.partitions] == ["one", "three"]
    header = table.header
    assert header is not None
    assert header.offset == (512 if offset > 4 * MIB - 40 * 512 else 8191 * 512)


def test_both_copies_damaged(gpt: Gpt) -> None:
    disk = gpt.build()
    disk.put(512 + 40, b"\xff")
    disk.put(8191 * 512 + 40, b"\xff")
    table = read(disk)
    assert codes(table) == ["primary-header", "backup-header", "no-gpt-header"]
    assert table.partitions == () and table.header is None
    disk.put(512, bytes(512))
    disk.put(8191 * 512, bytes(512))
    assert codes(read(disk)) == ["no-primary", "no-backup", "no-gpt-header"]
    assert read(disk).disk_id == ""


def test_a_grown_disk(gpt: Gpt) -> None:
    disk = gpt.build()
    disk.size += MIB
    table = read(disk)
    assert [(p.code, p.offset) for p in table.problems] == [("backup-not-at-end", 8191 * 512)]
    assert not table.backup_is_at_end
    assert table.backup is not None and table.backup.is_intact


def test_a_grown_disk_whose_primary_is_gone(gpt: Gpt) -> None:
    """The protective MBR still tells where the disk ended."""
    disk = gpt.build()
    disk.size += MIB
    disk.put(512, bytes(512))
    table = read(disk)
    assert codes(table) == ["no-primary", "backup-not-at-end"]
    assert [p.name for p in table.partitions] == ["one", "three"]


def test_a_disk_that_was_cut(gpt: Gpt) -> None:
    gpt.add(2, 7000, 8000)
    disk = gpt.build()
    disk.cut(3 * MIB)
    table = read(disk)
    assert codes(table) == ["no-backup", "outside-disk"]
    assert table.problems[1].offset == 7000 * 512


def test_headers_that_are_intact_and_differ(gpt: Gpt) -> None:
    disk = gpt.build()
    gpt.add(1, 2048, 4095, "other")
    disk.put(512, gpt.build().get(512, 512 + 128 * 128))
    table = read(disk)
    assert codes(table) == ["headers-differ"]
    assert table.partitions[0].name == "other", "the primary counts"


def test_a_header_that_says_it_lies_elsewhere(gpt: Gpt) -> None:
    disk = gpt.build()
    disk.put(512, gpt.header(3, 8191, 2))
    table = read(disk)
    assert codes(table) == ["primary-header"]
    assert table.primary is not None and table.primary.header_matches
    assert not table.primary.is_intact


@pytest.mark.parametrize(
    ("count", "size"), [(0, 128), (128, 64), (128, 192), (128, 8192), (0xFFFFFFFF, 128)]
)
def test_arrays_beyond_reason_are_not_read(gpt: Gpt, count: int, size: int) -> None:
    import struct
    import zlib

    header = bytearray(gpt.build().get(512, 92))
    header[80:88] = struct.pack("<II", count, size)
    header[16:20] = bytes(4)
    header[16:20] = struct.pack("<I", zlib.crc32(bytes(header)))
    disk = gpt.build()
    disk.put(512, bytes(header))
    assert codes(read(disk)) == ["primary-entries"]
    assert [p.name for p in read(disk).partitions] == ["one", "three"]


def test_partitions_that_cannot_be(gpt: Gpt) -> None:
    gpt.add(1, 4095, 2048, "ends before it begins")
    gpt.add(2, 3000, 4096)
    gpt.add(4, 34, 2**40)
    gpt.add(5, 3, 10)
    table = read(gpt.build())
    assert [p.number for p in table.partitions] == [2, 3, 4, 5]
    assert sorted(codes(table)) == [
        "bad-entry", "outside-disk", "outside-usable", "outside-usable", "overlap", "overlap",
    ]  # fmt: skip
    assert table.end == (2**40 + 1) * 512


def test_problems_are_bounded() -> None:
    made = Gpt(sectors=8192)
    for number in range(1, 129):
        made.add(number, 5, 4)
    table = read(made.build())
    assert len(table.problems) == 65
    assert table.problems[-1].code == "more-problems"
    assert table.problems[-1].message == "64 problems more"


def test_no_protective_mbr(gpt: Gpt) -> None:
    disk = gpt.build()
    disk.put(0, bytes(512))
    assert (read(disk).scheme, codes(read(disk))) == ("gpt", ["no-protective-mbr"])
    disk.put(0, mbr_sector(mbr_entry(0x83, 2048, 2048)))
    assert (read(disk).scheme, codes(read(disk))) == ("mbr", ["stale-gpt"])


def test_hybrid(gpt: Gpt) -> None:
    disk = gpt.build()
    disk.put(0, mbr_sector(mbr_entry(0x83, 2048, 2048), mbr_entry(0xEE, 1, 2047)))
    assert (read(disk).scheme, codes(read(disk))) == ("gpt", ["hybrid-mbr"])


def extended(*records: tuple[int, bytes]) -> SparseFile:
    """A disk whose extended partition has 4096 sectors from 2048 on, with boot records in it."""
    disk = SparseFile(8 * MIB)
    disk.put(0, mbr_sector(mbr_entry(0x0F, 2048, 4096)))
    for at, record in records:
        disk.put(at * 512, record)
    return disk


def test_extended_records_in_a_circle() -> None:
    link = mbr_entry(0x05, 0, 100)
    table = read(extended((2048, mbr_sector(mbr_entry(0x83, 8, 8), link))))
    assert [p.number for p in table.partitions] == [1, 5]
    assert [(p.code, p.offset) for p in table.problems] == [("extended-loop", MIB)]


def test_an_extended_record_outside_its_partition() -> None:
    link = mbr_entry(0x05, 4096, 100)
    table = read(extended((2048, mbr_sector(mbr_entry(0x83, 8, 8), link))))
    assert codes(table) == ["extended-record"]
    assert [p.number for p in table.partitions] == [1, 5]


def test_an_extended_partition_without_a_record() -> None:
    assert codes(read(extended())) == ["extended-record"]
    disk = extended()
    disk.cut(512)
    assert codes(read(disk)) == ["extended-record", "outside-disk"]


def test_a_chain_that_does_not_end() -> None:
    disk = extended(
        *(
            (2048 + n * 2, mbr_sector(mbr_entry(0x83, 1, 1), mbr_entry(0x05, n * 2 + 2, 2)))
            for n in range(400)
        )
    )
    table = read(disk)
    assert codes(table) == ["too-many-logical"]
    assert [p.number for p in table.partitions] == [1, *range(5, 5 + 256)]


def test_overlapping_mbr_partitions() -> None:
    disk = SparseFile(8 * MIB)
    disk.put(0, mbr_sector(mbr_entry(0x83, 2048, 2049), mbr_entry(0x83, 4096, 5)))
    assert [(p.code, p.offset) for p in read(disk).problems] == [("overlap", 2 * MIB)]


def test_names_that_are_no_text(gpt: Gpt) -> None:
    broken = b"\x00\xd8x\x00" + b"\xff" * 68
    gpt.parts[1] = gpt.parts[1][:56] + broken
    name = read(gpt.build()).partitions[0].name
    assert name.startswith("�x")
    name.encode()  # half surrogates would not go


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_damage_gives_a_table_or_none(data: st.DataObject) -> None:
    made = Gpt(sectors=2048, entry_size=data.draw(st.sampled_from([128, 256])))
    made.add(1, 100, 200)
    disk = made.build()
    if data.draw(st.booleans()):
        disk.put(0, mbr_sector(mbr_entry(0x05, 2, 1000), mbr_entry(0x83, 100, 3)))
    places = st.one_of(st.integers(0, 2048), st.integers(2048 * 512 - 600, 2048 * 512 - 9))
    for _ in range(data.draw(st.integers(1, 6))):
        disk.put(data.draw(places), data.draw(st.binary(min_size=1, max_size=8)))
    size = data.draw(st.sampled_from([512, 4096]))
    table = read_partitions(bounded(disk), disk.size, size)
    if table is not None:
        assert table.scheme in ("gpt", "mbr")
        assert all(p.offset >= 0 and p.length > 0 for p in table.partitions)


def test_types_that_are_not_known() -> None:
    assert type_name("0x99") is None
    assert type_name("00000000-0000-0000-0000-000000000001") is None
    assert type_name(LINUX) == "Linux file system"


def test_headers_of_a_file_that_sgdisk_made(tmp_path: Path) -> None:
    if shutil.which("sgdisk") is None:
        pytest.skip("sgdisk is not installed (apt install gdisk)")
    path = tmp_path / "disk.raw"
    with open(path, "wb") as file:
        file.truncate(64 * MIB)
    subprocess.run(
        ["sgdisk", "-S", "256", "-n", "200:2048:4095", "-c", "200:x", path],
        check=True, capture_output=True,
    )  # fmt: skip
    table = read_file(path)
    assert table.problems == () and table.primary is not None
    assert table.primary.entry_count == 256
    assert [(p.number, p.name) for p in table.partitions] == [(200, "x")]
    whole = peek(path, 512, 92)
    poke(path, 512 + 24, b"\x07")
    assert read_file(path).header == read_file(path).backup
    poke(path, 512, whole)
    assert read_file(path).problems == ()
