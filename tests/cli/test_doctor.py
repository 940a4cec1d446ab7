"""vhdfast doctor, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Run
from tests.support.fake_qemu_img import CHS, NO_OPTION, fake_qemu_img


def test_all_is_well(vhdfast_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    program = fake_qemu_img(tmp_path / "qemu")
    done = vhdfast_cli("doctor", f"--qemu-img={program}", "--directory=out")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line and not line.startswith(" ")] == [
        "qemu-img",
        "vhdfast",
        "directory",
    ]
    ways = [line.strip() for line in lines if "-> " in line and "convert" in line]
    assert ways == [
        f"-> {program} convert -f FORMAT -O vpc -o subformat=fixed,force_size SRC DST.vhd"
        "   where SRC has whole MiB",
        "-> vhdfast convert SRC DST.vhd   for any SRC",
    ]
    assert list((tmp_path / "out").iterdir()) == []


def test_something_is_wrong(vhdfast_cli: Run, tmp_path: Path) -> None:
    program = fake_qemu_img(tmp_path / "qemu", "echo 'qemu-img version 2.5.0'", CHS, NO_OPTION)
    done = vhdfast_cli("doctor", f"--qemu-img={program}")
    assert done.returncode == 1
    assert "  problem  sizes:" in done.stdout
    assert done.stdout.splitlines()[-1] == "problems: 1"


def test_as_json(vhdfast_cli: Run, tmp_path: Path) -> None:
    program = fake_qemu_img(tmp_path / "qemu")
    done = vhdfast_cli("doctor", "--json", f"--qemu-img={program}")
    document = json.loads(done.stdout)
    assert document["schema"] == "vhdfast.doctor/1"
    for item in document["items"]:
        assert set(item) == {"name", "state", "message", "remedy", "details", "group"}
        assert item["state"] in ("ok", "note", "warning", "problem")
    (sizes,) = [item for item in document["items"] if item["name"] == "sizes"]
    assert sizes["details"]["trials"][1] == {
        "options": "subformat=fixed,force_size",
        "result": "exact",
        "size": 67108864,
        "reason": None,
        "spans_more": False,
    }


def test_what_is_not_there(vhdfast_cli: Run) -> None:
    assert vhdfast_cli("doctor", "--directory=missing").returncode == 2
    assert vhdfast_cli("doctor", "--qemu-img=./missing").returncode == 2
