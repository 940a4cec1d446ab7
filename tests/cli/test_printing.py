"""What is printed: names that strangers chose, and names that no locale can write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import MIB
from tests.support.build_vhd import fixed

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]

# As in most locales; that of the tests lets through what it cannot write.
STRICT = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}


def fixed_vhd(path: Path, creator: bytes = b"vpc ") -> Path:
    return fixed(bytes(MIB), creator=creator, host=creator).write(path)


def is_printable(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_a_name_that_is_no_text_does_not_make_a_success_fail(
    vhdfast_cli: Run, tmp_path: Path
) -> None:
    source = fixed_vhd(tmp_path / "source.vhd")
    target = tmp_path / os.fsdecode(b"target-\xff.vhd")
    log = tmp_path / "log"
    done = vhdfast_cli("convert", source, target, "--log", log, env=STRICT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "target-?.vhd (fixed-vhd" in done.stdout
    assert "target-?.vhd (fixed-vhd" in log.read_text("utf-8")
    assert target.stat().st_size == MIB + 512


def test_a_letter_that_the_locale_lacks_does_not_either(vhdfast_cli: Run, tmp_path: Path) -> None:
    source = fixed_vhd(tmp_path / "source.vhd")
    narrow = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = vhdfast_cli("convert", source, tmp_path / "\xfc.vhd", env=narrow)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xfc.vhd" in done.stdout


def test_json_writes_any_name(vhdfast_cli: Run, tmp_path: Path) -> None:
    source = fixed_vhd(tmp_path / os.fsdecode(b"\xff.vhd"))
    done = vhdfast_cli("info", "--json", source, env=STRICT)
    assert json.loads(done.stdout)["images"][0]["path"] == str(source)
    assert '/\\udcff.vhd"' in done.stdout


def test_fields_of_a_header_do_not_reach_the_terminal(vhdfast_cli: Run, tmp_path: Path) -> None:
    done = vhdfast_cli("info", fixed_vhd(tmp_path / "a.vhd", creator=b"\x1b[2J"))
    assert "creator code:     ?[2J" in done.stdout
    assert is_printable(done.stdout)


@pytest.mark.parametrize("verb", ["info", "map", "convert"])
def test_warnings_do_not_print_names_as_they_are(
    verb: str, vhdfast_cli: Run, tmp_path: Path
) -> None:
    """Of an extent that its descriptor names, and that is cut short: a notice about its path."""
    name = "a\x1b[2Jb.vmdk"
    (tmp_path / "disk.vmdk").write_text(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        f'createType="twoGbMaxExtentSparse"\nRW 2048 SPARSE "{name}"\n'
    )
    header = bytearray(4096)
    header[:4] = b"KDMV"
    for at, value, size in (
        (4, 1, 4), (12, 2048, 8), (20, 128, 8), (44, 512, 4), (56, 2, 8), (72, 1, 1),
    ):  # fmt: skip
        header[at : at + size] = value.to_bytes(size, "little")
    (tmp_path / name).write_bytes(header)
    words = ("disk.vmdk", "out.vhd") if verb == "convert" else ("disk.vmdk",)
    done = vhdfast_cli(verb, *words)
    assert done.returncode == 0, done.stderr
    assert "a?[2Jb.vmdk was not closed properly" in done.stderr
    assert is_printable(done.stdout)
    assert is_printable(done.stderr)


# ---- where nothing can be printed ----------------------------------------------------------------


def shell(line: str, *names: object) -> subprocess.CompletedProcess[bytes]:
    """A line of sh with $0 for `python -m vhdfast`'s Python and $1 … for names."""
    words = ["sh", "-c", line, sys.executable, *map(str, names)]
    return subprocess.run(words, cwd=ROOT, capture_output=True)


@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
@pytest.mark.parametrize("words", ["--version", "--help", "man", "info $1", "check --json $1"])
def test_a_result_that_cannot_be_printed_is_an_error(
    words: str, where: str, tmp_path: Path
) -> None:
    done = shell(f'"$0" -m vhdfast {words} {where}', fixed_vhd(tmp_path / "a.vhd"))
    assert done.returncode == 5
    assert done.stderr.startswith(b"vhdfast: error: ") and done.stderr.endswith(b" [write]\n")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("where", [">/dev/full", ">&-", "| true; exit ${PIPESTATUS[0]}"])
def test_an_error_keeps_its_status_where_its_json_cannot_be_printed(
    where: str, tmp_path: Path
) -> None:
    words = ["bash", "-c", f'"$0" -m vhdfast info --json $1 {where}', sys.executable]
    done = subprocess.run([*words, str(tmp_path / "none")], cwd=ROOT, capture_output=True)
    assert done.returncode == 4
    assert b"No such file or directory" in done.stderr and b"Traceback" not in done.stderr


def test_nothing_is_printed_into_files_where_the_standard_streams_are_closed(
    tmp_path: Path,
) -> None:
    """A file that is opened then would get the number of standard output."""
    source, target = fixed_vhd(tmp_path / "a.vhd"), tmp_path / "b.raw"
    done = shell('"$0" -m vhdfast convert --to=raw "$1" "$2" <&- >&- 2>&-', source, target)
    assert done.returncode == 5
    assert target.read_bytes() == bytes(MIB)
    assert sorted(os.listdir(tmp_path)) == ["a.vhd", "b.raw"]
