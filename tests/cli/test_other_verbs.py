"""info, map, compare, and the tutorial."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run
from tests.support import KIB, MIB, pattern
from tests.support.build_vhd import DynamicVhd
from tests.support.build_vhdx import write_vhdx


@pytest.fixture
def vhd(tmp_path: Path) -> Path:
    """Three blocks of 4 KiB, of which the middle one is stored."""
    made = DynamicVhd(12 * KIB, 4 * KIB)
    made.store(1, pattern(1, 4 * KIB))
    return made.build().write(tmp_path / "disk.vhd")


def test_info(vhdfast_cli: Run, vhd: Path) -> None:
    done = vhdfast_cli("info", "disk.vhd")
    assert done.returncode == 0
    lines = dict(re.split(r": +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert lines["format"] == "vhd, dynamic"
    assert lines["virtual size"] == "12 KiB (12288 bytes)"
    assert lines["alignment"].startswith("not a whole number of MiB; convert rounds it up to 1 MiB")
    assert lines["holds"] == "nothing that is known"


def test_info_as_json(vhdfast_cli: Run, vhd: Path) -> None:
    done = vhdfast_cli("info", "--json", "disk.vhd", "disk.vhd")
    document = json.loads(done.stdout)
    assert document["schema"] == "vhdfast.info/1"
    first, second = document["images"]
    assert first == second
    assert first["block_size"] == 4096
    assert first["mib_aligned"] is False


def test_map(vhdfast_cli: Run, vhd: Path) -> None:
    done = vhdfast_cli("map", "disk.vhd")
    place = 512 + 1024 + 512 + 512  # footer copy, header, table, bitmap
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["offset", "length", "kind", "file", "stored", "at"],
        ["0x0", "0x1000", "zero"],
        ["0x1000", "0x1000", "data", "0", hex(place)],
        ["0x2000", "0x1000", "zero"],
        ["4", "KiB", "of", "data,", "8", "KiB", "of", "zeros"],
    ]


def test_a_part_of_a_map_as_json(vhdfast_cli: Run, vhd: Path) -> None:
    done = vhdfast_cli("map", "--json", "--offset=2K", "--length=4K", "disk.vhd")
    assert json.loads(done.stdout) == {
        "schema": "vhdfast.map/1",
        "virtual_size": 12288,
        "files": ["disk.vhd"],
        "extents": [
            {"offset": 2048, "length": 2048, "kind": "zero", "file": None, "file_offset": None},
            {"offset": 4096, "length": 2048, "kind": "data", "file": 0, "file_offset": 2560},
        ],
    }


def test_map_beyond_the_end(vhdfast_cli: Run, vhd: Path) -> None:
    assert vhdfast_cli("map", "--offset=12K", "disk.vhd").returncode == 2
    done = vhdfast_cli("map", "--length=0", "disk.vhd")
    assert (done.returncode, "--length 0" in done.stderr) == (2, True)


def test_compare(vhdfast_cli: Run, vhd: Path, tmp_path: Path) -> None:
    content = bytes(4 * KIB) + pattern(1, 4 * KIB) + bytes(4 * KIB)
    (tmp_path / "same.raw").write_bytes(content + bytes(MIB))
    (tmp_path / "other.raw").write_bytes(content[:5000] + b"\0" + content[5001:])
    assert vhdfast_cli("compare", "disk.vhd", "same.raw").returncode == 0
    assert vhdfast_cli("compare", "--strict", "disk.vhd", "same.raw").returncode == 1
    done = vhdfast_cli("compare", "--json", "disk.vhd", "other.raw")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert (answer["same"], answer["first_difference"]) == (False, 5000)
    assert answer["sizes"] == [12288, 12288]


def test_the_disks_of_a_directory_are_commands_for_a_shell(
    vhdfast_cli: Run, vhd: Path, tmp_path: Path
) -> None:
    vhd.rename(tmp_path / "a disk; of mine.vhd")
    done = vhdfast_cli("convert", tmp_path)
    assert done.returncode == 2
    (line,) = done.stdout.splitlines()
    assert shlex.split(line) == ["vhdfast", "convert", str(tmp_path / "a disk; of mine.vhd")]


def test_the_tutorial_runs_as_it_is_written(vhdfast_cli: Run, tmp_path: Path) -> None:
    """Commands behind "$ ", and what they print below, where "…" is anything."""
    blocks = {block: pattern(block, MIB) for block in (0, 7, 299)}
    write_vhdx(tmp_path / "disk.vhdx", virtual_size=300 * MIB, blocks=blocks)
    page = (ROOT / "docs" / "tutorial.md").read_text()
    seen = []
    for command, output in re.findall(r"^    \$ (.+)\n((?:    .*\n)*)", page, re.MULTILINE):
        words = shlex.split(command)
        if words[0] != "vhdfast":
            continue
        done = vhdfast_cli(*words[1:])
        assert done.returncode == 0, done.stderr
        wanted = "\n".join(line[4:] for line in output.splitlines())
        pattern_of = ".*".join(re.escape(part) for part in wanted.split("…"))
        assert re.fullmatch(pattern_of, done.stdout.rstrip("\n"), re.DOTALL), done.stdout
        seen.append(words[1])
    assert seen == ["info", "convert", "convert", "check", "compare"]
    assert (tmp_path / "disk.vhd").stat().st_size == 300 * MIB + 512
