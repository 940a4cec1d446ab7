"""vhdfast convert as people call it: what it prints, writes, refuses and leaves behind."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import pattern
from tests.support.build_vhd import DynamicVhd

MIB = 1 << 20
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_the_main_job_as_it_is_written_everywhere(
    vhdfast_cli: Run, small_disk: Path, tmp_path: Path
) -> None:
    done = vhdfast_cli("convert", "--fixed", "--align", "disk.raw", "disk.vhd")

    assert done.returncode == 0, done.stderr
    content = (tmp_path / "disk.vhd").read_bytes()
    assert len(content) == 6 * MIB + 512
    source = small_disk.read_bytes()
    assert content[: len(source)] == source
    assert not any(content[len(source) : 6 * MIB])
    footer = content[6 * MIB :]
    assert footer[:8] == b"conectix"
    assert footer[16:24] == b"\xff" * 8
    assert footer[28:32] == b"vhdf"
    assert int.from_bytes(footer[40:48], "big") == 6 * MIB
    assert int.from_bytes(footer[48:56], "big") == 6 * MIB
    assert footer[56:60] == bytes.fromhex("ffff10ff")
    assert int.from_bytes(footer[60:64], "big") == 2
    total = sum(footer) - sum(footer[64:68])
    assert int.from_bytes(footer[64:68], "big") == ~total & 0xFFFFFFFF


def test_an_aligned_size_is_left_alone(vhdfast_cli: Run, tmp_path: Path) -> None:
    with open(tmp_path / "disk.img", "wb") as file:
        file.truncate(3 * MIB)
    assert vhdfast_cli("convert", "disk.img", "disk.vhd").returncode == 0
    assert (tmp_path / "disk.vhd").stat().st_size == 3 * MIB + 512


def test_align_takes_a_value_after_an_equals_sign(vhdfast_cli: Run, small_disk: Path) -> None:
    done = vhdfast_cli("convert", "--json", "--align=4M", "disk.raw", "disk.vhd")
    assert json.loads(done.stdout)["plan"]["target_size"] == 8 * MIB


def test_holes_and_stored_zeros_take_no_space(
    vhdfast_cli: Run, small_disk: Path, tmp_path: Path
) -> None:
    done = vhdfast_cli("convert", "--json", "disk.raw", "disk.vhd")
    answer = json.loads(done.stdout)
    # 4 KiB with the MBR, 255000 bytes of data in 63 blocks of 4 KiB, 512 bytes at the end.
    assert answer["written"] == 4096 + 63 * 4096 + 4096
    assert answer["zeros_found"] == 128 * 1024
    assert (tmp_path / "disk.vhd").stat().st_blocks * 512 < MIB


def test_allocate_reserves_every_byte(
    vhdfast_cli: Run, small_disk: Path, tmp_path: Path
) -> None:
    assert vhdfast_cli("convert", "--allocate", "disk.raw", "disk.vhd").returncode == 0
    assert (tmp_path / "disk.vhd").stat().st_blocks * 512 >= 6 * MIB


def test_a_disk_of_which_bytes_are_missing_is_warned_of(
    vhdfast_cli: Run, tmp_path: Path
) -> None:
    vhd = DynamicVhd(2 * MIB, MIB)
    vhd.store(0, b"x" * MIB)
    file = vhd.build(tail=False)
    file.cut(file.size - 4096)
    cut = file.write(tmp_path / "cut.vhd")
    file.append(vhd.make_footer())
    file.write(tmp_path / "short.vhd")

    done = vhdfast_cli("convert", "short.vhd", "out.vhd")
    assert done.returncode == 0
    assert "vhdfast: warning: the file ends inside a block; what is missing" in done.stderr
    assert (tmp_path / "out.vhd").read_bytes()[: 2 * MIB] == (
        b"x" * (MIB - 4096) + bytes(MIB + 4096)
    )
    done = vhdfast_cli("convert", cut, "none.vhd")
    assert done.returncode == 4
    assert "without a footer" in done.stderr and "copy it again" in done.stderr
    assert names(tmp_path) == ["cut.vhd", "out.vhd", "short.vhd"]


def test_the_summary_says_what_was_done(vhdfast_cli: Run, small_disk: Path) -> None:
    done = vhdfast_cli("convert", "--verify", "disk.raw", "disk.vhd")
    assert "5 MiB" not in done.stderr
    assert "5.00 MiB (5243392 bytes) -> 6 MiB (6291456 bytes)" in done.stdout
    assert "zeros skipped:" in done.stdout
    assert "compared, equal" in done.stdout


def test_without_a_target_the_name_comes_first(
    vhdfast_cli: Run, small_disk: Path, tmp_path: Path
) -> None:
    done = vhdfast_cli("convert", "disk.raw")
    assert done.stdout.splitlines()[0] == "target: ./disk.vhd"
    assert names(tmp_path) == ["disk.raw", "disk.vhd"]


def test_options_may_stand_between_source_and_target(
    vhdfast_cli: Run, small_disk: Path, tmp_path: Path
) -> None:
    assert vhdfast_cli("convert", "disk.raw", "--align", "out.vhd", "-q").returncode == 0
    assert (tmp_path / "out.vhd").exists()


def test_a_directory_as_target_takes_the_sources_name(
    vhdfast_cli: Run, small_disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    assert vhdfast_cli("convert", "disk.raw", "out").returncode == 0
    assert names(tmp_path / "out") == ["disk.vhd"]


def test_a_directory_as_source_lists_its_disks(
    vhdfast_cli: Run, small_disk: Path, tmp_path: Path
) -> None:
    done = vhdfast_cli("convert", tmp_path)
    assert done.returncode == 2
    assert done.stdout == f"vhdfast convert {tmp_path / 'disk.raw'}\n"
    assert names(tmp_path) == ["disk.raw"]


def test_the_longest_name_that_a_file_system_takes(
    vhdfast_cli: Run, small_disk: Path, tmp_path: Path
) -> None:
    name = "\u00e4" * 125 + ".vhd"  # 254 bytes
    assert vhdfast_cli("convert", "disk.raw", name).returncode == 0
    assert names(tmp_path) == ["disk.raw", name]


def test_dry_run_writes_nothing(vhdfast_cli: Run, small_disk: Path, tmp_path: Path) -> None:
    done = vhdfast_cli("convert", "--dry-run", "disk.raw", "disk.vhd")
    assert done.returncode == 0
    assert "6 MiB (6291456 bytes)" in done.stdout
    assert "space needed:" in done.stdout
    assert names(tmp_path) == ["disk.raw"]


def test_to_raw_keeps_the_size(vhdfast_cli: Run, small_disk: Path, tmp_path: Path) -> None:
    assert vhdfast_cli("convert", "--to", "raw", "disk.raw", "copy.raw").returncode == 0
    assert (tmp_path / "copy.raw").read_bytes() == small_disk.read_bytes()


def test_two_runs_with_a_fixed_time_and_id_are_the_same_to_the_byte(
    vhdfast_cli: Run, small_disk: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    chosen = "01234567-89ab-cdef-0123-456789abcdef"
    for name in ("a.vhd", "b.vhd"):
        vhdfast_cli("convert", "--uuid", chosen, "disk.raw", name, env=environment)
    one, other = (tmp_path / name for name in ("a.vhd", "b.vhd"))
    assert one.read_bytes() == other.read_bytes()
    footer = one.read_bytes()[-512:]
    assert footer[24:28] == (1700000000 - 946684800).to_bytes(4, "big")
    assert footer[68:84] == uuid.UUID(chosen).bytes


# ---- refusals -----------------------------------------------------------------------------------


def refused(done: subprocess.CompletedProcess[str], status: int, *fragments: str) -> None:
    assert done.returncode == status, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("vhdfast: error: ")
    for fragment in fragments:
        assert fragment in lines[0]


def test_an_existing_target_is_refused(
    vhdfast_cli: Run, small_disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk.vhd").write_bytes(b"precious")
    refused(vhdfast_cli("convert", "disk.raw", "disk.vhd"), 6, "disk.vhd", "exists", "--force")
    assert (tmp_path / "disk.vhd").read_bytes() == b"precious"


def test_force_replaces_an_existing_target(
    vhdfast_cli: Run, small_disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk.vhd").write_bytes(b"old")
    assert vhdfast_cli("convert", "--force", "disk.raw", "disk.vhd").returncode == 0
    assert (tmp_path / "disk.vhd").stat().st_size == 6 * MIB + 512


@pytest.mark.parametrize("way", ["same name", "hard link", "symbolic link"])
def test_the_source_is_never_the_target(
    way: str, vhdfast_cli: Run, small_disk: Path, tmp_path: Path
) -> None:
    before = small_disk.read_bytes()
    target = tmp_path / "link"
    if way == "same name":
        target = small_disk
    elif way == "hard link":
        target.hardlink_to(small_disk)
    else:
        target.symlink_to(small_disk)
    refused(vhdfast_cli("convert", "--force", small_disk, target), 6, "same file")
    assert small_disk.read_bytes() == before


def test_a_missing_source_is_named(vhdfast_cli: Run) -> None:
    refused(vhdfast_cli("convert", "nowhere.vhdx", "x.vhd"), 4, "nowhere.vhdx", "No such file")


def test_an_unknown_format_is_refused(vhdfast_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "thing").write_bytes(b"hello" * 1000)
    refused(vhdfast_cli("convert", "thing", "x.vhd"), 4, "thing", "no known format", "--from raw")
    assert names(tmp_path) == ["thing"]


def test_a_missing_target_directory_is_refused(vhdfast_cli: Run, small_disk: Path) -> None:
    refused(vhdfast_cli("convert", "disk.raw", "no/where.vhd"), 6, "does not exist")


def test_a_directory_that_may_not_be_written_is_refused(
    vhdfast_cli: Run, small_disk: Path, tmp_path: Path
) -> None:
    # /proc takes no files, not even root's.
    refused(vhdfast_cli("convert", "disk.raw", "/proc/disk.vhd"), 6, "/proc/disk.vhd")


def test_a_source_that_may_not_be_read_is_refused(
    vhdfast_cli: Run, small_disk: Path, tmp_path: Path
) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    small_disk.chmod(0)
    refused(vhdfast_cli("convert", "disk.raw", "x.vhd"), 4, "Permission denied")


def test_a_smaller_size_is_refused(vhdfast_cli: Run, small_disk: Path) -> None:
    refused(vhdfast_cli("convert", "--size=1M", "disk.raw", "x.vhd"), 2, "--size", "smaller")


def test_a_partitioned_disk_of_4096_byte_sectors_is_refused(
    vhdfast_cli: Run, tmp_path: Path
) -> None:
    with open(tmp_path / "disk.img", "wb") as file:
        file.truncate(2 * MIB)
        file.seek(4096)
        file.write(b"EFI PART")
    refused(vhdfast_cli("convert", "disk.img", "x.vhd"), 4, "GPT", "4096-byte", "--allow-4kn")
    assert vhdfast_cli("convert", "--allow-4kn", "disk.img", "x.vhd").returncode == 0


def test_a_named_pipe_as_source_does_not_hang(vhdfast_cli: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(vhdfast_cli("convert", "pipe", "x.vhd", timeout=30), 4, "regular file")


def test_json_errors_carry_code_and_place(vhdfast_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "thing").write_bytes(b"hello" * 1000)
    done = vhdfast_cli("convert", "--json", "thing", "x.vhd")
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["exit_code"]) == ("unknown-format", 4)
    assert error["path"] == "thing"


# ---- while it runs ------------------------------------------------------------------------------


@pytest.fixture
def slow_copy(small_disk: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """A conversion that takes minutes because it may copy only 16 KiB a second."""
    with open(small_disk, "r+b") as file:
        file.truncate(64 * MIB)
        file.seek(40 * MIB)
        file.write(os.urandom(20 * MIB))

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "vhdfast", "convert", "disk.raw", "out.vhd", "--rate=16K"]
        running = subprocess.Popen(
            [*command, "--jobs=2", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 30
        while len(names(tmp_path)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        assert len(names(tmp_path)) == 2  # the source and a temporary file
        return running

    return start


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_a_signal_stops_cleanly(
    number: int,
    status: int,
    slow_copy: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    running = slow_copy()
    running.send_signal(number)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == status
    assert "stopped by SIG" in errors
    assert "Traceback" not in errors
    assert names(tmp_path) == ["disk.raw"]


def test_progress_as_json_ends_with_everything_done(
    vhdfast_cli: Run, small_disk: Path
) -> None:
    done = vhdfast_cli("convert", "--progress=json", "disk.raw", "out.vhd")
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["finished"] is True
    assert last["phase"] == "copying"
    assert last["done"] == last["total"] == 4096 + 63 * 4096 + 131072 + 512


def test_a_terminal_sees_a_bar_of_work_that_takes_long(tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(pattern(1, 96 * MIB))
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "vhdfast", "convert", "--rate=64M", "disk.raw", "out.vhd"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    done = subprocess.run(
        command, cwd=tmp_path, stderr=slave, stdout=subprocess.PIPE, env=environment, check=False
    )
    os.close(slave)
    shown = os.read(master, 1 << 16).decode()
    os.close(master)
    assert done.returncode == 0
    assert "copying" in shown
