"""convert --relocate-gpt, and the patched disk that --verify compares with."""

from __future__ import annotations

import dataclasses
import json
import lzma
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vhdfast
from tests.conftest import Run
from tests.support import MIB, SparseFile, pattern, peek, poke
from tests.support.build_gpt import Gpt, mbr_entry, mbr_sector
from tests.support.build_vhdx import write_vhdx
from vhdfast.errors import InternalError, PartitionTableError, VerifyError
from vhdfast.guest.partitions import PartitionTable, read_partitions
from vhdfast.outputs import FileOutput
from vhdfast.patched import joined, patched

ODD = 5 * MIB + 12 * 1024  # grows by less than a backup takes


def gpt_disk(size: int = ODD, sector: int = 512) -> SparseFile:
    made = Gpt(sectors=size // sector, sector=sector)
    made.add(1, 256, size // sector - 2 - made.array_sectors, "root")
    disk = made.build()
    disk.put(256 * sector, pattern(1, 100_000))
    return disk


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return gpt_disk().write(tmp_path / "disk.raw")


def table_of(path: Path) -> PartitionTable:
    with vhdfast.open_image(path) as image:
        table = read_partitions(image.pread, image.virtual_size)
    assert table is not None
    return table


def test_the_backup_lies_at_the_end_of_the_target(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "disk.vhd"
    result = vhdfast.convert(source, target, relocate_gpt=True, verify_copy=True)
    assert result.plan.gpt_moved and result.plan.target_size == 6 * MIB
    table = table_of(target)
    assert table.problems == () and table.backup is not None
    assert table.backup.offset == 6 * MIB - 512
    assert peek(target, 256 * 512, 100_000) == pattern(1, 100_000)
    assert [p.code for p in table_of(source).problems] == [], "the source is as it was"


def test_without_the_option_the_disk_is_copied_as_it_is(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "disk.vhd"
    assert not vhdfast.convert(source, target).plan.gpt_moved
    assert [problem.code for problem in table_of(target).problems] == ["backup-not-at-end"]


def test_other_programs_find_nothing_wrong(source: Path, tmp_path: Path) -> None:
    if shutil.which("sfdisk") is None:
        pytest.skip("sfdisk is not installed (apt install fdisk)")
    target = tmp_path / "out.raw"
    vhdfast.convert(source, target, to="raw", size=64 * MIB, relocate_gpt=True, verify_copy=True)
    done = subprocess.run(["sfdisk", "--verify", target], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "No errors" in done.stdout
    # Asked for 64 MiB of raw disk, it has them, and nothing but the table differs.
    assert target.stat().st_size == 64 * MIB
    low, high = 256 * 512, ODD - 33 * 512
    assert peek(target, low, high - low) == peek(source, low, high - low)
    assert not any(peek(target, high, 64 * MIB - 33 * 512 - high))


def test_other_formats_and_streams(source: Path, tmp_path: Path) -> None:
    expected = tmp_path / "expected.raw"
    vhdfast.convert(source, expected, to="raw", align=MIB, relocate_gpt=True)
    content = source.read_bytes()
    packed = tmp_path / "disk.raw.xz"
    packed.write_bytes(lzma.compress(content))
    # The unpacked file becomes the target: nothing is copied, the GPT is moved all the same.
    vhdfast.convert(
        packed, tmp_path / "a.raw", to="raw", align=MIB, relocate_gpt=True, verify_copy=True
    )
    assert (tmp_path / "a.raw").read_bytes() == expected.read_bytes()
    blocks = {n: content[n * MIB : (n + 1) * MIB].ljust(MIB, b"\0") for n in range(6)}
    vhdx = tmp_path / "disk.vhdx"
    write_vhdx(vhdx, virtual_size=ODD, blocks=blocks)
    vhdfast.convert(
        vhdx, tmp_path / "b.raw", to="raw", align=MIB, relocate_gpt=True, verify_copy=True
    )
    assert (tmp_path / "b.raw").read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("with_table", [False, True])
def test_disks_without_a_gpt_are_copied_as_they_are(with_table: bool, tmp_path: Path) -> None:
    disk = SparseFile(3 * MIB)
    disk.put(0, mbr_sector(mbr_entry(0x83, 2048, 2048)) if with_table else pattern(1, 512))
    source = disk.write(tmp_path / "disk.img")
    result = vhdfast.convert(
        source, tmp_path / "out.raw", to="raw", size=4 * MIB, relocate_gpt=True, verify_copy=True
    )
    assert not result.plan.gpt_moved
    assert (tmp_path / "out.raw").read_bytes() == source.read_bytes() + bytes(MIB)


def test_sectors_of_4096_bytes(tmp_path: Path) -> None:
    source = tmp_path / "disk.vhdx"
    content = gpt_disk(8 * MIB, 4096).get(0, 8 * MIB)
    blocks = {n: content[n * MIB : (n + 1) * MIB] for n in range(8)}
    write_vhdx(source, virtual_size=8 * MIB, blocks=blocks, sector_size=4096)
    target = tmp_path / "out.raw"
    vhdfast.convert(
        source, target, to="raw", size=16 * MIB, allow_4kn=True, relocate_gpt=True,
        verify_copy=True,
    )  # fmt: skip
    assert peek(target, 16 * MIB - 4096, 8) == b"EFI PART"


def test_a_damaged_gpt_is_refused_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    poke(source, 512 + 30, b"\xff\xff")
    poke(source, ODD - 512 + 30, b"\xff\xff")
    with pytest.raises(PartitionTableError, match="neither GPT header is intact") as caught:
        vhdfast.convert(source, tmp_path / "disk.vhd", relocate_gpt=True)
    assert caught.value.path == str(source)
    assert caught.value.exit_code == 4
    with pytest.raises(PartitionTableError):
        vhdfast.plan_conversion(source, tmp_path / "disk.vhd", relocate_gpt=True)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("lost", range(3))
def test_verify_sees_a_patch_that_was_not_made(
    lost: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the three: in front, over the old backup, and behind the source's end."""
    places = []
    put = FileOutput.patch

    def patch(self: FileOutput, offset: int, data: bytes) -> None:
        places.append(offset)
        if len(places) != lost + 1:
            put(self, offset, data)

    monkeypatch.setattr(FileOutput, "patch", patch)
    target = tmp_path / "disk.vhd"
    with pytest.raises(VerifyError):
        vhdfast.convert(source, target, size=8 * MIB, relocate_gpt=True, verify_copy=True)
    assert places == [0, ODD - 33 * 512, 8 * MIB - 33 * 512]
    assert list(tmp_path.iterdir()) == [source]


def test_a_patch_stays_within_the_disk(tmp_path: Path) -> None:
    from vhdfast.outputs import TargetOptions
    from vhdfast.outputs.raw import RawOutput

    output = RawOutput(str(tmp_path / "out.raw"), MIB, TargetOptions())
    output.create()
    try:
        output.patch(MIB - 4, b"last")
        with pytest.raises(InternalError):
            output.patch(MIB - 3, b"last")
        output.seal()
        output.publish()
    finally:
        output.abort()
    assert (tmp_path / "out.raw").read_bytes() == bytes(MIB - 4) + b"last"


def test_the_plan_and_the_command_line(vhdfast_cli: Run, source: Path, tmp_path: Path) -> None:
    done = vhdfast_cli("convert", "--dry-run", "--relocate-gpt", "disk.raw")
    assert done.returncode == 0
    assert "GPT backup:   moved to the end" in done.stdout
    done = vhdfast_cli("convert", "--relocate-gpt", "--verify", "--json", "disk.raw")
    assert json.loads(done.stdout)["plan"]["gpt_moved"] is True
    assert table_of(tmp_path / "disk.vhd").problems == ()
    done = vhdfast_cli("convert", "--dry-run", "--relocate-gpt", "--to", "raw", "disk.raw")
    assert "GPT backup" not in done.stdout, "it lies at the end already"
    assert "gpt_moved" in {field.name for field in dataclasses.fields(vhdfast.ConvertPlan)}


# ---- the patched disk ---------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=9)), max_size=8))
@settings(deadline=None)
def test_of_patches_on_top_of_each_other_the_later_holds(given_: list[tuple[int, bytes]]) -> None:
    plain = bytearray(b"." * 80)
    for offset, data in given_:
        plain[offset : offset + len(data)] = data
    made = bytearray(b"." * 80)
    ends = [-1]
    for offset, data in joined(given_):
        assert offset > ends[-1], "ascending, with something between"
        made[offset : offset + len(data)] = data
        ends.append(offset + len(data))
    assert made == plain


@pytest.mark.parametrize("size", [3 * MIB, 3 * MIB + 512, 9 * MIB])
def test_a_patched_disk_reads_as_it_should(size: int, tmp_path: Path) -> None:
    path = tmp_path / "disk.vhdx"
    write_vhdx(path, virtual_size=3 * MIB, blocks={1: pattern(1, MIB)})
    patches = [(0, b"head"), (MIB + 7, b"inside"), (2 * MIB - 3, b"across"), (size - 4, b"tail")]
    expected = bytearray(bytes(MIB) + pattern(1, MIB) + bytes(size - 2 * MIB))
    for offset, data in patches:
        expected[offset : offset + len(data)] = data
    with vhdfast.open_image(path) as image:
        view = patched(image, patches, size)
        assert view.pread(0, size + 1) == expected
        assert sum(len(window) for window in view.windows(max_rows=2)) >= 7
