"""repair and resize as a user calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import MIB, SparseFile, build_gpt, pattern, poke
from tests.support.build_vhd import fixed
from vhdfast.cli import main

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """cli("repair", …): (exit status, stdout, stderr), in the test's directory."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        status = main(list(words))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A fixed VHD that qemu might have rounded to its geometry, with a wrong checksum."""
    image = SparseFile(2 * MIB + 16384)
    image.put(0, build_gpt.mbr_sector(build_gpt.mbr_entry(0x83, 1, 2047)))
    image.put(4096, pattern(1, 4096))
    path = fixed(image, saved_state=1).write(tmp_path / "disk.vhd")
    poke(path, 2 * MIB + 16384 + 64, bytes(4))
    return path


def document(text: str, schema: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    assert found.pop("schema") == schema
    return found


# ---- repair -------------------------------------------------------------------------------------


def test_repair_shows_what_it_would_do(cli: Cli, disk: Path) -> None:
    before = disk.read_bytes()
    status, out, err = cli("repair", "disk.vhd")
    assert (status, err) == (0, "")
    assert out == (
        "would repair: the footer's checksum is damaged\n"
        "would repair: the size, 2.02 MiB (2113536 bytes), is no multiple of 1 MiB (1048576 "
        "bytes)\n"
        "left as it is: the machine was saved, not shut down: its memory is not in this image; "
        "--clear-saved-state removes the mark\n"
        "virtual size: 2.02 MiB (2113536 bytes) -> 3 MiB (3145728 bytes)\n"
        "would write, each stage durable before the next:\n"
        "  stage 1  at 0x300000, 512 bytes: footer: for a disk of 3145728 bytes\n"
        "  stage 2  at 0x204000, 512 bytes: old footer: zeroed, now part of the disk\n"
        "nothing was written; --apply does it\n"
    )
    assert disk.read_bytes() == before
    assert os.listdir() == ["disk.vhd"]


def test_repair_as_json(cli: Cli, disk: Path) -> None:
    status, out, _ = cli("repair", "--json", "disk.vhd")
    plan = document(out, "vhdfast.repair-plan/1")
    assert status == 0
    assert (plan["path"], plan["subformat"]) == ("disk.vhd", "fixed")
    assert (plan["old_size"], plan["new_size"]) == (2 * MIB + 16384, 3 * MIB)
    assert [(one["code"], one["repaired"]) for one in plan["findings"]] == [
        ("footer-checksum", True), ("size-alignment", True), ("saved-state", False)
    ]  # fmt: skip
    assert set(plan["findings"][0]) == {"code", "message", "repaired", "offset"}
    assert plan["steps"][1] == {
        "stage": 2, "offset": 2 * MIB + 16384, "length": 512, "what": "old footer",
        "meaning": "zeroed, now part of the disk",
    }  # fmt: skip


def test_repair_applies_and_undoes(cli: Cli, disk: Path) -> None:
    before = disk.read_bytes()
    status, out, _ = cli("repair", "--apply", "disk.vhd")
    assert status == 0
    undo_file = disk.with_name(".disk.vhd.vhdfast-undo")
    assert out.splitlines() == [
        "repair: done",
        f"undo file: {undo_file} (--undo; remove it when you need it no more)",
    ]
    assert disk.stat().st_size == 3 * MIB + 512
    status, out, _ = cli("repair", "--undo", "--json", "disk.vhd")
    answer = document(out, "vhdfast.in-place/1")
    assert status == 0
    assert (answer["action"], answer["title"], answer["undo_file"]) == ("undone", "repair", None)
    assert [step["what"] for step in answer["steps"]] == ["footer", "old footer"]
    assert disk.read_bytes() == before
    assert not undo_file.exists()


def test_repair_options(cli: Cli, disk: Path) -> None:
    status, out, _ = cli(
        "repair", "--json", "--align=64K", "--shrink", "--clear-saved-state", "disk.vhd"
    )
    plan = document(out, "vhdfast.repair-plan/1")
    assert (status, plan["new_size"]) == (0, 2 * MIB)
    assert plan["steps"][-1] == {
        "stage": 2, "offset": None, "length": 2 * MIB + 512, "what": "file size",
        "meaning": "2114048 -> 2097664 bytes",
    }  # fmt: skip
    assert plan["findings"][-1]["repaired"]


def test_the_undo_file_goes_where_it_is_told_to(cli: Cli, disk: Path) -> None:
    before = disk.read_bytes()
    assert cli("repair", "--apply", "--undo-file", "undo", "disk.vhd")[0] == 0
    assert sorted(os.listdir()) == ["disk.vhd", "undo"]
    assert cli("repair", "--undo", "disk.vhd")[0] == 6
    assert cli("repair", "--undo", "--undo-file", "undo", "disk.vhd")[0] == 0
    assert disk.read_bytes() == before


def test_nothing_to_repair(cli: Cli, tmp_path: Path) -> None:
    fixed(SparseFile(MIB)).write(tmp_path / "good.vhd")
    assert cli("repair", "good.vhd")[:2] == (0, "nothing to repair\n")
    assert cli("repair", "--apply", "good.vhd")[:2] == (0, "nothing to do\n")


def test_what_is_refused(cli: Cli, disk: Path, small_disk: Path) -> None:
    before = disk.read_bytes()
    status, out, _ = cli("repair", "--json", "--apply", "disk.raw")
    error = document(out, "vhdfast.error/1")["error"]
    assert (status, error["code"]) == (4, "unsupported-image")
    with open(disk, "r+b"):
        status, out, _ = cli("repair", "--json", "--apply", "disk.vhd")
    assert (status, document(out, "vhdfast.error/1")["error"]["code"]) == (6, "in-use")
    poke(disk, 2 * MIB + 16384 + 8, bytes(4))
    status, out, _ = cli("repair", "--json", "--apply", "disk.vhd")
    assert (status, document(out, "vhdfast.error/1")["error"]["code"]) == (4, "unproven")
    assert disk.read_bytes() == before[:-512] + disk.read_bytes()[-512:]
    status, out, _ = cli("repair", "--json", "--undo", "disk.vhd")
    assert (status, document(out, "vhdfast.error/1")["error"]["code"]) == (6, "undo")
    assert cli("repair", "--undo", "--apply", "disk.vhd")[0] == 2


# ---- resize -------------------------------------------------------------------------------------


def test_resize_shows_what_it_would_do(cli: Cli, small_disk: Path) -> None:
    status, out, err = cli("resize", "disk.raw", "+1G", "--align")
    assert (status, err) == (0, "")
    assert out == (
        "virtual size: 5.00 MiB (5243392 bytes) -> 1.01 GiB (1080033280 bytes)\n"
        "would write, each stage durable before the next:\n"
        "  stage 1  file size: 5243392 -> 1080033280 bytes\n"
        "nothing was written; --apply does it\n"
    )
    assert small_disk.stat().st_size == 5243392


@pytest.mark.parametrize(
    ("words", "size"),
    [(["64M"], 64), (["+3M", "--align"], 9), (["--align"], 6), (["--align=4M"], 8)],
)
def test_resize_applies_and_undoes(cli: Cli, small_disk: Path, words: list[str], size: int) -> None:
    status, out, _ = cli("resize", "--apply", "--json", "disk.raw", *words)
    answer = document(out, "vhdfast.in-place/1")
    assert (status, answer["action"], answer["title"]) == (0, "changed", "resize")
    assert small_disk.stat().st_size == size * MIB
    assert cli("resize", "--undo", "disk.raw")[0] == 0
    assert small_disk.stat().st_size == 5243392


def test_resize_as_json(cli: Cli, tmp_path: Path) -> None:
    build_gpt.Gpt(4096).build().write(tmp_path / "disk.raw")
    status, out, err = cli("resize", "--json", "disk.raw", "4M")
    plan = document(out, "vhdfast.resize-plan/1")
    assert status == 0
    assert (plan["format"], plan["old_size"], plan["new_size"]) == ("raw", 2 * MIB, 4 * MIB)
    assert [notice["code"] for notice in plan["notices"]] == ["gpt-backup"]
    assert "--relocate-gpt" in err
    _, out, err = cli("resize", "--json", "--relocate-gpt", "disk.raw", "4M")
    plan = document(out, "vhdfast.resize-plan/1")
    assert (plan["notices"], err) == ([], "")
    assert {step["what"] for step in plan["steps"]} >= {"file size", "backup GPT header"}


@pytest.mark.parametrize(
    "words", [[], ["-1G"], ["big"], ["+"], ["4M", "--undo"], ["1M"], ["4M", "--from", "qcow2"]]
)
def test_wrong_command_lines(cli: Cli, small_disk: Path, words: list[str]) -> None:
    before = small_disk.stat().st_mtime_ns
    assert cli("resize", "disk.raw", *words)[0] == 2
    assert small_disk.stat().st_mtime_ns == before


DYING = """
import os, sys
from vhdfast.cli import main
from vhdfast.edits import System

syncs, real = iter(range(9)), System.sync
System.sync = lambda self, fd: real(self, fd) if next(syncs) < 3 else os._exit(9)
main(sys.argv[1:])
"""


def test_an_interrupted_resize_is_completed_and_not_made_twice(cli: Cli, tmp_path: Path) -> None:
    path = fixed(SparseFile(MIB)).write(tmp_path / "disk.vhd")
    words = ["resize", "--apply", "disk.vhd", "+1M"]
    assert subprocess.run([sys.executable, "-c", DYING, *words]).returncode == 9
    status, out, _ = cli("resize", "--json", "disk.vhd", "+1M")
    assert (status, document(out, "vhdfast.error/1")["error"]["code"]) == (6, "undo")
    status, out, err = cli("resize", "--apply", "disk.vhd", "+1M")
    assert status == 0
    assert "completed a resize that was interrupted" in out
    assert "the size now asked for was not set" in err
    assert path.stat().st_size == 2 * MIB + 512
