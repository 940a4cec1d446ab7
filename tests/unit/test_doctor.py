"""What doctor finds: programs that behave like every qemu-img there was, and file systems."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import MIB
from tests.support.fake_qemu_img import (
    CHS,
    EXACT,
    NO_DRIVER,
    NO_OPTION,
    OLD_EXACT,
    fake_qemu_img,
)
from vhdfast import api
from vhdfast.doctor import EXAMINATIONS, Item, Request, State, codecs, kernels, nbd, programs
from vhdfast.doctor.directory import file_system
from vhdfast.doctor.file_size import FileSize
from vhdfast.doctor.holes import Holes
from vhdfast.doctor.qemu_img import QemuImg
from vhdfast.doctor.qemu_versions import parse_version
from vhdfast.doctor.sharing import Sharing
from vhdfast.errors import UsageError


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where trials are made: it must be empty again afterwards."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(path))
    return path


def examine(program: Path | str | None, temporary: Path) -> dict[str, Item]:
    path = None if program is None else str(program)
    found = {item.name: item for item in QemuImg().run(Request(qemu_img=path))}
    assert list(temporary.iterdir()) == []
    return found


# ---- versions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "shown", "exact", "forced"),
    [
        ("qemu-img version 0.12.1, Copyright (c) 2004-2008 Fabrice Bellard", "0.12.1", True, False),
        ("qemu-img version 1.5.3, Copyright (c) 2004-2008 Fabrice Bellard", "1.5.3", True, False),
        (
            "qemu-img version 2.0.0 (Debian 2.0.0+dfsg-2ubuntu1.46), Copyright (c) 2004-2008",
            "2.0.0 (Debian 2.0.0+dfsg-2ubuntu1.46)", True, False,
        ),
        ("qemu-img version 2.2.0, Copyright", "2.2.0", True, False),
        ("qemu-img version 2.2.1, Copyright", "2.2.1", False, False),
        (
            "qemu-img version 2.5.0 (Debian 1:2.5+dfsg-5ubuntu10.51), Copyright (c)",
            "2.5.0 (Debian 1:2.5+dfsg-5ubuntu10.51)", False, False,
        ),
        ("qemu-img version 2.5.1.1, Copyright", "2.5.1.1", False, False),
        ("qemu-img version 2.6.0-rc1, Copyright", "2.6.0-rc1", False, True),
        ("qemu-img version 2.12.0 (qemu-kvm-ev-2.12.0-44.1.el7_8.1)\nCopyright",
         "2.12.0 (qemu-kvm-ev-2.12.0-44.1.el7_8.1)", False, True),
        ("qemu-img version 10.1.3", "10.1.3", False, True),
    ],
)  # fmt: skip
def test_versions(printed: str, shown: str, exact: bool, forced: bool) -> None:
    version = parse_version(printed)
    assert version is not None
    assert str(version) == shown
    assert (version.writes_exact_sizes, version.has_force_size) == (exact, forced)


@pytest.mark.parametrize("printed", ["", "qemu-img version unknown", "7.2.0", "version 7.2"])
def test_what_is_no_version(printed: str) -> None:
    assert parse_version(printed) is None


# ---- qemu-img -----------------------------------------------------------------------------------


def test_a_current_one_needs_force_size(tmp_path: Path, temporary: Path) -> None:
    found = examine(fake_qemu_img(tmp_path / "qemu"), temporary)
    assert list(found) == ["program", "sizes"]
    sizes = found["sizes"]
    assert sizes.state is State.NOTE
    assert "67125248" in sizes.message
    command = sizes.details["commands"]["qemu_img"]
    assert command == (
        f"{tmp_path}/qemu convert -f FORMAT -O vpc -o subformat=fixed,force_size SRC DST.vhd"
    )
    assert sizes.remedy is not None and "vhdfast convert SRC DST.vhd" in sizes.remedy
    assert [trial["result"] for trial in sizes.details["trials"]] == ["rounded", "exact"]
    assert found["program"].details["version"] == "7.2.22"
    assert found["program"].details["package"] == "Debian 1:7.2"


def test_an_affected_one_is_a_problem(tmp_path: Path, temporary: Path) -> None:
    version = "echo 'qemu-img version 2.5.0 (Debian 1:2.5), Copyright'"
    found = examine(fake_qemu_img(tmp_path / "qemu", version, CHS, NO_OPTION), temporary)
    assert list(found) == ["program", "sizes"]
    assert found["sizes"].state is State.PROBLEM
    assert "cannot write a VHD of an exact size" in found["sizes"].message
    assert "Unknown option 'force_size'" in found["sizes"].message
    assert found["sizes"].details["commands"]["qemu_img"] is None


def test_one_that_ignores_force_size_is_a_problem(tmp_path: Path, temporary: Path) -> None:
    version = "echo 'qemu-img version 2.5.0, Copyright'"
    found = examine(fake_qemu_img(tmp_path / "qemu", version, CHS, CHS), temporary)
    assert found["sizes"].state is State.PROBLEM


def test_an_old_one_keeps_sizes(tmp_path: Path, temporary: Path) -> None:
    """Before 2.3 there was no --version: the help text says it, with status 1."""
    version = "echo 'qemu-img version 2.2.0, Copyright'; exit 1"
    found = examine(fake_qemu_img(tmp_path / "qemu", version, OLD_EXACT, NO_OPTION), temporary)
    assert list(found) == ["program", "sizes"]
    assert found["sizes"].state is State.OK
    assert "takes the footer for data" in found["sizes"].message
    assert "-o subformat=fixed SRC" in found["sizes"].details["commands"]["qemu_img"]


def test_a_version_that_only_the_help_tells(tmp_path: Path, temporary: Path) -> None:
    version = (
        'if [ "$1" = --help ]; then echo "qemu-img version 2.0.0, Copyright"; '
        'else echo "qemu-img: invalid option"; exit 1; fi'
    )
    found = examine(fake_qemu_img(tmp_path / "qemu", version, OLD_EXACT, NO_OPTION), temporary)
    assert found["program"].details["version"] == "2.0.0"


@pytest.mark.parametrize(
    ("version", "plain", "forced", "state"),
    [
        ("2.5.0", CHS, EXACT, State.NOTE),  # force_size was carried back
        ("2.5.0", OLD_EXACT, NO_OPTION, State.OK),  # the rounding was taken out
        ("2.2.0", CHS, NO_OPTION, State.PROBLEM),  # the rounding was carried back
        ("7.2.0", CHS, NO_OPTION, State.PROBLEM),
        ("7.2.0", EXACT, EXACT, State.OK),
    ],
)
def test_what_it_does_counts_not_its_number(
    version: str, plain: str, forced: str, state: State, tmp_path: Path, temporary: Path
) -> None:
    tells = f"echo 'qemu-img version {version} (Distribution)'"
    found = examine(fake_qemu_img(tmp_path / "qemu", tells, plain, forced), temporary)
    assert found["sizes"].state is state
    assert found["version"].state is State.NOTE
    assert version in found["version"].message
    assert "go by what it does" in (found["version"].remedy or "")


def test_without_the_driver(tmp_path: Path, temporary: Path) -> None:
    found = examine(fake_qemu_img(tmp_path / "qemu", plain=NO_DRIVER, forced=NO_DRIVER), temporary)
    assert list(found) == ["program", "sizes"]
    assert found["sizes"].state is State.PROBLEM
    assert "Unknown driver 'vpc'" in found["sizes"].message


def test_one_that_does_nothing_and_is_content(tmp_path: Path, temporary: Path) -> None:
    nothing = "rm $dst; exit 0"
    found = examine(fake_qemu_img(tmp_path / "qemu", plain=nothing, forced=nothing), temporary)
    assert found["sizes"].state is State.PROBLEM
    assert "wrote nothing" in found["sizes"].message


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("footer none", "does not end with a VHD footer"),
        ("footer broken", "wrong checksum"),
        ("footer dynamic", "type 3"),
        ("truncate -s 32M $dst; footer exact", "67108864 bytes, in a file of 33554944"),
        ("truncate -s 0 $dst; truncate -s 64M $dst; footer exact", "does not hold the disk"),
        (": > $dst", "does not end with a VHD footer"),
    ],
)
def test_what_is_no_vhd_of_the_disk(does: str, says: str, tmp_path: Path, temporary: Path) -> None:
    found = examine(fake_qemu_img(tmp_path / "qemu", plain=does, forced=does), temporary)
    assert found["sizes"].state is State.PROBLEM
    assert says in found["sizes"].message


def test_one_that_only_force_size_makes_right(tmp_path: Path, temporary: Path) -> None:
    found = examine(fake_qemu_img(tmp_path / "qemu", plain="footer none"), temporary)
    assert found["sizes"].state is State.WARNING
    assert "force_size" in found["sizes"].details["commands"]["qemu_img"]


def test_one_that_hangs(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "TIMEOUT_S", 0.3)
    started = time.monotonic()
    found = examine(fake_qemu_img(tmp_path / "qemu", "sleep 100"), temporary)
    assert list(found) == ["program"]
    assert found["program"].state is State.PROBLEM
    assert "did not end within 0.3 s" in found["program"].message
    assert time.monotonic() - started < 50


def test_one_that_hangs_where_it_converts(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "TIMEOUT_S", 1.0)
    forced = f"touch {tmp_path}/was-tried"
    found = examine(fake_qemu_img(tmp_path / "qemu", plain="sleep 100", forced=forced), temporary)
    assert found["sizes"].state is State.PROBLEM
    assert "did not end" in found["sizes"].message
    assert not (tmp_path / "was-tried").exists()


def test_nothing_of_one_that_hangs_is_left_running(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "TIMEOUT_S", 0.3)
    pids = tmp_path / "pids"
    examine(fake_qemu_img(tmp_path / "qemu", f"sleep 100 & echo $! $$ > {pids}; wait"), temporary)
    for pid in pids.read_text().split():
        state = Path(f"/proc/{pid}/stat")
        # Whoever takes in orphans may not have done so yet.
        assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_one_that_prints_without_end(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "TIMEOUT_S", 0.5)
    found = examine(fake_qemu_img(tmp_path / "qemu", "yes garbage"), temporary)
    assert found["program"].state is State.PROBLEM


def test_one_that_prints_garbage(tmp_path: Path, temporary: Path) -> None:
    found = examine(fake_qemu_img(tmp_path / "qemu", r"printf 'no\033[2J\377'"), temporary)
    assert found["program"].state is State.WARNING
    assert "\033" not in found["program"].message
    assert found["sizes"].state is State.NOTE, "it is tried all the same"


def test_one_that_is_killed(tmp_path: Path, temporary: Path) -> None:
    found = examine(fake_qemu_img(tmp_path / "qemu", "kill -SEGV $$"), temporary)
    assert found["program"].state is State.PROBLEM
    assert "signal 11" in found["program"].message


def test_what_is_no_program(tmp_path: Path, temporary: Path) -> None:
    path = tmp_path / "qemu"
    path.write_bytes(b"\x7fELF garbage")
    path.chmod(0o755)
    found = examine(path, temporary)
    assert list(found) == ["program"]
    assert "cannot be run" in found["program"].message


def test_a_program_that_is_not_there(tmp_path: Path, temporary: Path) -> None:
    with pytest.raises(UsageError, match="no program"):
        examine(tmp_path / "qemu", temporary)


def test_the_first_one_on_path(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "qemu-img").write_text("not executable")
    fake_qemu_img(tmp_path / "b" / "qemu-img")
    monkeypatch.setenv("PATH", f"{tmp_path}/a:{tmp_path}/b:{os.environ['PATH']}")
    found = examine(None, temporary)
    assert found["program"].details["path"] == f"{tmp_path}/b/qemu-img"
    assert found["sizes"].details["commands"]["qemu_img"].startswith("qemu-img convert ")


def test_our_own_stand_in_is_passed_over(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = fake_qemu_img(tmp_path / "lib" / "vhdfast-qemu-img", "touch $0-was-run")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "qemu-img").symlink_to(own)
    fake_qemu_img(tmp_path / "b" / "qemu-img")
    monkeypatch.setenv("PATH", f"{tmp_path}/a:{tmp_path}/b:{os.environ['PATH']}")
    found = examine(None, temporary)
    assert found["stand-in"].details["path"] == f"{tmp_path}/a/qemu-img"
    assert found["program"].details["path"] == f"{tmp_path}/b/qemu-img"
    command = found["sizes"].details["commands"]["qemu_img"]
    assert command.startswith(f"{tmp_path}/b/qemu-img convert"), "the name leads to the other one"
    assert list(examine(tmp_path / "a" / "qemu-img", temporary)) == ["stand-in"]
    assert not list(tmp_path.rglob("*-was-run"))


def test_a_script_that_starts_the_stand_in_is_passed_over(tmp_path: Path, temporary: Path) -> None:
    path = tmp_path / "qemu-img"
    path.write_text("#!/usr/bin/python3\nfrom vhdfast.qemu_img.main import main\nmain()\n")
    path.chmod(0o755)
    assert list(examine(path, temporary)) == ["stand-in"]


def test_one_that_closes_its_output_and_hangs(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "TIMEOUT_S", 0.3)
    found = examine(fake_qemu_img(tmp_path / "qemu", "exec >&- 2>&-; sleep 100"), temporary)
    assert list(found) == ["program"]
    assert "did not end within 0.3 s" in found["program"].message


def test_without_any(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(temporary))
    found = examine(None, temporary)
    assert found["program"].state is State.NOTE
    assert found["program"].details == {"path": None}


def test_the_one_of_this_machine(temporary: Path) -> None:
    path = shutil.which("qemu-img")
    if path is None:
        pytest.skip("qemu-img is not installed (apt install qemu-utils)")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    found = examine(path, temporary)
    assert found["program"].details["version"] == said.split()[2]
    assert [trial["result"] for trial in found["sizes"].details["trials"]] == ["rounded", "exact"]
    assert found["sizes"].details["trials"][0]["size"] == 67_125_248
    assert "version" not in found


# ---- vhdfast itself -----------------------------------------------------------------------------


def test_every_kernel_that_runs_is_right() -> None:
    found = {item.name: item for item in kernels.Kernels().run(Request())}
    assert list(found) == ["zero detection", "CRC-32C"]
    for item in found.values():
        assert item.state in (State.OK, State.NOTE)
        assert item.details["usable"][0] == item.details["chosen"]
        assert "scalar" in item.details["usable"]


def test_a_kernel_with_wrong_results_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels._native, "crc32c", lambda buffer, kernel: 1)
    found = {item.name: item for item in kernels.Kernels().run(Request())}
    assert found["CRC-32C"].state is State.PROBLEM
    assert found["zero detection"].state is not State.PROBLEM


def test_every_codec_decodes() -> None:
    blocks, streams = codecs.Codecs().run(Request())
    assert (blocks.state, streams.state) == (State.OK, State.OK)
    assert blocks.details["broken"] == []
    assert set(blocks.details["versions"]) == {"libdeflate", "zlib", "libzstd"}
    assert streams.details["readable"] == ["gzip", "xz", "bzip2", "zstd"]


def test_a_codec_that_decodes_wrong_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_ZSTD", bytes(25))
    blocks, _ = codecs.Codecs().run(Request())
    assert blocks.state is State.PROBLEM
    assert blocks.details["broken"] == ["zstd"]


def test_a_stream_whose_module_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_can_import", lambda module: module != "zstandard")
    _, streams = codecs.Codecs().run(Request())
    assert streams.state is State.WARNING
    assert streams.remedy == "pip install zstandard"


def test_without_libnbd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vhdfast.remote._libnbd.LIBRARY", "libnbd-that-is-not-there.so.0")
    (item,) = nbd.Nbd().run(Request())
    assert item.state is State.NOTE
    assert "apt install libnbd0" in (item.remedy or "")


# ---- directories --------------------------------------------------------------------------------


def test_a_directory(tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    items = api.doctor(qemu_img="/bin/true", directory=tmp_path)
    found = {item.name: item for item in items if item.group == "directory"}
    assert found["writable"].details == {"writable": True}
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert str(found["file system"].details["type"])[:3] == kind[:3]
    assert sorted(tmp_path.iterdir()) == before
    assert {item.group for item in items} == {kind.group for kind in EXAMINATIONS.values()}


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such directory"):
        api.doctor(directory=tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="no directory"):
        api.doctor(directory=tmp_path / "file")


def test_a_directory_that_takes_no_files() -> None:
    """Not even root makes files in /proc."""
    items = api.doctor(qemu_img="/bin/true", directory="/proc")
    found = {item.name: item for item in items if item.group == "directory"}
    problems = [name for name, item in found.items() if item.state is State.PROBLEM]
    assert problems == ["writable"]
    assert found["free space"].details == {"free": None}


def test_the_largest_file_is_what_the_limit_says(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from vhdfast import api; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300 << 20, 300 << 20)); "
        "items = api.doctor(qemu_img='/bin/true', directory=sys.argv[1]); "
        "print([i.details['largest_file'] for i in items if i.name == 'file size'])"
    )
    done = subprocess.run(
        ["python", "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"[{300 * MIB}]\n"


@pytest.mark.parametrize("kind", [Holes, Sharing, FileSize])
def test_nothing_is_left(kind: type[Holes], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert list(kind().run(Request(directory=str(tmp_path))))
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_system_that_does_not_tell_of_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, offset: int, whence: int) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr("vhdfast.doctor.holes.os.lseek", refuse)
    (item,) = Holes().run(Request(directory=str(tmp_path)))
    assert item.state is State.NOTE
    assert item.details == {"sparse": True, "seek_hole": False}


def test_a_file_system_that_says_that_all_is_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {os.SEEK_DATA: 0, os.SEEK_HOLE: 8 * MIB}
    monkeypatch.setattr("vhdfast.doctor.holes.os.lseek", lambda fd, offset, whence: ends[whence])
    (item,) = Holes().run(Request(directory=str(tmp_path)))
    assert item.details == {"sparse": True, "seek_hole": False}


def test_holes_on_a_file_system_without_any(as_root: None, tmp_path: Path) -> None:
    """FAT has none, and files of 4 GiB at most."""
    image, place = tmp_path / "fat", tmp_path / "mounted"
    place.mkdir()
    with open(image, "wb") as file:
        file.truncate(64 * MIB)
    if shutil.which("mkfs.vfat") is None:
        pytest.skip("mkfs.vfat is not installed (apt install dosfstools)")
    subprocess.run(["mkfs.vfat", image], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", image, place], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        items = api.doctor(qemu_img="/bin/true", directory=place)
    finally:
        subprocess.run(["umount", place], check=True)
    found = {item.name: item for item in items if item.group == "directory"}
    assert found["file system"].details["type"] == "vfat"
    assert found["holes"].state is State.WARNING
    assert "file size" not in found
    assert found["reflinks"].details == {"reflinks": False}


def test_where_a_path_lies(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "2 1 8:2 / /mnt rw,noatime shared:1 - ext4 /dev/sda2 rw\n"
        "3 1 8:3 / /mnt rw shared:2 master:1 - xfs /dev/sda3 rw\n"
        "4 1 8:4 / /mnt\\040out rw - btrfs /dev/sda4 rw\n"
        "broken\n"
    )
    assert file_system("/", str(mounts)) == ("ext4", "/")
    assert file_system("/mnt/below", str(mounts)) == ("xfs", "/mnt")
    assert file_system("/mnt out/x", str(mounts)) == ("btrfs", "/mnt out")
    assert file_system("/mntx", str(mounts)) == ("ext4", "/")
    assert file_system("/", str(tmp_path / "missing")) is None
