"""Moving the GPT backup: what is written, in which order, and after a crash anywhere."""

from __future__ import annotations

import itertools
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import KIB, MIB
from tests.support.build_gpt import Gpt, mbr_entry, mbr_sector
from vhdfast.errors import PartitionTableError
from vhdfast.guest.gpt_move import Stage, move_backup_gpt
from vhdfast.guest.partitions import PartitionTable, read_partitions

OLD = 4 * MIB


class Disk:
    """A disk in memory that can be grown and written."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)

    @property
    def size(self) -> int:
        return len(self.content)

    def pread(self, offset: int, length: int) -> bytes:
        return bytes(self.content[offset : offset + length])

    def put(self, offset: int, data: bytes) -> None:
        self.content[offset : offset + len(data)] = data

    def grown(self, size: int) -> Disk:
        return Disk(bytes(self.content) + bytes(size - self.size))

    def table(self, sector: int = 512) -> PartitionTable:
        found = read_partitions(self.pread, self.size, sector)
        assert found is not None
        return found

    def stages(self, old: int = OLD, sector: int = 512) -> list[Stage]:
        table = self.table(sector)
        return move_backup_gpt(self.pread, table, old, self.size, sector_size=sector)

    def apply(self, stages: list[Stage]) -> Disk:
        for write in itertools.chain(*stages):
            self.put(write.offset, write.data)
        return self


def gpt(sector: int = 512, size: int = OLD) -> Gpt:
    made = Gpt(sectors=size // sector, sector=sector)
    made.add(1, 256, 511, "one")
    made.add(2, 512, size // sector - 2 - made.array_sectors, "two")
    return made


def disk_of(made: Gpt) -> Disk:
    disk = Disk(made.build().get(0, made.sectors * made.sector))
    disk.put(256 * made.sector, b"guest" * 1000)
    return disk


def names(disk: Disk, sector: int = 512) -> list[str]:
    return [partition.name for partition in disk.table(sector).partitions]


@pytest.fixture(params=[12 * KIB, MIB, 5 * MIB], ids=["overlapping", "grown", "doubled"])
def grown(request: pytest.FixtureRequest) -> Disk:
    """The new backup of the first lies on the old one's entries."""
    return disk_of(gpt()).grown(OLD + request.param)


# ---- what it ends in ----------------------------------------------------------------------------


def test_the_backup_lies_at_the_end(grown: Disk) -> None:
    before = bytes(grown.content)
    grown.apply(grown.stages())
    table = grown.table()
    last = grown.size // 512 - 1
    assert table.problems == () and table.backup_is_at_end
    assert table.primary is not None and table.backup is not None
    assert (table.primary.my_lba, table.primary.alternate_lba) == (1, last)
    assert (table.backup.my_lba, table.backup.alternate_lba) == (last, 1)
    assert table.backup.entries_lba == last - 32
    assert table.primary.last_usable_lba == table.backup.last_usable_lba == last - 33
    assert grown.content[446 + 12 : 446 + 16] == struct.pack("<I", last)
    assert names(grown) == ["one", "two"]
    # The partitions, and the primary's entries, are what they were.
    assert grown.content[1024 : OLD - 33 * 512] == before[1024 : OLD - 33 * 512]
    # Nothing of the old backup is left.
    assert not any(grown.content[OLD - 33 * 512 : grown.size - 33 * 512])


def test_the_disk_is_as_if_it_had_been_made_so_large(grown: Disk) -> None:
    grown.apply(grown.stages())
    fresh = gpt(size=OLD)
    fresh.sectors = grown.size // 512
    expected = disk_of(fresh)
    expected.put(446 + 5, bytes(grown.content[446 + 5 : 446 + 8]))  # cylinders say nothing here
    assert grown.content == expected.content


def test_what_is_done_is_not_done_again(grown: Disk) -> None:
    assert grown.apply(grown.stages()).stages() == []
    assert disk_of(gpt()).stages() == []


def test_stages_come_in_an_order_that_survives(grown: Disk) -> None:
    kinds = [{write.what for write in stage} for stage in grown.stages()]
    assert kinds[0] == {"backup GPT entries", "backup GPT header"}
    assert kinds[1] == {"primary GPT header", "protective MBR"}
    assert all("erased" in what for what in kinds[2])


def test_sectors_of_4096_bytes() -> None:
    disk = disk_of(gpt(4096)).grown(OLD + MIB)
    disk.apply(disk.stages(sector=4096))
    table = disk.table(4096)
    assert table.problems == () and table.backup is not None
    assert table.backup.offset == OLD + MIB - 4096
    assert not any(disk.content[OLD - 5 * 4096 : OLD + MIB - 5 * 4096])


def test_a_size_that_is_no_whole_number_of_sectors() -> None:
    disk = disk_of(gpt()).grown(OLD + MIB + 100)
    disk.apply(disk.stages())
    assert disk.table().problems == ()
    assert disk.content[OLD + MIB - 512 : OLD + MIB - 504] == b"EFI PART"


@pytest.mark.parametrize("growth", [12 * KIB, MIB])
@pytest.mark.parametrize("place", [512, 512 + 30, 1024 + 20])
def test_a_damaged_primary_is_restored_first(growth: int, place: int) -> None:
    whole = disk_of(gpt()).grown(OLD + growth)
    disk = Disk(bytes(whole.content))
    disk.put(place, b"\xa5\xa5")
    stages = disk.stages()
    assert all("restored" in write.what for write in stages[0])
    assert disk.apply(stages).content == whole.apply(whole.stages()).content


@pytest.mark.parametrize("place", [OLD - 512, OLD - 512 + 30, OLD - 17 * 512])
def test_a_damaged_backup_is_made_anew(place: int) -> None:
    disk = disk_of(gpt()).grown(OLD + MIB)
    disk.put(place, bytes([disk.content[place] ^ 1]) * 2)
    disk.apply(disk.stages())
    assert disk.table().problems == ()
    assert names(disk) == ["one", "two"]


def test_a_backup_in_the_middle_of_a_disk_of_the_same_size() -> None:
    disk = disk_of(gpt()).grown(OLD + MIB)
    disk.apply(disk.stages(old=OLD + MIB))
    assert disk.table().problems == ()
    assert not any(disk.content[OLD - 33 * 512 : OLD + MIB - 33 * 512])


def test_a_partition_over_the_old_backup_is_not_erased() -> None:
    made = gpt()
    made.add(2, 512, OLD // 512 + 100, "grown before its table was")
    disk = disk_of(made).grown(OLD + MIB)
    before = bytes(disk.content)
    disk.apply(disk.stages())
    low, high = OLD - 33 * 512, (OLD // 512 + 101) * 512
    assert disk.content[low:high] == before[low:high]
    assert disk.table().backup_is_at_end


def test_a_header_of_another_disk_is_not_erased() -> None:
    other = gpt()
    other.disk_guid = "99999999-2222-3333-4444-555555555555"
    disk = disk_of(gpt()).grown(OLD + MIB)
    foreign = other.build().get(OLD - 512, 512)
    disk.put(OLD + 100 * 512, foreign)
    disk.apply(disk.stages(old=OLD + 101 * 512))
    assert disk.content[OLD + 100 * 512 : OLD + 101 * 512] == foreign
    assert disk.table().problems == ()


def test_a_hybrid_mbr_is_left_alone() -> None:
    disk = disk_of(gpt()).grown(OLD + MIB)
    hybrid = mbr_sector(mbr_entry(0xEE, 1, 255), mbr_entry(0x83, 256, 256))
    disk.put(0, hybrid)
    disk.apply(disk.stages())
    assert disk.content[:512] == hybrid
    assert [problem.code for problem in disk.table().problems] == ["hybrid-mbr"]


def test_the_largest_size_in_a_protective_mbr_is_left_alone() -> None:
    disk = disk_of(gpt()).grown(OLD + MIB)
    mbr = mbr_sector(mbr_entry(0xEE, 1, 0xFFFFFFFF))
    disk.put(0, mbr)
    assert all(write.offset for stage in disk.stages() for write in stage)


def test_what_a_header_has_behind_its_fields_stays() -> None:
    disk = disk_of(gpt()).grown(OLD + MIB)
    header = bytearray(disk.content[512:1024])
    header[12:16] = struct.pack("<I", 128)
    header[100:104] = b"more"
    header[16:20] = bytes(4)
    header[16:20] = struct.pack("<I", zlib.crc32(bytes(header[:128])))
    disk.put(512, bytes(header))
    disk.apply(disk.stages())
    assert disk.table().problems == ()
    assert disk.content[512 + 100 : 512 + 104] == disk.content[-412:-408] == b"more"


# ---- crashes ------------------------------------------------------------------------------------


def crashes(stages: list[Stage]) -> Iterator[list[Stage]]:
    """What may have been written before a crash: whole stages, then any of the next one."""
    for count, stage in enumerate(stages):
        for number in range(len(stage) + 1):
            for some in itertools.combinations(stage, number):
                yield [*stages[:count], some]


@pytest.mark.parametrize("growth", [512, 12 * KIB, 16 * KIB + 512, 17 * KIB, MIB])
@pytest.mark.parametrize("damage", [None, 512 + 30, 1024 + 20, OLD - 512 + 30])
def test_a_second_run_completes_after_any_crash(growth: int, damage: int | None) -> None:
    start = disk_of(gpt()).grown(OLD + growth)
    if damage is not None:
        start.put(damage, b"\xa5\xa5")
    stages = start.stages()
    whole = Disk(bytes(start.content)).apply(stages)
    assert whole.table().problems == ()
    seen = 0
    for written in crashes(stages):
        disk = Disk(bytes(start.content)).apply(written)
        assert names(disk) == ["one", "two"], "at any moment a header leads to the partitions"
        disk.apply(disk.stages())
        assert disk.content == whole.content
        seen += 1
    assert seen >= 8


def test_torn_writes_of_entries_are_survived() -> None:
    """Power may go within the array too: every sector of it."""
    start = disk_of(gpt()).grown(OLD + 12 * KIB)
    start.put(1024 + 20, b"\xa5")
    stages = start.stages()
    whole = Disk(bytes(start.content)).apply(stages)
    for count, stage in enumerate(stages):
        for write in stage:
            for cut in range(512, len(write.data), 512):
                disk = Disk(bytes(start.content)).apply(stages[:count])
                disk.put(write.offset, write.data[:cut])
                assert names(disk) == ["one", "two"]
                disk.apply(disk.stages())
                assert disk.content[: OLD - 33 * 512] == whole.content[: OLD - 33 * 512]
                assert disk.table().problems == ()


# ---- refusals -----------------------------------------------------------------------------------


def test_a_partition_that_would_not_fit() -> None:
    disk = disk_of(gpt())
    with pytest.raises(PartitionTableError, match="partition 2 ends at 4177408") as caught:
        move_backup_gpt(disk.pread, disk.table(), OLD, OLD - 512)
    assert caught.value.code == "partition-table"


def test_a_hybrid_partition_that_would_not_fit() -> None:
    disk = disk_of(gpt()).grown(OLD + MIB)
    end = (OLD + MIB) // 512
    disk.put(0, mbr_sector(mbr_entry(0xEE, 1, 255), mbr_entry(0x83, OLD // 512, end - OLD // 512)))
    with pytest.raises(PartitionTableError, match="partition 2 of the hybrid MBR"):
        disk.stages()


def test_neither_header_is_intact() -> None:
    disk = disk_of(gpt()).grown(OLD + MIB)
    disk.put(512 + 30, b"\xff")
    disk.put(OLD - 512 + 30, b"\xff")
    with pytest.raises(PartitionTableError, match="neither GPT header is intact"):
        disk.stages()


def test_copies_that_contradict_each_other() -> None:
    disk = disk_of(gpt()).grown(OLD + MIB)
    other = gpt()
    other.add(3, 60, 70, "three")
    disk.put(512, other.build().get(512, 512 + 16384))
    with pytest.raises(PartitionTableError, match="name different partitions"):
        disk.stages()


def test_a_table_for_other_sectors() -> None:
    disk = disk_of(gpt(4096)).grown(OLD + MIB)
    with pytest.raises(PartitionTableError, match="sectors of 4096 bytes"):
        disk.stages(sector=512)


def test_an_mbr_has_no_backup() -> None:
    disk = Disk(mbr_sector(mbr_entry(0x83, 1, 1)) + bytes(MIB))
    with pytest.raises(PartitionTableError, match="no GPT"):
        disk.stages()


def test_no_room_for_a_table() -> None:
    disk = disk_of(Gpt(sectors=OLD // 512))
    with pytest.raises(PartitionTableError, match="no room for a GPT"):
        move_backup_gpt(disk.pread, disk.table(), OLD, 32 * KIB)


def test_no_room_to_restore_the_primary_in() -> None:
    disk = disk_of(gpt()).grown(OLD + MIB)
    header = bytearray(disk.content[OLD - 512 : OLD])
    header[40:48] = struct.pack("<Q", 10)
    header[16:20] = bytes(4)
    header[16:20] = struct.pack("<I", zlib.crc32(bytes(header[:92])))
    disk.put(OLD - 512, bytes(header))
    disk.put(512, bytes(512))
    with pytest.raises(PartitionTableError, match="sectors 2 to 33"):
        disk.stages()


def test_entries_that_lie_nowhere() -> None:
    """What is far away is no place that an error could name: its header is."""
    disk = disk_of(gpt()).grown(OLD + MIB)
    header = bytearray(disk.content[512:604])
    header[16:20] = bytes(4)
    header[72:80] = struct.pack("<Q", 1 << 60)
    header[16:20] = struct.pack("<I", zlib.crc32(bytes(header)))
    disk.put(512, bytes(header))
    with pytest.raises(PartitionTableError, match="where they cannot be") as caught:
        disk.stages()
    assert caught.value.offset == 512


def test_a_primary_is_not_restored_over_a_partition() -> None:
    """Its own data may be what damaged the primary."""
    made = gpt()
    made.add(3, 20, 40, "early")
    disk = disk_of(made).grown(OLD + MIB)
    disk.put(20 * 512, b"guest" * 100)
    with pytest.raises(PartitionTableError, match="partition 3 begins at 10240"):
        disk.stages()


def test_a_disk_that_changes_meanwhile() -> None:
    disk = disk_of(gpt()).grown(OLD + MIB)
    table = disk.table()
    disk.put(1024 + 60, b"\xff")
    with pytest.raises(PartitionTableError, match="changed since it was read"):
        move_backup_gpt(disk.pread, table, OLD, disk.size)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_partitions_are_never_written_to(data: st.DataObject) -> None:
    """Whatever a table with right checksums says."""
    made = Gpt(sectors=1024)
    for number in range(1, data.draw(st.integers(1, 4))):
        first = data.draw(st.integers(34, 1100))
        made.add(number, first, first + data.draw(st.integers(0, 600)))
    disk = disk_of(made)
    disk.put(446, bytes(mbr_entry(0xEE, 1, data.draw(st.integers(1, 2000)))))
    new = data.draw(st.integers(60, 1200)) * 512
    table = disk.table()
    try:
        stages = move_backup_gpt(disk.pread, table, data.draw(st.integers(0, 1200)) * 512, new)
    except PartitionTableError:
        return
    for write in itertools.chain(*stages):
        end = write.offset + len(write.data)
        assert 0 <= write.offset < end <= new
        for partition in table.partitions:
            assert end <= partition.offset or partition.end <= write.offset


EDGES = st.one_of(
    st.integers(0, 1100), st.sampled_from([2**31, 2**32 - 1, 2**63, 2**64 - 1, 2**64 - 33])
)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_header_with_a_right_checksum_is_read_and_moved_or_refused(data: st.DataObject) -> None:
    """Numbers at the edges in every field: no other exception, nothing outside the disk."""
    made = Gpt(sectors=1024, count=data.draw(st.sampled_from([4, 128])))
    made.add(1, 100, 200)
    disk = disk_of(made)
    for place in data.draw(st.sampled_from([(512,), (1023 * 512,), (512, 1023 * 512)])):
        header = bytearray(disk.pread(place, 92))
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.sampled_from([24, 32, 40, 48, 72]))
            header[at : at + 8] = struct.pack("<Q", data.draw(EDGES))
        if data.draw(st.booleans()):
            at = data.draw(st.sampled_from([12, 80, 84]))
            edge = data.draw(st.sampled_from([0, 1, 91, 92, 128, 512, 513, 2**32 - 1]))
            header[at : at + 4] = struct.pack("<I", edge)
        header[16:20] = bytes(4)
        length = struct.unpack_from("<I", header, 12)[0]
        covered = bytes(header) + disk.pread(place + 92, 420)
        header[16:20] = struct.pack("<I", zlib.crc32(covered[:length]))
        disk.put(place, bytes(header))
    table = disk.table()
    new = data.draw(st.integers(1, 1200)) * 512
    try:
        stages = move_backup_gpt(disk.pread, table, disk.size, new)
    except PartitionTableError:
        return
    for write in itertools.chain(*stages):
        assert 0 <= write.offset < write.offset + len(write.data) <= new


# ---- other programs -----------------------------------------------------------------------------


@pytest.mark.parametrize("growth", [12 * KIB, 3 * MIB])
def test_other_programs_find_nothing_wrong(growth: int, tmp_path: Path) -> None:
    if shutil.which("sfdisk") is None or shutil.which("sgdisk") is None:
        pytest.skip("sfdisk or sgdisk is not installed (apt install fdisk gdisk)")
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(32 * MIB))
    subprocess.run(
        ["sfdisk", "--quiet", path], text=True, check=True, capture_output=True,
        input="label: gpt\nsize=4MiB, type=uefi, name=esp\nsize=+, name=root\n",
    )  # fmt: skip
    disk = Disk(path.read_bytes()).grown(32 * MIB + growth)
    path.write_bytes(disk.content)
    assert "No problems found" not in sgdisk("-v", path)
    disk.apply(disk.stages(old=32 * MIB))
    path.write_bytes(disk.content)
    assert "No problems found" in sgdisk("-v", path)
    done = subprocess.run(["sfdisk", "--verify", path], capture_output=True, text=True)
    assert done.returncode == 0 and "No errors detected" in done.stdout, done.stdout
    assert done.stderr == ""


def sgdisk(*words: object) -> str:
    done = subprocess.run(["sgdisk", *map(str, words)], capture_output=True, text=True)
    return done.stdout + done.stderr
