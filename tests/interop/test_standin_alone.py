"""Where there is no qemu-img: the words and numbers are those of qemu-img 7.2."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import MIB, pattern
from tests.support.standin import HANDED_OVER, answer, environment, install
from vhdfast.qemu_img.printing import human_size

Qemu = Callable[..., str]


@pytest.fixture
def like(qemu_img: Qemu) -> None:
    """The installed qemu-img is the one whose form is promised."""
    version = qemu_img("--version").split()[2]
    if not version.startswith("7.2"):
        pytest.skip(f"compares with qemu-img 7.2, {version} is installed")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of images, all of one disk but the one with a backing file."""
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is not installed (apt install qemu-utils)")
    directory = tmp_path_factory.mktemp("images")
    with open(directory / "disk.raw", "wb") as file:
        file.truncate(5 * MIB)
        file.seek(MIB)
        file.write(pattern(1, 12345))
        file.seek(5 * MIB - 512)
        file.write(pattern(2, 512))
    for name, format_name, options in (
        ("new.qcow2", "qcow2", "compat=1.1"),
        ("old.qcow2", "qcow2", "compat=0.10"),
        ("odd.qcow2", "qcow2",
         "extended_l2=on,lazy_refcounts=on,compression_type=zstd,refcount_bits=1"),
        ("disk.vdi", "vdi", "static=off"),
        ("disk.vhdx", "vhdx", "subformat=dynamic"),
        ("dynamic.vhd", "vpc", "force_size=on"),
        ("fixed.vhd", "vpc", "subformat=fixed,force_size=on"),
    ):  # fmt: skip
        words = ["convert", "-f", "raw", "-O", format_name, "-o", options, "disk.raw", name]
        subprocess.run(["qemu-img", *words], cwd=directory, check=True)
    words = ["create", "-q", "-f", "qcow2", "-b", "new.qcow2", "-F", "qcow2", "top.qcow2"]
    subprocess.run(["qemu-img", *words], cwd=directory, check=True)
    return directory


ALIKE = [
    "info disk.raw", "info -f raw ./disk.raw", "info --output=json disk.raw",
    "info --output json --backing-chain disk.raw", "info -U disk.vdi", "info disk.vhdx",
    "info --output=json disk.vhdx", "info dynamic.vhd", "info fixed.vhd", "info -f vpc fixed.vhd",
    "info --output=json -f vpc fixed.vhd", "info new.qcow2", "info --output=json new.qcow2",
    "info old.qcow2", "info --output=json old.qcow2", "info --backing-chain odd.qcow2",
    "info --output=json odd.qcow2",
    "map disk.raw", "map --output=json disk.raw", "map --output=json -f raw fixed.vhd",
    "measure disk.raw", "measure -O raw --output=json new.qcow2", "measure --size 1G -O raw",
    "check disk.raw", "check -f vpc fixed.vhd", "check -q -f raw --output=json disk.raw",
    "compare disk.raw new.qcow2", "convert -O raw new.qcow2 out.raw",
]  # fmt: skip


@pytest.mark.usefixtures("like")
@pytest.mark.parametrize("line", ALIKE)
def test_answers_are_those_of_qemu_img(
    line: str, images: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(images)
    theirs = subprocess.run(["qemu-img", *line.split()], capture_output=True, text=True)
    capfd.readouterr()
    status, reason = answer(None, *line.split())
    printed = capfd.readouterr()
    assert (status, reason) == (theirs.returncode, "")
    assert (printed.out, printed.err) == (theirs.stdout, theirs.stderr)


CHANGES = [
    "create new.raw 3M", "create -f raw new.raw 1000", "create -q new.raw 1536k",
    "create -f vpc -o subformat=fixed,force_size new.vhd 10M",
    "create -f vpc -o force_size=on -o subformat=fixed new.vhd 10M",
    "create -f vpc -o subformat=fixed new.vhd 10M", "create disk.raw 1M",
    "resize -f raw disk.raw 8M", "resize -f raw disk.raw +512", "resize -q -f raw disk.raw 5M",
]  # fmt: skip


@pytest.mark.usefixtures("like")
@pytest.mark.parametrize("line", CHANGES)
def test_files_are_made_and_grow_as_by_qemu_img(
    line: str,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    ours_in, theirs_in = tmp_path / "ours", tmp_path / "theirs"
    for directory in (ours_in, theirs_in):
        directory.mkdir()
        shutil.copy(images / "disk.raw", directory)
    theirs = subprocess.run(
        ["qemu-img", *line.split()], cwd=theirs_in, capture_output=True, text=True
    )
    monkeypatch.chdir(ours_in)
    capfd.readouterr()
    assert answer(None, *line.split()) == (theirs.returncode, "") == (0, "")
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == (theirs.stdout, theirs.stderr)
    for name in os.listdir(theirs_in):
        mine, other = (ours_in / name).read_bytes(), (theirs_in / name).read_bytes()
        assert len(mine) == len(other)
        if name.endswith(".vhd"):  # creator, time and identifier are one's own
            mine, other = mine[:-512] + mine[-456:-452], other[:-512] + other[-456:-452]
        assert mine == other


@pytest.mark.parametrize(
    "line",
    [
        "resize -f raw disk.raw 1M", "resize --shrink -f raw disk.raw 1M",
        "resize -f raw disk.raw -1M", "resize -f vpc fixed.vhd 10M", "resize disk.raw 1000",
        "create -f qcow2 new.qcow2 1M", "create new.raw 1.5M", "create -b base new.raw",
        "create -f raw -o preallocation=full new.raw 1M", "create new.raw",
        "info top.qcow2", "info disk.raw other", "info --output=xml disk.raw", "info missing",
        "map new.qcow2", "map --start-offset=0 disk.raw", "check new.qcow2",
        "check -r all disk.raw",
        "measure -O qcow2 disk.raw", "measure --size 1G disk.raw", "measure -O raw",
        "snapshot -l new.qcow2", "rebase -b x new.qcow2", "dd if=a of=b", "commit x", "amend x",
        "bench x", "bitmap x", "nothing", "--help", "-T trace info x", "",
    ],
)  # fmt: skip
def test_what_is_not_known_is_an_error_and_changes_nothing(
    line: str, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {
            path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in images.iterdir()
        }

    monkeypatch.chdir(images)
    before = state()
    assert answer(None, *line.split())[0] == HANDED_OVER
    assert state() == before


def test_names_that_would_be_escaped_are_not_printed(tmp_path: Path) -> None:
    for name in ("naïve.raw", "it's.raw", "a\tb.raw"):
        (tmp_path / name).write_bytes(bytes(512))
        assert answer(None, "info", "-f", "raw", tmp_path / name)[0] == HANDED_OVER


def test_the_program_says_what_is_missing(tmp_path: Path) -> None:
    script = install(tmp_path / "bin")
    env = {**environment(), "PATH": str(tmp_path / "bin")}
    (tmp_path / "disk.raw").write_bytes(bytes(MIB))
    done = subprocess.run(
        [script, "convert", "-c", "-O", "qcow2", "disk.raw", "disk.qcow2"],
        cwd=tmp_path, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("qemu-img: -c is not served. This needs qemu-img itself: install")
    done = subprocess.run([script, "--version"], env=env, capture_output=True, text=True)
    assert re.match(r"qemu-img version 7\.2\.0 \(stand-in: vhdfast ", done.stdout)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (1, "1 B"), (512, "512 B"), (999, "999 B"), (1000, "0.977 KiB"),
        (200704, "196 KiB"), (1265664, "1.21 MiB"), (1023 << 10, "0.999 MiB"), (1 << 20, "1 MiB"),
        (10514432, "10 MiB"), (1 << 40, "1 TiB"), (130048 << 20, "127 GiB"),
    ],
)  # fmt: skip
def test_sizes_for_people(size: int, text: str) -> None:
    assert human_size(size) == text


@given(st.integers(0, (1 << 62) - 1))
def test_sizes_for_people_have_three_digits(size: int) -> None:
    number, unit = human_size(size).split()
    assert re.fullmatch(r"\d{1,3}|\d{1,2}\.\d{1,2}|0\.\d{1,3}", number), number
    factor = 1024 ** ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].index(unit)
    assert abs(float(number) * factor - size) <= size * 0.005


@pytest.mark.usefixtures("like")
def test_sizes_for_people_are_those_of_qemu_img(qemu_img: Qemu, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    for size in (512, 1024, 999 * 1024, 1000 * 1024, 1023 << 20, 2047 << 30, 12345 * 512):
        with open(path, "wb") as file:
            file.truncate(size)
        line = qemu_img("info", "-f", "raw", path).splitlines()[2]
        assert line == f"virtual size: {human_size(size)} ({size} bytes)"
