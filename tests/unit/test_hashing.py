"""Digests: what hashlib gives for the bytes of the disk, by whatever format and road they come."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vhdfast
from tests.support import GIB, KIB, MIB, pattern
from tests.support.build_qcow2 import Qcow2, raw_deflate
from tests.support.build_vhd import DynamicVhd
from tests.support.build_vhdx import write_vhdx
from tests.support.build_vmdk import write_stream
from vhdfast import errors
from vhdfast.hashing import digest_line, read_digests


def tree_of(disk: bytes) -> str:
    """The definition, word by word."""
    lines = [hashlib.sha256(disk[at : at + MIB]).hexdigest() for at in range(0, len(disk), MIB)]
    return hashlib.sha256("".join(f"{x}\n" for x in [*lines, str(len(disk))]).encode()).hexdigest()


def raw(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def hashed(path: Path, **options: Any) -> str:
    return vhdfast.hash_image(path, from_format="raw", **options).hex


# ---- the definition -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [512, MIB - 512, MIB, MIB + 512, 2 * MIB, 5 * MIB + 512], ids=str)
@pytest.mark.parametrize("kind", ["data", "zeros", "hole"])
def test_the_digest_is_the_one_that_is_defined(size: int, kind: str, tmp_path: Path) -> None:
    content = pattern(1, size) if kind == "data" else bytes(size)
    path = raw(tmp_path / "d.raw", content)
    if kind == "hole":
        os.truncate(path, 0)
        os.truncate(path, size)
    found = vhdfast.hash_image(path, from_format="raw")
    assert (found.algorithm, found.hex) == ("sha256-1m", tree_of(content))
    assert (found.size, found.virtual_size) == (size, size)
    assert found.read == (0 if kind == "hole" else size)
    assert found.text == f"sha256-1m:{size}:{tree_of(content)}"


@st.composite
def disks(draw):  # type: ignore[no-untyped-def]
    size = draw(st.integers(1, 10 * MIB // 512)) * 512
    pieces = {}
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, size - 1))
        length = min(size - at, draw(st.sampled_from([1, 4096, 70_000, MIB, 4 * MIB])))
        pieces[at] = bytes(length) if draw(st.booleans()) else pattern(at % 99, length)
    behind = draw(st.sampled_from([0, 0, 512, MIB, 3 * MIB + 512]))
    return size, pieces, size + behind, draw(st.sampled_from([1, 4]))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(disks())
def test_any_disk(tmp_path: Path, disk) -> None:  # type: ignore[no-untyped-def]
    size, pieces, padded, jobs = disk
    path = tmp_path / "d.raw"
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
    content = path.read_bytes().ljust(padded, b"\0")
    assert hashed(path, size=padded, jobs=jobs) == tree_of(content)
    plain = vhdfast.hash_image(path, from_format="raw", size=padded, jobs=jobs, plain=True)
    assert (plain.algorithm, plain.text) == ("sha256", hashlib.sha256(content).hexdigest())


def test_every_format_gives_the_same(tmp_path: Path) -> None:
    size = 6 * MIB
    content = bytearray(size)
    content[MIB : 2 * MIB] = pattern(1, MIB)
    content[4 * MIB : 4 * MIB + 64 * KIB] = pattern(2, 64 * KIB)
    disk = bytes(content)
    parts = {at: disk[at * 64 * KIB : (at + 1) * 64 * KIB] for at in range(size // (64 * KIB))}
    vhd = DynamicVhd(size)
    for block in (2, 0, 1):
        vhd.store(block, disk[block * 2 * MIB : (block + 1) * 2 * MIB])
    qcow2 = Qcow2(size)
    for index, part in parts.items():
        if any(part):
            qcow2.packed(index, raw_deflate(part))
    write_stream(tmp_path / "d.vmdk", size // 512, parts)
    blocks = {at: disk[at * MIB : (at + 1) * MIB] for at in (1, 3, 4)}
    write_vhdx(tmp_path / "d.vhdx", virtual_size=size, blocks=blocks)
    qcow2.build().write(tmp_path / "d.qcow2")
    images = [
        raw(tmp_path / "d.raw", disk),
        raw(tmp_path / "d.raw.gz", gzip.compress(disk)),
        vhd.build().write(tmp_path / "d.vhd"),
        tmp_path / "d.vhdx",
        tmp_path / "d.vmdk",
        tmp_path / "d.qcow2",
    ]  # fmt: skip
    expected = f"sha256-1m:{size}:{tree_of(disk)}"
    for path in images:
        options = {"from_format": "raw"} if ".raw" in path.name else {}
        assert vhdfast.hash_image(path, **options).text == expected, path.name


def test_compressed_units_larger_than_a_block(tmp_path: Path) -> None:
    """Grains of 4 MiB, each of which is decoded once and holds four blocks."""
    disk = pattern(1, 4 * MIB) + bytes(4 * MIB) + pattern(2, 4 * MIB)
    grains = {0: disk[: 4 * MIB], 2: disk[8 * MIB :]}
    write_stream(tmp_path / "d.vmdk", len(disk) // 512, grains, grain=8192)
    assert vhdfast.hash_image(tmp_path / "d.vmdk").hex == tree_of(disk)


# ---- sizes --------------------------------------------------------------------------------------


def test_align_gives_the_digest_of_what_convert_writes(small_disk: Path, tmp_path: Path) -> None:
    vhdfast.convert(small_disk, tmp_path / "d.vhd")
    aligned = vhdfast.hash_image(small_disk, align=MIB)
    assert aligned.text == vhdfast.hash_image(tmp_path / "d.vhd").text
    assert aligned.size == 6 * MIB
    assert aligned.text != vhdfast.hash_image(small_disk).text


def test_zeros_behind_the_disk_make_another_digest(tmp_path: Path) -> None:
    path = raw(tmp_path / "d.raw", pattern(1, MIB))
    digests = {hashed(path, size=size) for size in (MIB, MIB + 1, 2 * MIB)}
    assert len(digests) == 3


def test_a_size_below_the_disk_is_refused(small_disk: Path) -> None:
    with pytest.raises(errors.UsageError, match="5243391 bytes, the disk has 5243392"):
        vhdfast.hash_image(small_disk, size=5 * MIB + 511)


@pytest.mark.parametrize("align", [0, 100])
def test_an_alignment_off_sectors_is_refused(small_disk: Path, align: int) -> None:
    with pytest.raises(errors.UsageError, match="alignment"):
        vhdfast.hash_image(small_disk, align=align)


@pytest.mark.large
def test_an_empty_disk_of_8_tib_costs_little(tmp_path: Path) -> None:
    path = tmp_path / "d.raw"
    path.touch()
    os.truncate(path, 8192 * GIB)
    script = (
        "import re, sys, vhdfast\n"
        "print(vhdfast.hash_image(sys.argv[1], from_format='raw').hex)\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    found, peak_kib = done.stdout.split()
    line = hashlib.sha256(bytes(MIB)).hexdigest().encode() + b"\n"
    expected = hashlib.sha256()
    for _ in range(1024):
        expected.update(line * 8192)
    expected.update(b"8796093022208\n")
    assert found == expected.hexdigest()
    assert int(peak_kib) < 128 * 1024


# ---- what goes wrong ----------------------------------------------------------------------------


class DoAtStart(vhdfast.Monitor):
    def __init__(self, action) -> None:  # type: ignore[no-untyped-def]
        self.start = lambda what, total: action()  # type: ignore[method-assign]


def test_a_source_that_is_written_to_midway_is_an_error(small_disk: Path) -> None:
    def write() -> None:
        with open(small_disk, "r+b") as file:
            file.write(b"x")

    with pytest.raises(errors.SourceChangedError):
        vhdfast.hash_image(small_disk, monitor=DoAtStart(write))


def test_a_source_that_shrinks_midway_is_an_error(small_disk: Path) -> None:
    with pytest.raises(errors.SourceChangedError):
        vhdfast.hash_image(small_disk, monitor=DoAtStart(lambda: os.truncate(small_disk, MIB)))


@pytest.mark.parametrize("plain", [False, True])
def test_an_interruption_ends_long_zeros(plain: bool, tmp_path: Path) -> None:
    """Of a disk that would take hours."""

    class Stop(vhdfast.Monitor):
        def advance(self, done: int) -> None:
            if done:
                raise KeyboardInterrupt

    path = tmp_path / "d.vhdx"
    write_vhdx(path, virtual_size=64 << 40, block_size=256 * MIB)
    with pytest.raises(KeyboardInterrupt):
        vhdfast.hash_image(path, size=(1 << 63) - 512, plain=plain, monitor=Stop())


def test_progress_ends_with_the_size(small_disk: Path) -> None:
    seen: list[int] = []

    class Watch(vhdfast.Monitor):
        def start(self, what: str, total: int) -> None:
            seen.append(total)
            assert what == "hashing"

        def advance(self, done: int) -> None:
            seen.append(done)

    vhdfast.hash_image(small_disk, monitor=Watch())
    assert seen[0] == seen[-1] == 5 * MIB + 512
    assert seen[1:] == sorted(seen[1:])


# ---- lines --------------------------------------------------------------------------------------

HEX = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{HEX}  d.raw", ("d.raw", "sha256", HEX, None)),
        (f"{HEX} *d.raw", ("d.raw", "sha256", HEX, None)),
        (f"{HEX.upper()}  a b  c", ("a b  c", "sha256", HEX, None)),
        (f"sha256-1m:1048576:{HEX}  d.raw\r", ("d.raw", "sha256-1m", HEX, MIB)),
        (f"\\{HEX}  a\\\\b\\nc\\rd\\x", ("a\\b\nc\rd\\x", "sha256", HEX, None)),
        (f"{HEX}  a\\nb", ("a\\nb", "sha256", HEX, None)),
    ],
)
def test_lines_that_are_understood(line: str, expected: tuple[object, ...], tmp_path: Path) -> None:
    path = raw(tmp_path / "digests", f"# a remark\n\n{line}\n".encode())
    (found,) = read_digests(path)
    assert (found.path, found.algorithm, found.hex, found.size) == expected


@pytest.mark.parametrize(
    "line",
    [
        f"{HEX} d.raw",
        f"{HEX}  ",
        f"{HEX[1:]}  d.raw",
        f"sha256-1m:{HEX}  d.raw",
        f"sha256-1m:{1 << 63}:{HEX}  d.raw",
        f"sha256-4m:4096:{HEX}  d.raw",
        f"md5:{HEX}  d.raw",
        "\x00",
    ],
)
def test_lines_that_are_not(line: str, tmp_path: Path) -> None:
    path = raw(tmp_path / "digests", f"{HEX}  good\n{line}\n".encode())
    with pytest.raises(errors.UsageError, match="line 2 is no digest and name"):
        read_digests(path)


def test_a_list_that_names_a_url_is_refused(tmp_path: Path) -> None:
    path = raw(tmp_path / "digests", f"{HEX}  http://localhost/d.raw\n".encode())
    with pytest.raises(errors.UsageError, match="line 1 names a URL"):
        read_digests(path)


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"a" * (16 * MIB + 1)])
def test_files_that_are_no_lists(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError):
        read_digests(raw(tmp_path / "digests", content))


@given(st.binary())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_of_digests_ends_in_lines_or_a_usage_error(tmp_path: Path, content: bytes) -> None:
    path = raw(tmp_path / "digests", content)
    try:
        found = read_digests(path)
    except errors.UsageError:
        return
    assert found


@given(st.text(min_size=1).filter(lambda name: "\0" not in name))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_names_come_back_from_lines(tmp_path: Path, name: str) -> None:
    digest = vhdfast.DiskDigest("sha256-1m", HEX, 512, 512, 0)
    line = digest_line(digest, name)
    assert "\n" not in line
    if "://" in name or re.search(r"[\ud800-\udfff]", name):
        return
    path = raw(tmp_path / "digests", f"{line}\n".encode())
    (found,) = read_digests(path)
    assert found.path == name
