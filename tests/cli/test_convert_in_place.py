"""convert --in-place as a user calls it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import KIB, MIB, SparseFile, build_gpt, pattern
from tests.support.build_vhd import fixed
from vhdfast import edits
from vhdfast.cli import main

Cli = Callable[..., tuple[int, str, str]]
SIZE = 2 * MIB + 64 * KIB


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """cli("convert", …): (exit status, stdout, stderr), in the test's directory."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["convert", *words])
        printed = capsys.readouterr()
        return status, re.sub(r"time: .*", "time: …", printed.out), printed.err

    return run


def image() -> SparseFile:
    made = SparseFile(SIZE)
    made.put(0, build_gpt.mbr_sector(build_gpt.mbr_entry(0x83, 1, 2047)))
    made.put(4096, pattern(1, 4096))
    return made


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return image().write(tmp_path / "disk.raw")


def document(text: str, schema: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    assert found.pop("schema") == schema
    return found


def test_a_dry_run(cli: Cli, disk: Path) -> None:
    before = disk.stat()
    status, out, err = cli("--in-place", "--dry-run", "disk.raw")
    assert (status, err) == (0, "")
    assert out == (
        "file:         disk.raw -> disk.vhd\n"
        "format:       raw -> fixed-vhd\n"
        "virtual size: 2.06 MiB (2162688 bytes) -> 3 MiB (3145728 bytes)\n"
        "file size:    2.06 MiB (2162688 bytes) -> 3.00 MiB (3146240 bytes)\n"
        "would write, each stage durable before the next:\n"
        "  stage 1  at 0x300000, 512 bytes: footer: for a disk of 3145728 bytes\n"
        "nothing was written\n"
    )
    assert disk.stat().st_mtime_ns == before.st_mtime_ns
    assert os.listdir() == ["disk.raw"]


def test_what_was_done_and_the_way_back(cli: Cli, disk: Path) -> None:
    before = disk.read_bytes()
    status, out, err = cli("--in-place", "disk.raw")
    assert (status, err) == (0, "")
    assert out == (
        "file:         disk.raw -> disk.vhd\n"
        "format:       raw -> fixed-vhd\n"
        "virtual size: 2.06 MiB (2162688 bytes) -> 3 MiB (3145728 bytes)\n"
        "file size:    2.06 MiB (2162688 bytes) -> 3.00 MiB (3146240 bytes)\n"
        "wrote:        512 bytes\n"
        "undo:         vhdfast convert --to raw --in-place disk.vhd (leaves the aligned size; "
        "--keep-undo keeps the one before)\n"
        "time: …\n"
    )
    status, out, err = cli("--to", "raw", "--in-place", "disk.vhd")
    assert (status, err) == (0, "")
    assert out == (
        "file:         disk.vhd -> disk.raw\n"
        "format:       fixed-vhd -> raw\n"
        "virtual size: 3 MiB (3145728 bytes), unchanged\n"
        "file size:    3.00 MiB (3146240 bytes) -> 3 MiB (3145728 bytes)\n"
        "note:         there is no undo file of a conversion, so the disk keeps the size of the "
        "VHD\n"
        "wrote:        nothing but size or name\n"
        "undo:         not possible (--keep-undo keeps what it takes)\n"
        "time: …\n"
    )
    assert os.listdir() == ["disk.raw"]
    assert disk.read_bytes() == before.ljust(3 * MIB, b"\0")


def test_with_its_undo_file(cli: Cli, disk: Path) -> None:
    before = disk.read_bytes()
    status, out, _ = cli("--in-place", "--keep-undo", "disk.raw")
    undo_file = disk.with_name(".disk.vhd.vhdfast-undo")
    assert "undo:         vhdfast convert --to raw --in-place disk.vhd\n" in out
    assert f"undo file:    {undo_file}\n" in out
    status, out, _ = cli("--to=raw", "--in-place", "--dry-run", "disk.vhd")
    assert (status, out.splitlines()[-2:]) == (
        0,
        [
            "  stage 1  at 0x300000, 512 bytes: footer: for a disk of 3145728 bytes",
            "nothing was written",
        ],
    )
    assert "would take back:" in out
    status, out, _ = cli("--to=raw", "--in-place", "disk.vhd")
    assert (status, out.splitlines()[0]) == (0, "took back: convert raw to fixed-vhd")
    assert disk.read_bytes() == before
    assert os.listdir() == ["disk.raw"]


def test_a_name_for_the_shell(cli: Cli, disk: Path) -> None:
    disk.rename(disk.with_name("my disk"))
    _, out, _ = cli("--in-place", "my disk", "--align=64K")
    assert "undo:         vhdfast convert --to raw --in-place 'my disk.vhd'\n" in out


def test_a_rename_alone(cli: Cli, tmp_path: Path) -> None:
    made = SparseFile(MIB)
    made.put(0, image().get(0, MIB))
    fixed(made).write(tmp_path / "disk.raw")
    _, out, _ = cli("--in-place", "disk.raw")
    assert "wrote:        nothing but size or name\n" in out
    assert "undo:         mv -n disk.vhd disk.raw\n" in out
    assert cli("--in-place", "disk.vhd") == (0, "nothing to do\n", "")
    assert cli("--in-place", "--dry-run", "disk.vhd")[1].endswith("unchanged\nnothing to do\n")


def test_as_json(cli: Cli, disk: Path) -> None:
    status, out, _ = cli("--in-place", "--dry-run", "--json", "disk.raw")
    plan = document(out, "vhdfast.convert-in-place-plan/1")["plan"]
    assert status == 0
    assert plan == {
        "path": "disk.raw", "new_path": "disk.vhd", "source_format": "raw",
        "target_format": "fixed-vhd", "source_size": SIZE, "target_size": 3 * MIB,
        "old_file_size": SIZE, "file_size": 3 * MIB + 512, "restores": False, "gpt_moved": False,
        "steps": [{"stage": 1, "offset": 3 * MIB, "length": 512, "what": "footer",
                   "meaning": "for a disk of 3145728 bytes"}],
        "notices": [],
    }  # fmt: skip
    status, out, _ = cli("--in-place", "--json", "disk.raw")
    answer = document(out, "vhdfast.convert-in-place/1")
    assert status == 0
    assert answer.pop("seconds") >= 0
    assert answer == {
        "path": "disk.raw", "renamed_to": "disk.vhd", "action": "changed",
        "title": "convert raw to fixed-vhd", "steps": plan["steps"], "written": 512,
        "undo_file": None, "undo_command": "vhdfast convert --to raw --in-place disk.vhd",
        "plan": plan,
    }  # fmt: skip


def test_the_json_page_has_every_field(cli: Cli, disk: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
    answer = document(cli("--in-place", "--json", "disk.raw")[1], "vhdfast.convert-in-place/1")
    section = page.split("## vhdfast.convert-in-place-plan/1")[1].split("## vhdfast.info/1")[0]
    section += page.split("## vhdfast.in-place/1")[1].split("\n## ")[0]
    for field in (*answer, *answer["plan"]):
        assert f"`{field}`" in section, field


def test_repair_tells_the_name_that_came_back(cli: Cli, disk: Path) -> None:
    cli("--in-place", "--keep-undo", "disk.raw")
    assert main(["repair", "--undo", "disk.vhd"]) == 0
    assert os.listdir() == ["disk.raw"]


def test_a_warning_of_a_nested_vhd(cli: Cli, tmp_path: Path) -> None:
    fixed(image()).write(tmp_path / "disk.raw")
    status, _, err = cli("--in-place", "--from=raw", "disk.raw")
    assert status == 0
    assert "warning: the file ends, or begins, like a VHD" in err


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["disk.raw", "other.vhd"], "DST"),
        (["--verify", "disk.raw"], "--verify"),
        (["--allocate", "disk.raw"], "--allocate"),
        (["--rate=1M", "disk.raw"], "--rate"),
        (["--disk=1", "disk.raw"], "--disk"),
        (["--snapshot=1", "disk.raw"], "--snapshot"),
        (["--parent=x", "disk.raw"], "--parent"),
        (["--backing-format=raw", "disk.raw"], "--backing-format"),
        (["--chs-size", "disk.raw"], "--chs-size"),
        (["--temporary=.", "disk.raw"], "--temporary"),
        (["--allow-reference=.", "disk.raw"], "--allow-reference"),
        (["--allow-references", "disk.raw"], "--allow-references"),
    ],
)
def test_options_that_contradict_it(words: list[str], option: str, cli: Cli, disk: Path) -> None:
    before = disk.stat()
    status, _, err = cli("--in-place", *words)
    assert status == 2
    assert f"{option} does not go with it" in err
    assert "plain vhdfast convert makes a new file" in err
    assert disk.stat().st_mtime_ns == before.st_mtime_ns
    assert os.listdir() == ["disk.raw"]


@pytest.mark.parametrize("option", ["--keep-name", "--keep-undo"])
def test_options_that_need_it(option: str, cli: Cli, disk: Path) -> None:
    status, _, err = cli(option, "disk.raw")
    assert status == 2
    assert f"{option} is for --in-place alone" in err


def test_refusals_and_their_status(cli: Cli, disk: Path) -> None:
    assert cli("--in-place", "--to=dynamic-vhd", "disk.raw")[0] == 2
    assert cli("--in-place", "--fixed", "--to=raw", "disk.raw")[0] == 2
    assert cli("--in-place", "missing.raw")[0] == 4
    Path("disk.vhd").write_bytes(b"mine")
    status, _, err = cli("--in-place", "disk.raw")
    assert status == 6
    assert err.rstrip().endswith("[target-exists]")
    assert Path("disk.vhd").read_bytes() == b"mine"


def test_what_another_verb_began_is_completed_and_said(
    cli: Cli, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import random

    import vhdfast
    from tests.unit.edits.crashing import Crash, CrashingSystem
    from vhdfast.edits import applying

    monkeypatch.setattr(applying, "System", lambda: CrashingSystem(5, random.Random(0)))
    with pytest.raises(Crash):
        vhdfast.resize("disk.raw", 4 * MIB)
    monkeypatch.undo()
    os.chdir(disk.parent)
    status, out, err = cli("--in-place", "disk.raw")
    assert status == 0
    assert out.startswith("completed what was interrupted: resize\n")
    assert "the conversion now asked for was not made" in err
    assert disk.stat().st_size == 4 * MIB


def test_the_way_back_that_was_interrupted_is_no_conversion(
    cli: Cli, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import random

    import vhdfast
    from tests.unit.edits.crashing import Crash, CrashingSystem
    from vhdfast.edits import applying

    before = disk.read_bytes()
    for words, warns in (("disk.vhd",), True), (("--to=raw", "disk.vhd"), False):
        vhdfast.convert_in_place(disk, keep_undo=True)
        monkeypatch.setattr(applying, "System", lambda: CrashingSystem(2, random.Random(0)))
        with pytest.raises(Crash):
            vhdfast.convert_in_place("disk.vhd", to="raw")
        monkeypatch.setattr(applying, "System", edits.System)
        status, out, err = cli("--in-place", *words)
        assert status == 0
        assert out.startswith("took back: convert raw to fixed-vhd\n")
        assert ("the conversion now asked for was not made" in err) is warns
        assert disk.read_bytes() == before
