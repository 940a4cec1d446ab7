"""The stand-in and qemu-img given the same command lines: the same answers and the same disks."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import MIB, pattern
from tests.support.standin import HANDED_OVER, answer

Qemu = Callable[..., str]

FORCED = ("-O", "vpc", "-o", "subformat=fixed,force_size")
ROUNDED = ("-O", "vpc", "-o", "subformat=fixed")


@pytest.fixture
def real(qemu_img: Qemu) -> str:
    path = shutil.which("qemu-img")
    assert path is not None
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A raw disk of 9 MiB and a half sector more: data, stored zeros, holes, and a last byte."""
    path = tmp_path / "disk.raw"
    with open(path, "wb") as file:
        file.truncate(9 * MIB + 256)
        for at, data in (
            (0, pattern(1, 512)),
            (MIB, pattern(2, 300_000)),
            (4 * MIB, bytes(200_000)),
            (6 * MIB + 512, pattern(3, 512)),
            (9 * MIB + 255, b"!"),
        ):
            file.seek(at)
            file.write(data)
    return path


def run(real: str, *words: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([real, *map(str, words)], capture_output=True)
    # Its carriage returns count.
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def both_convert(
    real: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: object
) -> tuple[Path, Path]:
    """convert by each of them, which must say the same; the targets."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    done = run(real, "convert", *words, theirs)
    capsys.readouterr()
    status, reason = answer(real, "convert", *words, ours)
    printed = capsys.readouterr()
    assert (status, reason) == (done.returncode, "")
    assert (printed.out, printed.err) == (done.stdout, done.stderr)
    return theirs, ours


def look(real: str, path: Path, format_name: str) -> tuple[int, int, int]:
    """(virtual size as qemu-img sees it, file size, permissions)."""
    info = json.loads(run(real, "info", "--output=json", "-f", format_name, path).stdout)
    status = path.stat()
    return info["virtual-size"], status.st_size, stat.S_IMODE(status.st_mode)


def make(real: str, tmp_path: Path, disk: Path, format_name: str, options: str = "") -> Path:
    """The disk as an image of qemu-img's own making."""
    path = tmp_path / f"image.{format_name}"
    extra = ["-o", options] if options else []
    done = run(real, "convert", "-f", "raw", "-O", format_name, *extra, disk, path)
    assert done.returncode == 0, done.stderr
    return path


SOURCES = {
    "raw": ("raw", ""),
    "qcow2": ("qcow2", ""),
    "qcow2-old": ("qcow2", "compat=0.10,cluster_size=4096"),
    "qcow2-subclusters": ("qcow2", "extended_l2=on,cluster_size=131072"),
    "vdi": ("vdi", ""),
    "vhdx": ("vhdx", ""),
    "vmdk": ("vmdk", ""),
    "vhd-dynamic": ("vpc", "force_size=on"),
    "vhd-dynamic-chs": ("vpc", ""),
    "vhd-fixed": ("vpc", "subformat=fixed,force_size=on"),
    "vhd-fixed-chs": ("vpc", "subformat=fixed"),
}


@pytest.mark.parametrize("named", ["named", "probed"])
@pytest.mark.parametrize("name", SOURCES)
def test_every_source_becomes_the_same_raw_disk(
    name: str, named: str, real: str, disk: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    format_name, options = SOURCES[name]
    source = disk if name == "raw" else make(real, tmp_path, disk, format_name, options)
    words = ["-f", format_name] if named == "named" else []
    theirs, ours = both_convert(real, tmp_path, capsys, *words, "-O", "raw", source)
    assert ours.read_bytes() == theirs.read_bytes()
    assert stat.S_IMODE(ours.stat().st_mode) == stat.S_IMODE(theirs.stat().st_mode)


@pytest.mark.parametrize("target", [FORCED, ROUNDED], ids=["force_size", "rounded"])
@pytest.mark.parametrize("name", ["raw", "qcow2", "vhdx", "vhd-fixed"])
def test_every_source_becomes_the_same_fixed_vhd(
    name: str, target: tuple[str, ...], real: str, disk: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    format_name, options = SOURCES[name]
    source = disk if name == "raw" else make(real, tmp_path, disk, format_name, options)
    theirs, ours = both_convert(real, tmp_path, capsys, "-f", format_name, *target, source)
    assert look(real, ours, "vpc") == look(real, theirs, "vpc")
    # All but the footer, and of the footer the geometry.
    assert ours.read_bytes()[:-512] == theirs.read_bytes()[:-512]
    assert ours.read_bytes()[-456:-452] == theirs.read_bytes()[-456:-452]


@pytest.mark.parametrize(
    "size",
    [
        512, 68 * 512, 98008576, 106910720, 133677568,
        1023 * 4 * 17 * 512, 1024 * 4 * 17 * 512 - 512, 1024 * 4 * 17 * 512,
        MIB, 500 * MIB + 512, 504 * MIB, 40 << 30, (65535 * 16 * 63 - 1) * 512,
        65535 * 16 * 63 * 512, 65535 * 16 * 255 * 512 - 512, 65535 * 16 * 255 * 512,
        65535 * 16 * 255 * 512 + 512, 200 << 30,
    ],
)  # fmt: skip
def test_sizes_are_rounded_to_the_same_geometry(
    size: int, real: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "empty.raw"
    with open(source, "wb") as file:
        file.truncate(size)
    theirs, ours = both_convert(real, tmp_path, capsys, "-f", "raw", *ROUNDED, source)
    assert look(real, ours, "vpc") == look(real, theirs, "vpc")
    geometry = []
    for path in (theirs, ours):
        with open(path, "rb") as file:
            file.seek(-456, os.SEEK_END)
            geometry.append(file.read(4))
    assert geometry[0] == geometry[1]


def test_a_chain_of_images_in_other_directories_is_followed(
    real: str, disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = make(real, tmp_path, disk, "qcow2")
    (tmp_path / "instances").mkdir()
    top = tmp_path / "instances" / "top.qcow2"
    assert not run(real, "create", "-f", "qcow2", "-b", base, "-F", "qcow2", top).returncode
    subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", "write -P 9 1M 64k", str(top)],
        check=True, capture_output=True,
    )  # fmt: skip
    theirs, ours = both_convert(real, tmp_path, capsys, "-t", "none", "-O", "raw", top)
    assert ours.read_bytes() == theirs.read_bytes()
    assert ours.read_bytes()[MIB : MIB + 65536] == b"\x09" * 65536


@pytest.mark.parametrize(
    "words",
    [
        ("-p",), ("-p", "-q"), ("-W", "-m", "16"), ("-S", "64k"), ("-t", "writeback"),
        ("-t", "none", "-T", "none"), ("-U",), ("--force-share",), ("-pqWU",), ("-Oraw",),
        ("-t", "directsync"), ("-S", "4096", "-S", "1M"), ("--",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_options_that_do_not_change_the_disk_are_taken(
    words: tuple[str, ...], real: str, disk: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    done = run(real, "convert", "-f", "raw", "-O", "raw", *words, disk, theirs)
    status, reason = answer(real, "convert", "-f", "raw", "-O", "raw", *words, disk, ours)
    assert (status, reason) == (done.returncode, "") == (0, "")
    assert ours.read_bytes() == theirs.read_bytes()
    printed = capsys.readouterr().out
    # How many steps there are is a matter of how it is done.
    assert (printed[:17], printed[-18:]) == (done.stdout[:17], done.stdout[-18:])
    assert printed.startswith("    (0.00/100%)\r") is ("-p" in words and "-q" not in words)


def test_progress_has_the_form_that_programs_read(
    real: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "big.raw"
    with open(source, "wb") as file:
        for index in range(40):
            file.write(pattern(index, MIB))
    line = re.compile(r"(    \(\d{1,3}\.\d\d/100%\)\r)+\n")
    words = ("convert", "-p", "-f", "raw", "-O", "raw", source)
    theirs = run(real, *words, tmp_path / "theirs").stdout
    assert answer(real, *words, tmp_path / "ours") == (0, "")
    ours = capsys.readouterr().out
    assert line.fullmatch(ours) and line.fullmatch(theirs)


def test_images_that_are_the_same_are_said_to_be(
    real: str, disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = make(real, tmp_path, disk, "qcow2")
    longer = tmp_path / "longer.raw"
    shutil.copyfile(disk, longer)
    os.truncate(longer, 12 * MIB)
    for words in (
        (disk, image),
        ("-f", "raw", "-F", "qcow2", disk, image),
        ("-f", "raw", "-F", "qcow2", longer, image),
        ("-q", "-f", "raw", "-F", "raw", longer, disk),
        ("-p", "-U", "-T", "writeback", "-f", "raw", "-F", "raw", disk, disk),
    ):
        done = run(real, "compare", *words)
        assert answer(real, "compare", *words) == (done.returncode, "") == (0, "")
        assert capsys.readouterr().out.splitlines()[-1:] == done.stdout.splitlines()[-1:]


def test_where_images_differ_qemu_img_says_it(real: str, disk: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.raw"
    shutil.copyfile(disk, other)
    with open(other, "r+b") as file:
        file.seek(6 * MIB)
        file.write(b"x")
    words = ("compare", "-f", "raw", "-F", "raw", disk, other)
    assert answer(real, *words) == (HANDED_OVER, "the images differ")


# ---- what is handed over ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("-c",), ("-n",), ("-C",), ("-r", "1M"), ("-l", "snap"), ("-B", "base"), ("-h",),
        ("--image-opts",), ("--object", "secret,id=a"), ("--salvage",), ("--target-is-zero",),
        ("--force",), ("--force-share=yes",), ("-S", "0"), ("-S", "1000"), ("-S", "32M"),
        ("-S", "010"), ("-m", "0"), ("-m", "17"), ("-m", "x"), ("-t", "fast"), ("-T", "none,x"),
        ("-o", "preallocation=full"), ("-O", "qcow2"), ("-O", "vpc"), ("-O", "vhdx"), ("-x",),
        ("-O", "vpc", "-o", "subformat=dynamic,force_size"),
        ("-O", "vpc", "-o", "subformat=fixed,force_size=yes"),
        ("-O", "vpc", "-o", "subformat=fixed,force_size,force_size=off"),
        ("-O", "vpc", "-o", "subformat=fixed,,force_size"),
        ("-O", "vpc", "-o", "subformat=fixed,"), ("-O", "vpc", "-o", "help"),
        ("-O", "vpc", "-o", ""), ("-O", "vpc", "-o", "subformat=fixed,size=5"),
        ("-f", "qed"), ("-f", "luks"), ("-f", "qcow2"), ("third",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_not_understood_is_handed_over_before_anything_is_written(
    words: tuple[str, ...], real: str, disk: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    before = sorted(os.listdir(tmp_path))
    status, reason = answer(real, "convert", *words, disk, target)
    assert status == HANDED_OVER and reason
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    "name",
    ["json:{}", "nbd://host/x", "nbd:host:1", "fat:/tmp", "file:disk.raw", "new/", "missing", ""],
)
def test_names_that_are_no_plain_files_are_handed_over(
    name: str, real: str, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert answer(real, "convert", "-O", "raw", name, "target")[0] == HANDED_OVER
    if name != "missing":
        assert answer(real, "convert", "-O", "raw", disk, name)[0] == HANDED_OVER
    assert answer(real, "convert", "-O", "raw", tmp_path, "target")[0] == HANDED_OVER


def test_compressed_vmdks_are_handed_over(real: str, disk: Path, tmp_path: Path) -> None:
    image = make(real, tmp_path, disk, "vmdk", "subformat=streamOptimized")
    status, reason = answer(real, "convert", "-f", "vmdk", "-O", "raw", image, tmp_path / "out")
    assert (status, "compressed" in reason) == (HANDED_OVER, True)


def test_a_disk_that_another_process_writes_to_is_handed_over(
    real: str, disk: Path, tmp_path: Path
) -> None:
    with subprocess.Popen(
        ["qemu-io", "-f", "raw", str(disk)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdin is not None and writer.stdout is not None
        assert b"qemu-io>" in writer.stdout.read(8)
        for share in ((), ("-U",)):
            words = ("convert", *share, "-f", "raw", "-O", "raw", disk, tmp_path / "target")
            status, reason = answer(real, *words)
            assert (status, "another process" in reason) == (HANDED_OVER, True)
            assert (run(real, *words).returncode == 0) is bool(share)
            (tmp_path / "target").unlink(missing_ok=True)
        writer.stdin.close()
    assert answer(real, "convert", "-O", "raw", disk, tmp_path / "target") == (0, "")
