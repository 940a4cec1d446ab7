"""vhdfast bench, as a user calls it."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from vhdfast.cli import main

# Writes what vhdfast wrote, whatever it is asked to; compare ends with {compare}.
COPIER = """#!/bin/sh
case "$1" in --version) echo 'qemu-img version 99.0'; exit;; compare) exit {compare};; esac
for target; do :; done
cp {right} "$target"
"""
WRONG_BYTE = 'printf x | dd of="$target" bs=1 seek=1048576 conv=notrunc status=none\n'


def program(path: Path, script: str) -> Path:
    path.write_text(script)
    path.chmod(0o755)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_an_image_beside_qemu_img(
    vhdfast_cli: Run, small_disk: Path, out: Path, qemu_img: Callable[..., str]
) -> None:
    before = small_disk.read_bytes()
    done = vhdfast_cli("bench", small_disk, "--pairs=1", "--directory=out")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any("raw, 5.00 MiB with " in line and "warm cache" in line for line in lines)
    (row,) = [line for line in lines if line.startswith("vhdfast ")]
    assert row.split()[-3:] == ["1.00", "1.00", "1.00"]
    assert sum(line.startswith("qemu-img ") and not line.endswith("s") for line in lines) == 3
    digest = vhdfast_cli("hash", small_disk).stdout.split()[0]
    assert lines[-1] == f"all wrote the same disk: {digest}"
    assert list(out.iterdir()) == []
    assert small_disk.read_bytes() == before


def test_a_recipe_as_json(vhdfast_cli: Run, out: Path, qemu_img: Callable[..., str]) -> None:
    done = vhdfast_cli(
        "bench", "--recipe=files", "--as=vhdx", "--data=2M", "--pairs=1", "--cold",
        "--directory=out", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["schema"] == "vhdfast.bench/1"
    assert (answer["source"], answer["format"], answer["cache"]) == ("files", "vhdx", "cold")
    assert answer["virtual_size"] == 32 << 20
    names = [engine["name"] for engine in answer["engines"]]
    assert names == ["vhdfast", "qemu-img", "qemu-img -m 16 -W", "qemu-img -m 16 -W -t none"]
    assert list(answer["rows"]) == names
    order = [(sample["round"], sample["engine"]) for sample in answer["samples"]]
    assert order == [(0, name) for name in names]
    assert answer["rows"]["vhdfast"]["wall_ratios"] == [1.0]
    assert list(out.iterdir()) == []


def test_a_wrong_byte_is_no_benchmark(vhdfast_cli: Run, small_disk: Path, out: Path) -> None:
    right = vhdfast_cli("convert", "--quiet", "--align=512", small_disk, "right.vhd")
    assert right.returncode == 0
    script = COPIER.format(right=out.parent / "right.vhd", compare=0) + WRONG_BYTE
    liar = program(out.parent / "liar", script)
    done = vhdfast_cli("bench", small_disk, f"--qemu-img={liar}", "--directory=out")
    assert done.returncode == 5
    assert "qemu-img wrote another disk than vhdfast read" in done.stderr
    assert "[verify]" in done.stderr
    assert list(out.iterdir()) == []


def test_what_qemu_img_compare_denies_is_no_benchmark(
    vhdfast_cli: Run, small_disk: Path, out: Path
) -> None:
    vhdfast_cli("convert", "--quiet", "--align=512", small_disk, "right.vhd")
    script = COPIER.format(right=out.parent / "right.vhd", compare=1)
    denier = program(out.parent / "denier", script)
    done = vhdfast_cli("bench", small_disk, f"--qemu-img={denier}", "--directory=out")
    assert done.returncode == 5
    assert "qemu-img compare says that qemu-img and vhdfast wrote different disks" in done.stderr
    assert list(out.iterdir()) == []


def test_a_qemu_img_that_fails_is_quoted(vhdfast_cli: Run, small_disk: Path, out: Path) -> None:
    broken = program(out.parent / "broken", "#!/bin/sh\necho it hurts >&2; exit 1\n")
    done = vhdfast_cli("bench", small_disk, f"--qemu-img={broken}", "--directory=out")
    assert done.returncode == 5
    assert "qemu-img ended with status 1: it hurts" in done.stderr
    assert list(out.iterdir()) == []


def test_stopping_it_leaves_nothing_behind(small_disk: Path, out: Path) -> None:
    script = f"#!/bin/sh\necho $$ > {out.parent}/new; mv {out.parent}/new {out.parent}/pid\n"
    slow = program(out.parent / "slow", script + "exec sleep 60\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "vhdfast", "bench", small_disk, f"--qemu-img={slow}",
         f"--directory={out}"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    while not (out.parent / "pid").exists() and process.poll() is None:
        time.sleep(0.05)
    assert list(out.iterdir()) != []
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "stopped by SIGINT" in said
    assert list(out.iterdir()) == []
    pid = (out.parent / "pid").read_text().strip()
    assert not Path("/proc", pid).exists()


def test_too_little_room_is_refused_before_anything_is_written(
    small_disk: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    none = program(out.parent / "none", "#!/bin/sh\nexit 1\n")
    monkeypatch.setattr("vhdfast.benchmark.running.free_space", lambda directory: 64 << 20)
    words = ["bench", f"--qemu-img={none}", f"--directory={out}"]
    assert main([*words, "--recipe=files"]) == 5
    assert main([*words, str(small_disk)]) == 5
    assert main([*words, "--recipe=islands", "--as=vdi"]) == 5
    said = capsys.readouterr()
    assert said.err.count("[no-space]") == 3
    assert "3.06 GiB are needed, 64 MiB are free" in said.err
    # Every one of the 16 384 blocks of 1 MiB holds an island.
    assert "16.81 GiB are needed" in said.err
    assert "writing" not in said.out
    assert list(out.iterdir()) == []


def test_an_image_that_qemu_img_does_not_read(
    vhdfast_cli: Run, small_disk: Path, out: Path
) -> None:
    packed = small_disk.with_suffix(".raw.gz")
    packed.write_bytes(gzip.compress(small_disk.read_bytes()))
    none = program(out.parent / "none", "#!/bin/sh\nexit 1\n")
    done = vhdfast_cli("bench", packed, f"--qemu-img={none}", "--directory=out")
    assert done.returncode == 4
    assert "[unsupported-image]" in done.stderr
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs an image or --recipe"),
        (["disk.raw", "--recipe=files"], "needs an image or --recipe"),
        (["disk.raw", "--as=vhdx"], "belong to --recipe"),
        (["disk.raw", "--data=1G"], "belong to --recipe"),
        (["--recipe=files", "--from=raw"], "use --as"),
        (["--recipe=none"], "one of: files, islands, zeros, empty"),
        (["--recipe=empty", "--data=1G"], "has no data"),
        (["--recipe=files", "--as=qcow"], "one of: qcow2, raw, vdi, vhd, vhdx, vmdk"),
        (["disk.raw", "--pairs=0"], "at least 1"),
        (["https://host/disk.raw"], "reads local files"),
    ],
)
def test_wrong_command_lines(
    words: list[str], said: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = program(out.parent / "none", "#!/bin/sh\nexit 1\n")
    assert main(["bench", *words, f"--qemu-img={none}", f"--directory={out}"]) == 2
    assert said in capsys.readouterr().err
    assert list(out.iterdir()) == []


def test_without_a_qemu_img(
    small_disk: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(out))
    assert main(["bench", str(small_disk)]) == 2
    assert "name a program with --qemu-img" in capsys.readouterr().err


def test_a_directory_that_is_not_there(
    small_disk: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = program(out.parent / "none", "#!/bin/sh\nexit 1\n")
    words = ["bench", str(small_disk), f"--qemu-img={none}", f"--directory={out / 'no'}"]
    assert main(words) == 5
    assert "[write]" in capsys.readouterr().err


def test_a_disk_too_large_for_qemus_vhd_is_written_raw(
    vhdfast_cli: Run, tmp_path: Path, out: Path, qemu_img: Callable[..., str]
) -> None:
    qemu_img("create", "-f", "qcow2", tmp_path / "large.qcow2", "2041G")
    done = vhdfast_cli("bench", "large.qcow2", "--pairs=1", "--directory=out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["target_format"] == "raw"
