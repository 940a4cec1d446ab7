"""Sources that qemu-img reads otherwise than vhdfast are not served."""

from __future__ import annotations

import fcntl
import gzip
import json
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import MIB, pattern, poke
from tests.support.build_vhd import DynamicVhd, differencing, fixed
from tests.support.build_vhdx import write_vhdx
from tests.support.build_vmdk import write_descriptor
from tests.support.standin import HANDED_OVER, answer
from vhdfast.qemu_img.probing import probe
from vhdfast.qemu_img.real import HandOver

Qemu = Callable[..., str]
Say = Callable[[Any], None]


def convert(
    source: Path, format_name: str | None = None, real: str | None = None
) -> tuple[int, str, bytes]:
    """(status, reason, raw disk)."""
    target = source.with_suffix(".out")
    words = [] if format_name is None else ["-f", format_name]
    status, reason = answer(real, "convert", *words, "-O", "raw", source, target)
    return status, reason, b"" if status else target.read_bytes()


def refused(source: Path, format_name: str | None, reason: str) -> None:
    status, why, _ = convert(source, format_name)
    assert status == HANDED_OVER and reason in why, why
    assert not source.with_suffix(".out").exists()


# ---- without a qemu-img to be asked -------------------------------------------------------------


def test_a_fixed_vhd_is_raw_until_it_is_named(tmp_path: Path) -> None:
    disk = pattern(1, MIB)
    path = fixed(disk).write(tmp_path / "disk.vhd")
    assert convert(path) == (0, "", path.read_bytes())
    assert convert(path, "vpc") == (0, "", disk)


def test_a_packed_raw_disk_is_raw(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw.gz"
    path.write_bytes(gzip.compress(pattern(1, 4000)))
    whole = path.read_bytes()
    padded = whole.ljust(-(-len(whole) // 512) * 512, b"\0")
    assert convert(path) == (0, "", padded)
    assert convert(path, "raw") == (0, "", padded)


def test_nothing_is_a_disk_without_a_byte(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    refused(tmp_path / "empty", "raw", "empty")


@pytest.mark.parametrize(
    ("creator", "geometry", "served"),
    [
        (b"qemu", (65535, 16, 255), True), (b"win ", (1, 4, 17), True),
        (b"qem2", (1, 4, 17), True), (b"vbox", (1, 4, 17), False), (b"vpc ", (1, 4, 17), False),
        (b"wa\0\0", (30, 4, 17), False), (b"vpc ", (128, 1, 16), True),
    ],
)  # fmt: skip
def test_a_vhd_whose_size_versions_see_differently_is_not_served(
    creator: bytes, geometry: tuple[int, int, int], served: bool, tmp_path: Path
) -> None:
    disk = pattern(1, MIB)
    path = fixed(disk, creator=creator, geometry=geometry).write(tmp_path / "disk.vhd")
    if served:
        assert convert(path, "vpc") == (0, "", disk)
    else:
        refused(path, "vpc", "versions of qemu-img differ")


def test_blocks_that_are_written_in_part_are_not_served(tmp_path: Path) -> None:
    image = DynamicVhd(4 * MIB)
    image.store(0, pattern(1, 2 * MIB))
    whole = image.build().write(tmp_path / "whole.vhd")
    assert convert(whole) == (0, "", pattern(1, 2 * MIB) + bytes(2 * MIB))
    image = DynamicVhd(4 * MIB)
    image.store(1, pattern(1, 2 * MIB), bitmap=b"\xff" * 511 + b"\x7f")
    refused(image.build().write(tmp_path / "part.vhd"), None, "in part")
    image = DynamicVhd(4 * MIB)
    image.store(1, pattern(1, 2 * MIB), bitmap=bytes(512))
    refused(image.build().write(tmp_path / "none.vhd"), None, "in part")


def test_a_differencing_vhd_is_not_served(tmp_path: Path) -> None:
    DynamicVhd(4 * MIB).build().write(tmp_path / "base.vhd")
    child = differencing(4 * MIB, relative=".\\base.vhd").build().write(tmp_path / "child.vhd")
    refused(child, "vpc", "parent")


def test_damage_that_vhdfast_reads_past_is_not_served(tmp_path: Path) -> None:
    image = DynamicVhd(4 * MIB)
    image.store(0, pattern(1, 2 * MIB))
    refused(image.build(tail=False).write(tmp_path / "cut.vhd"), "vpc", "footer")


def test_a_vhdx_of_large_sectors_is_not_served(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhdx"
    write_vhdx(path, virtual_size=4 * MIB, blocks={}, sector_size=4096)
    refused(path, None, "512 bytes")


def test_a_vmdk_described_in_words_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "flat.bin").write_bytes(pattern(1, MIB))
    path = write_descriptor(tmp_path / "disk.vmdk", ['RW 2048 FLAT "flat.bin" 0'])
    for format_name in (None, "vmdk"):
        refused(path, format_name, "several files")


def test_a_lock_on_writing_keeps_it_from_being_served(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(pattern(1, MIB))
    for byte in (101, 103, 200):  # writes, resizes, and lets nobody read
        with open(path, "r+b") as file:
            lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, byte, 1, 0)
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)
            refused(path, "raw", "another process")
    with open(path, "r+b") as file:  # reads, and lets nobody write
        for byte in (100, 201, 203):
            lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, byte, 1, 0)
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)
        assert convert(path, "raw")[:2] == (0, "")


# ---- probing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"conectix", "vpc"), (b"QFI\xfb\0\0\0\x03", "qcow2"), (b"QFI\xfb\0\0\0\x01", "qcow"),
        (b"vhdxfile", "vhdx"), (bytes(64) + b"\x7f\x10\xda\xbe", "vdi"), (b"KDMV", "vmdk"),
        (b"# Disk DescriptorFile\nversion=1\n", "vmdk"), (b"#x\n\n \n# y\nVersion=3", "vmdk"),
        (b"version=4", "raw"), (b"# only a comment\n", "raw"), (b"LUKS\xba\xbe\0\x01", "luks"),
        (b"QED\0", "qed"), (b"", "raw"), (b"\x1f\x8b", "raw"), (b" conectix", "raw"),
    ],
)  # fmt: skip
def test_formats_are_told_by_their_first_bytes(head: bytes, name: str) -> None:
    assert probe(head, "disk") == name


def test_what_begins_like_two_formats_is_nobodys() -> None:
    with pytest.raises(HandOver):
        probe(b"KDMV".ljust(64, b"\0") + b"\x7f\x10\xda\xbe", "disk")
    with pytest.raises(HandOver):
        probe(b"conectix", "disk.DMG")


@pytest.mark.parametrize(
    "make",
    [
        b"conectix", b"QFI\xfb\0\0\0\x01", b"KDMV", b"COWD", b"QED\0", b"Bochs Virtual HD Image",
        b"WithoutFreeSpace", b"# x\nversion=1\n", b"#\n version=2\n", b"version=4\n", b"plain",
        b"LUKS\xba\xbe\0\x01", b"\nversion=1\n", b"# x\nVERSION=1\n",
    ],
    ids=repr,
)  # fmt: skip
def test_nothing_is_raw_that_qemu_img_takes_for_something_else(
    make: bytes, qemu_img: Qemu, tmp_path: Path
) -> None:
    path = tmp_path / "disk"
    path.write_bytes(make.ljust(MIB, b"\0"))
    ours = probe(path.read_bytes()[:2048], str(path))
    done = subprocess.run(
        ["qemu-img", "info", "--output=json", path], capture_output=True, text=True
    )
    # What it takes for another format it does not open: there is nothing behind the first bytes.
    theirs = json.loads(done.stdout)["format"] if done.returncode == 0 else None
    assert ours != "raw" or theirs == "raw"
    assert (ours == "raw") is (make in (b"plain", b"version=4\n"))


# ---- what qemu-img says -------------------------------------------------------------------------


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Sets what the real qemu-img answers."""

    def set_answer(document: Any) -> None:
        text = document if isinstance(document, str) else json.dumps(document)

        def run(words: list[str], **options: Any) -> Any:
            assert words[:4] == ["qemu-img", "info", "--output=json", "--backing-chain"]
            code = 0 if text else 1
            return subprocess.CompletedProcess(words, code, text.encode(), b"")

        monkeypatch.setattr(subprocess, "run", run)

    return set_answer


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""), ({"virtual-size": MIB - 512}, "sees"), ({"format": "qcow2"}, "takes"),
        ({"filename": "elsewhere"}, "reads elsewhere"), ({"encrypted": True}, "encrypted"),
    ],
)  # fmt: skip
def test_the_real_one_must_see_the_same(
    change: dict[str, Any], reason: str, say: Say, tmp_path: Path
) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(pattern(1, MIB))
    say([{"filename": str(path), "format": "raw", "virtual-size": MIB, **change}])
    status, why, _ = convert(path, "raw", real="/x/qemu-img")
    assert (status == 0) is not reason
    assert reason in why
    assert (status == HANDED_OVER) is bool(reason)


@pytest.mark.parametrize("text", ["", "no JSON", "{}", "[]", "[1]"])
def test_an_answer_that_says_nothing_is_no_answer(text: str, say: Say, tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(pattern(1, MIB))
    say(text)
    assert convert(path, "raw", real="/x/qemu-img")[0] == HANDED_OVER


def test_refcounts_that_qemu_img_refuses_are_handed_over(qemu_img: Qemu, tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-f", "qcow2", path, "1M")
    assert convert(path, "qcow2", real="/usr/bin/qemu-img")[0] == 0
    poke(path, 48, struct.pack(">Q", 0x1234))  # the table's offset
    status, reason, _ = convert(path, "qcow2", real="/usr/bin/qemu-img")
    assert (status, "does not open" in reason) == (HANDED_OVER, True)
