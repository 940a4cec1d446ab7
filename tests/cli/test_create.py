"""vhdfast create as people call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import GIB, MIB
from vhdfast.cli.main import main


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Cli = Callable[..., Done]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command line without a process of its own: there are many of them here."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Done:
        status = main(list(words))
        return Done(status, *capsys.readouterr())

    return run


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize(
    ("to", "size", "virtual", "file"),
    [
        ("fixed-vhd", "1000000", MIB, MIB + 512),
        ("fixed-vhd", "2040G", 2040 * GIB, 2040 * GIB + 512),
        ("dynamic-vhd", "1T", 1024 * GIB, 1536 + 4 * 524288 + 512),
        ("raw", "1000", 1024, 1024),
        ("raw", "1T", 1024 * GIB, 1024 * GIB),
    ],
)
def test_an_empty_disk(
    to: str, size: str, virtual: int, file: int, cli: Cli, tmp_path: Path,
    qemu_img: Callable[..., str],
) -> None:  # fmt: skip
    done = cli("create", "--to", to, "--json", "d", size)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "schema": "vhdfast.create/1",
        "target": "d",
        "target_format": to,
        "virtual_size": virtual,
        "file_size": file,
        "dry_run": False,
    }
    status = (tmp_path / "d").stat()
    assert status.st_size == file
    assert status.st_blocks * 512 < 4 * MIB
    theirs = qemu_img("info", "--output=json", "-f", "raw" if to == "raw" else "vpc",
                      tmp_path / "d")  # fmt: skip
    assert json.loads(theirs)["virtual-size"] == virtual
    assert names(tmp_path) == ["d"]


def test_what_is_printed(cli: Cli) -> None:
    done = cli("create", "d.vhd", "1.5G", "--align=1G", "--to=dynamic-vhd")
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        "made", "virtual size", "file size", "note",
    ]  # fmt: skip
    assert "2 GiB (2147483648 bytes)" in done.stdout
    assert "fixed-vhd" in done.stdout


def test_a_fixed_vhd_is_made_by_default_and_has_the_uuid(cli: Cli, tmp_path: Path) -> None:
    done = cli("create", "d.vhd", "2M", "--uuid=01234567-89ab-cdef-0123-456789abcdef")
    assert done.returncode == 0
    footer = (tmp_path / "d.vhd").read_bytes()[-512:]
    assert footer[60:64] == b"\0\0\0\2"
    assert footer[68:84].hex() == "0123456789abcdef0123456789abcdef"


def test_allocate_reserves_every_byte(cli: Cli, tmp_path: Path) -> None:
    assert cli("create", "--allocate", "d.vhd", "8M").returncode == 0
    assert (tmp_path / "d.vhd").stat().st_blocks * 512 >= 8 * MIB + 512


@pytest.mark.parametrize("option", ["-n", "--dry-run"])
def test_a_dry_run_makes_nothing(option: str, cli: Cli, tmp_path: Path) -> None:
    done = cli("create", option, "d.vhd", "8M")
    assert (done.returncode, names(tmp_path)) == (0, [])
    assert done.stdout.startswith("would make:")


def test_an_existing_file_stays_without_force(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "d.vhd").write_bytes(b"precious")
    for words in ((), ("-n",)):
        done = cli("create", "d.vhd", "8M", *words)
        assert (done.returncode, "--force" in done.stderr) == (6, True)
    assert (tmp_path / "d.vhd").read_bytes() == b"precious"
    assert cli("create", "d.vhd", "8M", "--force").returncode == 0
    assert (tmp_path / "d.vhd").stat().st_size == 8 * MIB + 512
    assert names(tmp_path) == ["d.vhd"]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("d.vhd", "0"), 2),
        (("d.vhd", "many"), 2),
        (("d.vhd",), 2),
        (("d.vhd", "1M", "--to=qcow2"), 2),
        (("d.vhd", "1M", "--uuid=7"), 2),
        (("d.vhd", "1M", "--align=7"), 2),
        (("d.vhd", "32768G"), 6),
        (("d.vhd", "2041G", "--to=dynamic-vhd"), 6),
        (("none/d.vhd", "1M"), 6),
    ],
)
def test_what_is_refused(words: tuple[str, ...], status: int, cli: Cli, tmp_path: Path) -> None:
    for dry in ((), ("--dry-run",)):
        done = cli("create", *words, *dry)
        assert (done.returncode, names(tmp_path)) == (status, [])


def test_a_name_that_says_another_format_is_warned_of(
    vhdfast_cli: Callable[..., Any], tmp_path: Path
) -> None:
    done = vhdfast_cli("create", tmp_path / "a.qcow2", "1M")
    assert done.returncode == 0
    assert done.stderr.endswith("a fixed-vhd, though the name says qcow2\n")
    again = ("convert", "-n", "--force", tmp_path / "a.qcow2", tmp_path / "b.img")
    assert "though the name says raw" in vhdfast_cli(*again).stderr
    assert vhdfast_cli(*again, "--to=raw").stderr == ""
    assert vhdfast_cli("create", tmp_path / "a", "1M").stderr == ""
