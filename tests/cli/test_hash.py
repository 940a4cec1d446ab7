"""vhdfast hash as people call it, and the ways that docs/hash.md shows to compute the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import MIB
from tests.support.web import WebServer
from vhdfast.cli.main import main

PAGE = (ROOT / "docs" / "hash.md").read_text()


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


def digest_of(line: str) -> str:
    return line.split()[0].rpartition(":")[2]


@pytest.fixture
def disk(small_disk: Path) -> Path:
    """5 MiB + 512 bytes, under the name that the page uses."""
    return small_disk.rename(small_disk.parent / "disk.raw")


def test_the_shell_line_of_the_page_gives_the_same(disk: Path, cli: Cli) -> None:
    help_of_split = subprocess.run(["split", "--help"], capture_output=True, text=True, check=False)
    if "--filter" not in help_of_split.stdout:
        pytest.skip("split is not that of GNU coreutils")
    (line,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    theirs = subprocess.run(
        ["sh", "-c", line], cwd=disk.parent, capture_output=True, text=True, check=True
    )
    ours = cli("hash", "disk.raw")
    assert re.fullmatch(r"[0-9a-f]{64}", digest_of(theirs.stdout))
    assert ours.stdout == f"sha256-1m:5243392:{digest_of(theirs.stdout)}  disk.raw\n"


def test_the_python_lines_of_the_page_give_the_same(disk: Path, cli: Cli) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    theirs = subprocess.run(
        [sys.executable, "-c", code], cwd=disk.parent, capture_output=True, text=True, check=True
    )
    assert digest_of(cli("hash", "disk.raw").stdout) == theirs.stdout.strip()


def test_plain_is_what_sha256sum_prints(disk: Path, cli: Cli) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("there is no sha256sum")
    theirs = subprocess.run(
        ["sha256sum", "disk.raw"], cwd=disk.parent, capture_output=True, text=True, check=True
    )
    assert cli("hash", "--plain", "disk.raw").stdout == theirs.stdout


def test_source_and_target_of_convert_have_one_digest(disk: Path, cli: Cli) -> None:
    for to in ("fixed-vhd", "dynamic-vhd"):
        assert cli("convert", "--to", to, "disk.raw", f"{to}.vhd").returncode == 0
    done = cli("hash", "--align", "disk.raw", "fixed-vhd.vhd", "dynamic-vhd.vhd")
    assert done.returncode == 0
    lines = [line.split("  ") for line in done.stdout.splitlines()]
    assert [name for _, name in lines] == ["disk.raw", "fixed-vhd.vhd", "dynamic-vhd.vhd"]
    assert len({text for text, _ in lines}) == 1
    assert lines[0][0].startswith(f"sha256-1m:{6 * MIB}:")


def test_json(disk: Path, cli: Cli) -> None:
    done = cli("hash", "--json", "--size=8M", "disk.raw")
    (image,) = json.loads(done.stdout)["images"]
    assert json.loads(done.stdout)["schema"] == "vhdfast.hash/1"
    assert image.pop("read") >= 255_000
    assert image == {
        "path": "disk.raw",
        "digest": f"sha256-1m:{8 * MIB}:{image['hex']}",
        "algorithm": "sha256-1m",
        "hex": image["hex"],
        "size": 8 * MIB,
        "virtual_size": 5 * MIB + 512,
        "notices": [],
    }


def test_warnings_about_the_image_are_told(disk: Path, cli: Cli) -> None:
    assert cli("convert", "disk.raw", "disk.vhd").returncode == 0
    with open(disk.parent / "disk.vhd", "r+b") as file:
        file.seek(6 * MIB + 64)
        file.write(b"\0\0\0\0")
    done = cli("hash", "disk.vhd")
    assert (done.returncode, "checksum" in done.stderr) == (0, True)


# ---- check --------------------------------------------------------------------------------------


def test_check_of_what_was_printed(disk: Path, cli: Cli) -> None:
    lines = [cli("hash", option, "disk.raw").stdout for option in
             ("--align", "--size=8M", "--plain")]  # fmt: skip
    (disk.parent / "list").write_text("".join(lines))
    done = cli("hash", "--check", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "disk.raw: OK\n" * 3


def test_a_list_on_stdin(disk: Path) -> None:
    """As sha256sum takes it; and where it is no list."""
    tool = f"{sys.executable} -m vhdfast hash"
    line = f"cd {ROOT}; {tool} {disk} | {tool} --check - && echo nonsense | {tool} --check -"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, f"{disk}: OK\n")
    assert done.stderr.startswith("vhdfast: error: -: line 1 is no digest")


def test_check_finds_one_bit(disk: Path, cli: Cli) -> None:
    (disk.parent / "list").write_text(cli("hash", "disk.raw").stdout)
    with open(disk, "r+b") as file:
        file.seek(4 * MIB)
        file.write(b"\1")
    done = cli("hash", "--check", "list")
    assert (done.returncode, done.stdout) == (1, "disk.raw: FAILED\n")
    assert "1 of 1 digests" in done.stderr


def test_check_of_a_disk_that_grew_reads_nothing(disk: Path, cli: Cli) -> None:
    (disk.parent / "list").write_text(cli("hash", "disk.raw").stdout)
    with open(disk, "r+b") as file:
        file.truncate(6 * MIB)
    done = cli("hash", "--check", "list")
    assert done.returncode == 1
    assert done.stdout == "disk.raw: FAILED: the disk is larger than what was hashed\n"


def test_check_goes_on_after_an_image_that_cannot_be_read(disk: Path, cli: Cli) -> None:
    line = cli("hash", "disk.raw").stdout
    (disk.parent / "list").write_text(line.replace("disk.raw", "gone.raw") + line)
    done = cli("hash", "--json", "--check", "list")
    assert done.returncode == 4
    document = json.loads(done.stdout)
    assert document["schema"] == "vhdfast.hash-check/1"
    gone, here = document["images"]
    assert gone["error"]["code"] == "image"
    assert (gone["path"], gone["matches"], gone["found"]) == ("gone.raw", False, None)
    assert here == {
        "path": "disk.raw",
        "matches": True,
        "expected": line.split()[0],
        "found": line.split()[0],
        "error": None,
    }


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--check", "list", "disk.raw"),
        ("--check", "list", "--plain"),
        ("--check", "list", "--align"),
        ("--check", "list", "--size=1M"),
        ("--size=1M", "disk.raw"),
        ("--align=100", "disk.raw"),
    ],
)
def test_wrong_command_lines(words: tuple[str, ...], disk: Path, cli: Cli) -> None:
    (disk.parent / "list").write_text(f"{'0' * 64}  disk.raw\n")
    assert cli("hash", *words).returncode == 2


def test_a_missing_list_is_an_error(cli: Cli) -> None:
    done = cli("hash", "--check", "nowhere")
    assert (done.returncode, "nowhere" in done.stderr) == (5, True)


def test_the_password_of_a_url_is_not_printed(disk: Path, cli: Cli) -> None:
    pytest.importorskip("aiohttp")
    with WebServer(disk.read_bytes()) as server:
        secret = server.url().replace("http://", "http://user:secret@") + "?token=secret"
        for words in (("hash", secret), ("hash", "--json", secret)):
            done = cli(*words)
            assert (done.returncode, done.stderr) == (0, "")
            assert "disk.raw" in done.stdout
            assert "secret" not in done.stdout
