"""What a check says to do is done, as printed: the check that asked for it is then content."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import MIB, SparseFile, pattern, poke
from tests.support.build_vhd import FOOTER_FIELDS, DynamicVhd, fixed, make_footer
from tests.support.build_vhdx import write_vhdx
from vhdfast.cli import main

SIZE = 20 * MIB

Build = Callable[[Path], Path]


def disk(size: int = SIZE) -> SparseFile:
    made = SparseFile(size)
    made.put(0, pattern(1, 512))
    return made


def vhd(size: int = SIZE, behind: bytes = b"", **footer: Any) -> Build:
    """A fixed VHD whose footer says this, its checksum being right."""

    def build(folder: Path) -> Path:
        image = fixed(disk(size), **footer)
        image.put(image.size, behind)
        return image.write(folder / "my disk.vhd")

    return build


def damaged(field: str, data: bytes) -> Build:
    """A fixed VHD in whose footer something was overwritten: its checksum is of what was there."""

    def build(folder: Path) -> Path:
        image = fixed(disk())
        image.put(SIZE + FOOTER_FIELDS[field][0], data)
        return image.write(folder / "my disk.vhd")

    return build


def old(folder: Path) -> Path:
    """A footer of 511 bytes."""
    image = disk()
    image.put(SIZE, make_footer(SIZE)[:511])
    return image.write(folder / "my disk.vhd")


def dynamic(size: int) -> Build:
    def build(folder: Path) -> Path:
        image = DynamicVhd(size)
        image.store(0, pattern(1, 512))
        return image.build().write(folder / "my disk.vhd")

    return build


def vhdx(folder: Path) -> Path:
    write_vhdx(folder / "my disk.vhdx", virtual_size=2 * MIB)
    return folder / "my disk.vhdx"


def broken_dynamic(*damage: tuple[int, bytes]) -> Build:
    """A dynamic VHD with these bytes, (offset or -offset from the end, bytes), overwritten."""

    def build(folder: Path) -> Path:
        path = dynamic(SIZE)(folder)
        for offset, data in damage:
            poke(path, offset % path.stat().st_size, data)
        return path

    return build


REPAIR = "vhdfast repair 'my disk.vhd'"
CONVERT = "vhdfast convert 'my disk.vhd' 'my disk-azure.vhd'"
CASES: list[tuple[str, Build, str]] = [
    # the check that fails, the image, what it says to do
    ("whole-mib", vhd(SIZE + 512), REPAIR),
    ("whole-mib", dynamic(SIZE + 512), CONVERT),
    ("footer-checksum", damaged("checksum", b"\1\2\3\4"), REPAIR),
    ("footer-data-offset", vhd(data_offset=512), REPAIR),
    ("footer-data-offset", damaged("data_offset", bytes(8)), REPAIR),
    ("footer-features", vhd(features=0), REPAIR),
    ("footer-features", vhd(features=3), REPAIR),
    ("footer-features", vhd(features=0x12), REPAIR),
    ("footer-features", damaged("features", b"\xff"), REPAIR),
    ("footer-geometry", vhd(geometry=(1000, 16, 63)), REPAIR),
    ("footer-present", damaged("cookie", b"X"), REPAIR),
    ("footer-present", old, REPAIR),
    ("footer-present", vhd(behind=bytes(512)), REPAIR),
    ("footer-size", vhd(current_size=SIZE - MIB), REPAIR),
    ("footer-size", damaged("current_size", b"\1"), REPAIR),
    ("footer-type", damaged("disk_type", bytes(4)), REPAIR),
    ("footer-unique-id", vhd(unique_id=bytes(16)), REPAIR),
    ("footer-version", damaged("version", b"\0\2"), REPAIR),
    ("footer-version", vhd(version=0x00010003), REPAIR),
    ("size-limits", vhd(4 * MIB), "vhdfast resize 'my disk.vhd' 20M"),
    ("size-limits", dynamic(4 * MIB), f"{CONVERT} --size=20M"),
    ("size-limits", vhdx, "vhdfast convert 'my disk.vhdx' 'my disk.vhd' --size=20M"),
    ("fixed-vhd", dynamic(SIZE), CONVERT),
    ("vhd-footers", broken_dynamic((64, bytes(4))), REPAIR),
    ("vhd-footers", broken_dynamic((0, bytes(512))), REPAIR),
    ("vhd-footers", broken_dynamic((-512, bytes(512))), REPAIR),
    ("vhd-header", broken_dynamic((512 + 36, bytes(4))), REPAIR),
]  # fmt: skip


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[str], list[dict[str, Any]]]:
    """What `vhdfast check --json` finds wrong with a file in the test's directory."""
    monkeypatch.chdir(tmp_path)

    def run(name: str) -> list[dict[str, Any]]:
        capfd.readouterr()
        main(["check", "--json", name])
        (image,) = json.loads(capfd.readouterr().out)["images"]
        return [one for one in image["findings"] if one["outcome"] in ("fail", "unknown")]

    return run


@pytest.mark.parametrize(("name", "build", "remedy"), CASES)
def test_a_remedy_that_is_a_command_cures(
    check: Callable[[str], list[dict[str, Any]]],
    tmp_path: Path,
    name: str,
    build: Build,
    remedy: str,
) -> None:
    path = build(tmp_path)
    said = {found["remedy"] for found in check(path.name) if found["check"] == name}
    assert said == {remedy}
    program, verb, *words = shlex.split(remedy)
    assert program == "vhdfast"
    target = words[1] if verb == "convert" else words[0]
    assert main([verb, *words]) == 0  # as printed: repair and resize show what they would do
    if verb != "convert":
        assert main([verb, "--apply", *words]) == 0
    assert name not in {found["check"] for found in check(target)}
