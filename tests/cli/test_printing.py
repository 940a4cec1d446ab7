"""What is printed: names that strangers chose, and names that no locale can write."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

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
