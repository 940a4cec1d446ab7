"""vhdfast explain, as a user calls it."""

from __future__ import annotations

import json

from tests.conftest import Run
from tests.support import MIB


def test_an_error_names_what_explain_takes(vhdfast_cli: Run) -> None:
    failed = vhdfast_cli("info", "missing.vhd")
    assert failed.stderr.endswith("[image]\n")
    done = vhdfast_cli("explain", failed.stderr)
    assert done.returncode == 0
    assert done.stdout.startswith("image (errors): The source cannot be used\n")


def test_a_warning_names_it_too(vhdfast_cli: Run, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "disk.img").write_bytes(b"LUKS\xba\xbe" + bytes(MIB))
    warned = vhdfast_cli("info", "disk.img")
    assert warned.stderr.endswith("[encrypted]\n")
    assert vhdfast_cli("explain", warned.stderr).stdout.startswith("encrypted (notices): ")


def test_in_full(vhdfast_cli: Run) -> None:
    done = vhdfast_cli("explain", "no-space", "dirty")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line and not line.startswith(" ")] == [
        "no-space (errors): There is too little room for the target",
        "What happened",
        "What follows",
        "What to do",
        "More",
        "dirty (notices): A qcow2 image was not closed",
        "What happened",
        "What follows",
        "What to do",
        "More",
    ]
    assert max(map(len, lines)) <= 80


def test_all_of_them(vhdfast_cli: Run) -> None:
    done = vhdfast_cli("explain")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    families = [line for line in lines if line and not line.startswith(" ")]
    assert families[:2] == ["errors", "notices"]
    assert "  corrupt-image " in done.stdout


def test_as_json(vhdfast_cli: Run) -> None:
    document = json.loads(vhdfast_cli("explain", "--json", "no-space").stdout)
    assert document["schema"] == "vhdfast.explain/1"
    (each,) = document["explanations"]
    assert list(each) == [
        "family", "id", "title", "cause", "consequence", "cure", "references",
    ]  # fmt: skip
    assert (each["family"], each["id"]) == ("errors", "no-space")
    listed = json.loads(vhdfast_cli("explain", "--json").stdout)["explanations"]
    assert len(listed) > 45


def test_a_misspelt_id(vhdfast_cli: Run) -> None:
    done = vhdfast_cli("explain", "no-spaces")
    assert done.returncode == 2
    assert "did you mean no-space" in done.stderr
