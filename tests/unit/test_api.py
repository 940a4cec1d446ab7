"""convert, plan_conversion and compare as a library: what can go wrong midway."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import vhdfast
from vhdfast import errors

MIB = 1 << 20
GIB = 1 << 30


class DoAtStart(vhdfast.Monitor):
    """Acts after the map was read and before the first byte is copied."""

    def __init__(self, action) -> None:  # type: ignore[no-untyped-def]
        self.action = action

    def start(self, what: str, total: int) -> None:
        if what == "copying":
            self.action()


def only(folder: Path, *names: str) -> None:
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(names)


def test_a_source_that_shrinks_midway_is_an_error(small_disk: Path, tmp_path: Path) -> None:
    monitor = DoAtStart(lambda: os.truncate(small_disk, 2 * MIB))
    with pytest.raises(errors.SourceChangedError, match="cut|size went"):
        vhdfast.convert(small_disk, tmp_path / "x.vhd", monitor=monitor)
    only(tmp_path, "disk.raw")


def test_a_source_that_is_written_to_midway_is_an_error(
    small_disk: Path, tmp_path: Path
) -> None:
    def write() -> None:
        with open(small_disk, "r+b") as file:
            file.write(b"x")

    with pytest.raises(errors.SourceChangedError, match="written to"):
        vhdfast.convert(small_disk, tmp_path / "x.vhd", monitor=DoAtStart(write))
    only(tmp_path, "disk.raw")


def test_a_target_that_appears_midway_is_not_replaced(small_disk: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.vhd"
    monitor = DoAtStart(lambda: target.write_bytes(b"theirs"))
    with pytest.raises(errors.TargetExistsError, match="appeared"):
        vhdfast.convert(small_disk, target, monitor=monitor)
    assert target.read_bytes() == b"theirs"
    only(tmp_path, "disk.raw", "x.vhd")


def test_any_failure_of_a_monitor_leaves_nothing_behind(
    small_disk: Path, tmp_path: Path
) -> None:
    def fail() -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        vhdfast.convert(small_disk, tmp_path / "x.vhd", monitor=DoAtStart(fail))
    only(tmp_path, "disk.raw")


def test_verify_sees_a_changed_target(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vhdfast.outputs.fixed_vhd import FixedVhd

    seal = FixedVhd.seal

    def seal_and_damage(self: FixedVhd) -> None:
        seal(self)
        with open(self.sealed_path, "r+b") as file:
            file.seek(MIB + 100_000)
            file.write(b"\0")

    monkeypatch.setattr(FixedVhd, "seal", seal_and_damage)
    with pytest.raises(errors.VerifyError) as caught:
        vhdfast.convert(small_disk, tmp_path / "x.vhd", verify_copy=True)
    assert caught.value.offset == MIB + 100_000
    only(tmp_path, "disk.raw")


def test_a_file_system_that_runs_full_midway_is_survived(
    small_disk: Path, tmp_path: Path, as_root: None
) -> None:
    with open(small_disk, "r+b") as file:
        file.truncate(32 * MIB)
        file.seek(8 * MIB)
        file.write(os.urandom(20 * MIB))
    place = tmp_path / "full"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", place]).returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        with pytest.raises(errors.NoSpaceError, match="are needed"):
            vhdfast.convert(small_disk, place / "x.vhd")
        with pytest.raises(errors.NoSpaceError, match=os.strerror(errno.ENOSPC)):
            vhdfast.convert(small_disk, place / "x.vhd", check_space=False)
        only(place)
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_file_that_may_not_grow_so_large_is_refused_before_anything_is_written(
    small_disk: Path, tmp_path: Path
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
    try:
        with pytest.raises(errors.TargetTooLargeError, match="6.00 MiB"):
            vhdfast.convert(small_disk, tmp_path / "x.vhd")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    only(tmp_path, "disk.raw")


def test_a_disk_beyond_azures_largest_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "big.raw"
    source.touch()
    try:
        os.truncate(source, 32768 * GIB)
    except OSError:
        source.write_bytes(bytes(512))
        with pytest.raises(errors.TargetTooLargeError, match="at most .*35183298347008 bytes"):
            vhdfast.convert(source, tmp_path / "x.vhd", size=32768 * GIB)
        return
    with pytest.raises(errors.TargetTooLargeError, match="at most .*35183298347008 bytes"):
        vhdfast.convert(source, tmp_path / "x.vhd")


@pytest.mark.large
def test_memory_stays_flat_on_a_disk_of_8_tib_with_scattered_data(tmp_path: Path) -> None:
    source = tmp_path / "big.raw"
    with open(source, "wb") as file:
        file.truncate(8 << 40)
        for index in range(20_000):
            os.pwrite(file.fileno(), b"x" * 4096, (index * 409_600_001) // 4096 * 4096)
    script = (
        "import re, sys, vhdfast\n"
        "result = vhdfast.convert(sys.argv[1], sys.argv[2])\n"
        # Not ru_maxrss: it begins with what the process that forked this one had.
        "peak = re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())\n"
        "print(result.written, peak[1])\n"
    )
    command = [sys.executable, "-c", script, str(source), str(tmp_path / "big.vhd")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written, peak_kib = map(int, done.stdout.split())
    assert written == 20_000 * 4096
    assert peak_kib < 128 * 1024
    at = (19_999 * 409_600_001) // 4096 * 4096
    with open(tmp_path / "big.vhd", "rb") as file:
        assert os.pread(file.fileno(), 4096, at) == b"x" * 4096
        assert os.fstat(file.fileno()).st_size == (8 << 40) + 512


def test_the_plan_writes_nothing_and_knows_the_sizes(small_disk: Path, tmp_path: Path) -> None:
    plan = vhdfast.plan_conversion(small_disk, tmp_path / "x.vhd")
    assert (plan.source_size, plan.target_size, plan.file_size) == (
        5 * MIB + 512,
        6 * MIB,
        6 * MIB + 512,
    )
    assert plan.data + plan.zero == 5 * MIB + 512
    only(tmp_path, "disk.raw")


def test_a_bad_uuid_is_a_usage_error(small_disk: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="UUID"):
        vhdfast.convert(small_disk, tmp_path / "x.vhd", unique_id="seven")
    only(tmp_path, "disk.raw")


@pytest.mark.parametrize("align", [0, 1, 513])
def test_an_alignment_off_sectors_is_a_usage_error(
    align: int, small_disk: Path, tmp_path: Path
) -> None:
    with pytest.raises(errors.UsageError, match="alignment"):
        vhdfast.convert(small_disk, tmp_path / "x.vhd", align=align)


# ---- compare ------------------------------------------------------------------------------------


def test_compare_finds_the_first_difference(small_disk: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.raw"
    content = bytearray(small_disk.read_bytes())
    content[3 * MIB + 7] = 1
    content[4 * MIB] = 1
    other.write_bytes(content)
    answer = vhdfast.compare(small_disk, other)
    assert (answer.same, answer.first_difference, answer.reason) == (False, 3 * MIB + 7, "content")


def test_compare_takes_a_longer_disk_that_ends_in_zeros(
    small_disk: Path, tmp_path: Path
) -> None:
    longer = tmp_path / "longer.raw"
    longer.write_bytes(small_disk.read_bytes() + bytes(MIB))
    assert vhdfast.compare(small_disk, longer).same
    assert vhdfast.compare(longer, small_disk).same
    assert not vhdfast.compare(small_disk, longer, strict=True).same


def test_compare_sees_data_behind_the_shorter_disk(small_disk: Path, tmp_path: Path) -> None:
    longer = tmp_path / "longer.raw"
    longer.write_bytes(small_disk.read_bytes() + bytes(100_000) + b"x" + bytes(999))
    answer = vhdfast.compare(longer, small_disk)
    assert (answer.same, answer.first_difference, answer.reason) == (
        False,
        5 * MIB + 512 + 100_000,
        "size",
    )


@pytest.mark.parametrize("allocate", [False, True])
def test_zeros_within_long_data_are_holes_unless_all_is_allocated(
    allocate: bool, tmp_path: Path
) -> None:
    source, target = tmp_path / "disk.raw", tmp_path / "x.vhd"
    noise = os.urandom(MIB)
    source.write_bytes(noise + bytes(3 * MIB) + noise + bytes(2 * MIB) + noise)

    result = vhdfast.convert(source, target, from_format="raw", allocate=allocate)

    assert target.read_bytes()[: 8 * MIB] == source.read_bytes()
    assert (result.written, result.zeros_found) == (3 * MIB, 5 * MIB)
    taken = target.stat().st_blocks * 512
    assert taken >= 8 * MIB if allocate else taken < 4 * MIB


def test_verify_sees_data_behind_the_sources_end(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vhdfast.outputs.fixed_vhd import FixedVhd

    seal = FixedVhd.seal

    def seal_and_damage(self: FixedVhd) -> None:
        seal(self)
        with open(self.sealed_path, "r+b") as file:
            file.seek(6 * MIB - 1)
            file.write(b"x")

    monkeypatch.setattr(FixedVhd, "seal", seal_and_damage)
    with pytest.raises(errors.VerifyError) as caught:
        vhdfast.convert(small_disk, tmp_path / "x.vhd", verify_copy=True)
    assert caught.value.offset == 6 * MIB - 1
    only(tmp_path, "disk.raw")


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_at_which_nothing_moves(rate: int, small_disk: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="would never end"):
        vhdfast.convert(small_disk, tmp_path / "out.vhd", rate=rate)
    assert not (tmp_path / "out.vhd").exists()
