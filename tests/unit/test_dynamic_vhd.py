"""Dynamic VHDs as target: every byte of them, what takes room, and what goes wrong midway."""

from __future__ import annotations

import gzip
import os
import random
import resource
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vhdfast
from tests.support import GIB, KIB, MIB, pattern
from tests.support.build_vhd import DynamicVhd
from tests.support.build_vhdx import write_vhdx
from tests.support.build_vmdk import write_stream
from vhdfast import errors
from vhdfast.outputs.dynamic_vhd import DynamicVhd as Target

ID = "01234567-89ab-cdef-0123-456789abcdef"
BLOCK = 2 * MIB


@pytest.fixture
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "946685800")  # 1000 s into the time of VHDs


def disk_file(path: Path, size: int, pieces: dict[int, bytes]) -> Path:
    """A sparse raw disk."""
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
    return path


def only(folder: Path, *names: str) -> None:
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(names)


def flat(image: bytes) -> bytes:
    """The disk in a dynamic VHD, by a reading of the specification of its own."""
    footer = image[-512:]
    assert footer == image[:512]
    (size,) = struct.unpack_from(">Q", footer, 48)
    (header,) = struct.unpack_from(">Q", footer, 16)
    (table,) = struct.unpack_from(">Q", image, header + 16)
    entries, block = struct.unpack_from(">II", image, header + 28)
    disk = bytearray(entries * block)
    for index, sector in enumerate(struct.unpack_from(f">{entries}I", image, table)):
        if sector != 0xFFFFFFFF:
            at = sector * 512
            assert image[at : at + 512] == b"\xff" * 512
            disk[index * block : (index + 1) * block] = image[at + 512 : at + 512 + block]
            assert at + 512 + block <= len(image) - 512
    assert not any(disk[size:])
    return bytes(disk[:size])


# ---- every byte ---------------------------------------------------------------------------------


def test_every_byte_of_the_file(tmp_path: Path, fixed_time: None) -> None:
    first, third = pattern(1, BLOCK), pattern(3, 100 * KIB)
    source = disk_file(
        tmp_path / "d.raw", 6 * MIB, {0: first, BLOCK: bytes(BLOCK), 2 * BLOCK + 300 * KIB: third}
    )

    result = vhdfast.convert(source, tmp_path / "d.vhd", to="dynamic-vhd", from_format="raw",
                             unique_id=ID)  # fmt: skip

    # The footer copy, the header and the table end at 2048; blocks stand at whole granules of
    # 4096 with their bitmaps right before them.
    expected = DynamicVhd(
        6 * MIB,
        footer={"creator": b"vhdf", "creator_version": 1,
                "unique_id": bytes.fromhex(ID.replace("-", "")), "timestamp": 1000},
    )  # fmt: skip
    expected.store(0, first, at=8192 - 512)
    expected.store(2, bytes(300 * KIB) + third, at=8192 + BLOCK + 4096 - 512)
    file = expected.build()
    file.put(1536 + 3 * 4, b"\xff" * (512 - 12))  # what the table's sector has left
    image = (tmp_path / "d.vhd").read_bytes()
    assert len(image) == 8192 + BLOCK + 4096 + BLOCK + 512 == file.size == result.file_size
    assert image == file.get(0, file.size)


def test_what_is_said_of_the_copy(tmp_path: Path) -> None:
    source = disk_file(
        tmp_path / "d.raw", 6 * MIB, {0: pattern(1, MIB), BLOCK: bytes(MIB), 4 * MIB: b"x" * 4096}
    )
    result = vhdfast.convert(source, tmp_path / "d.vhd", to="dynamic-vhd", from_format="raw",
                             verify_copy=True)  # fmt: skip
    assert (result.read, result.written, result.zeros_found) == (2 * MIB + 4096, MIB + 4096, MIB)
    # At most: that the second block is zero is not known before.
    assert result.plan.file_size == 4096 + 3 * (4096 + BLOCK) + 512
    assert result.file_size == 4096 + 2 * (4096 + BLOCK) + 512
    assert result.plan.space_needed == 4096 + 3 * 4096 + 512 + 2 * MIB + 4096


def test_zeros_in_a_block_that_is_stored_are_holes(tmp_path: Path) -> None:
    source = disk_file(tmp_path / "d.raw", 64 * MIB, {at * BLOCK: b"x" for at in range(32)})
    vhdfast.convert(source, tmp_path / "d.vhd", to="dynamic-vhd", from_format="raw")
    status = os.stat(tmp_path / "d.vhd")
    assert status.st_size == 4096 + 32 * (4096 + BLOCK) + 512
    assert status.st_blocks * 512 < MIB


def test_allocate_leaves_no_hole(tmp_path: Path) -> None:
    source = disk_file(tmp_path / "d.raw", 64 * MIB, {20 * MIB: b"x", 40 * MIB: b"x"})
    vhdfast.convert(source, tmp_path / "d.vhd", to="dynamic-vhd", from_format="raw", allocate=True)
    status = os.stat(tmp_path / "d.vhd")
    assert status.st_size == 4096 + 2 * (4096 + BLOCK) + 512
    assert status.st_blocks * 512 >= status.st_size


@pytest.mark.parametrize("size", [MIB, BLOCK - 512, BLOCK, BLOCK + 512, 3 * MIB])
def test_the_last_block_may_be_longer_than_the_disk(size: int, tmp_path: Path) -> None:
    content = pattern(7, size)
    source = disk_file(tmp_path / "d.raw", size, {0: content})
    vhdfast.convert(source, tmp_path / "d.vhd", to="dynamic-vhd", from_format="raw", align=512)
    assert flat((tmp_path / "d.vhd").read_bytes()) == content


@st.composite
def disks(draw):  # type: ignore[no-untyped-def]
    """(size, pieces, jobs): data and stored zeros in odd places of up to 12 MiB."""
    size = draw(st.integers(1, 12 * MIB // 512)) * 512
    pieces = {}
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, size - 1))
        length = min(size - at, draw(st.sampled_from([1, 511, 4096, 70_000, MIB, 5 * MIB])))
        pieces[at] = bytes(length) if draw(st.booleans()) else pattern(at % 99, length)
    return size, pieces, draw(st.sampled_from([1, 2, 8]))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(disks())
def test_any_disk(tmp_path: Path, disk) -> None:  # type: ignore[no-untyped-def]
    size, pieces, jobs = disk
    source = disk_file(tmp_path / "d.raw", size, pieces)
    target = tmp_path / "d.vhd"
    vhdfast.convert(source, target, to="dynamic-vhd", from_format="raw", align=512, force=True,
                    jobs=jobs)  # fmt: skip
    content = source.read_bytes()
    image = target.read_bytes()
    assert flat(image) == content
    blocks = sum(any(content[at : at + BLOCK]) for at in range(0, size, BLOCK))
    assert len(image) == (4096 + blocks * (4096 + BLOCK) if blocks else 2048) + 512


# ---- the same disk, the same file ---------------------------------------------------------------


def test_the_file_depends_on_the_disk_alone(tmp_path: Path, fixed_time: None) -> None:
    size = 20 * MIB
    pieces = {MIB: pattern(1, MIB), 9 * MIB: pattern(2, MIB), 19 * MIB: pattern(3, MIB)}
    sparse = disk_file(tmp_path / "sparse.raw", size, pieces)
    content = sparse.read_bytes()
    (tmp_path / "full.raw").write_bytes(content)
    (tmp_path / "packed.raw.gz").write_bytes(gzip.compress(content))
    blocks = {at // MIB: data for at, data in pieces.items()}
    write_vhdx(tmp_path / "d.vhdx", virtual_size=size, blocks=blocks)
    grains = {at // (64 * KIB): content[at : at + 64 * KIB] for at in range(0, size, 64 * KIB)}
    write_stream(tmp_path / "d.vmdk", size // 512, grains)
    images = []
    for source, jobs in [("sparse.raw", 1), ("full.raw", 8), ("packed.raw.gz", 3), ("d.vhdx", 8),
                         ("d.vmdk", 2)]:  # fmt: skip
        target = tmp_path / f"{source}.out"
        vhdfast.convert(tmp_path / source, target, to="dynamic-vhd", unique_id=ID, jobs=jobs,
                        **({"from_format": "raw"} if "raw" in source else {}))  # fmt: skip
        images.append(target.read_bytes())
    assert len(images[0]) == 4096 + 3 * (4096 + BLOCK) + 512
    assert all(image == images[0] for image in images[1:])


def test_blocks_stand_in_the_order_of_the_disk_whoever_is_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker with the first block is held up until another one has read its own."""
    source = disk_file(tmp_path / "d.raw", 3 * BLOCK, {0: b"1", BLOCK: b"2", 2 * BLOCK: b"3"})
    later = threading.Event()
    read = vhdfast.Image.read_rows

    def read_rows(self, rows, offset, buffer):  # type: ignore[no-untyped-def]
        if offset == 0:
            assert later.wait(10)
        read(self, rows, offset, buffer)
        if offset == 2 * BLOCK:
            later.set()

    monkeypatch.setattr(vhdfast.Image, "read_rows", read_rows)
    vhdfast.convert(source, tmp_path / "d.vhd", to="dynamic-vhd", from_format="raw", jobs=3)
    image = (tmp_path / "d.vhd").read_bytes()
    assert [image[8192 + at * (4096 + BLOCK)] for at in range(3)] == [*b"123"]


# ---- empty, large, too large --------------------------------------------------------------------


def test_an_empty_disk_ends_with_its_table(tmp_path: Path) -> None:
    """qemu puts its first block there, and takes what follows in the file for the block's."""
    vhdfast.create(tmp_path / "d.vhd", 5 * MIB, to="dynamic-vhd")
    image = (tmp_path / "d.vhd").read_bytes()
    assert len(image) == 2048 + 512
    assert image[1536:2048] == b"\xff" * 512
    assert flat(image) == bytes(5 * MIB)


def test_the_largest_disk(tmp_path: Path) -> None:
    made = vhdfast.create(tmp_path / "d.vhd", 2040 * GIB, to="dynamic-vhd")
    assert made.virtual_size == 2040 * GIB
    assert (tmp_path / "d.vhd").stat().st_size == 1536 + 4 * 1044480 + 512
    with vhdfast.open_image(tmp_path / "d.vhd") as image:
        assert image.virtual_size == 2040 * GIB
        assert [extent.kind for extent in image.extents()] == [vhdfast.Kind.ZERO]


def test_the_last_place_fits_the_table(tmp_path: Path) -> None:
    from vhdfast.outputs import TargetOptions

    target = Target(str(tmp_path / "d.vhd"), 2040 * GIB, TargetOptions())
    for block in range(2040 * GIB // BLOCK):
        place = target.place(block)
    assert place == round_up(1536 + 4 * 1044480) + 1044479 * (4096 + BLOCK)
    (_, table), _, _ = target.last_writes()
    assert table[-4:] == struct.pack(">I", (place + 4096) // 512 - 1)


def round_up(offset: int) -> int:
    return -(-offset // 4096) * 4096


def test_one_mib_beyond_the_largest_is_refused(tmp_path: Path) -> None:
    source = disk_file(tmp_path / "d.raw", MIB, {})
    with pytest.raises(errors.TargetTooLargeError, match="at most .*2190433320960 bytes"):
        vhdfast.convert(source, tmp_path / "d.vhd", to="dynamic-vhd", from_format="raw",
                        size=2040 * GIB + MIB)  # fmt: skip
    only(tmp_path, "d.raw")


# ---- what goes wrong ----------------------------------------------------------------------------


def test_nothing_looks_like_a_vhd_before_the_data_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = disk_file(tmp_path / "d.raw", 6 * MIB, {0: b"x" * MIB})
    synced: list[tuple[bool, bool]] = []
    fsync = os.fsync

    def look(fd: int) -> None:
        (part,) = tmp_path.glob(".*.part")
        image = part.read_bytes()
        synced.append((b"conectix" in image, b"cxsparse" in image))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", look)
    target = Target.publish
    monkeypatch.setattr(Target, "publish", lambda self: (monkeypatch.undo(), target(self)))
    vhdfast.convert(source, tmp_path / "d.vhd", to="dynamic-vhd", from_format="raw")
    assert synced == [(False, False), (True, True)]


def test_a_failing_read_leaves_nothing_and_waits_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = disk_file(tmp_path / "d.raw", 64 * MIB, {at * BLOCK: b"x" for at in range(32)})
    read = vhdfast.Image.read_rows

    def read_rows(self, rows, offset, buffer):  # type: ignore[no-untyped-def]
        if offset == 3 * BLOCK:
            raise errors.ReadError("the disk is gone", path="d.raw", offset=offset)
        read(self, rows, offset, buffer)

    monkeypatch.setattr(vhdfast.Image, "read_rows", read_rows)
    with pytest.raises(errors.ReadError, match="the disk is gone"):
        vhdfast.convert(source, tmp_path / "d.vhd", to="dynamic-vhd", from_format="raw", jobs=8)
    only(tmp_path, "d.raw")


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    source = disk_file(tmp_path / "d.raw", 16 * MIB, {0: random.Random(1).randbytes(16 * MIB)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * MIB, before[1]))
    try:
        with pytest.raises(errors.TargetTooLargeError):
            vhdfast.convert(source, tmp_path / "d.vhd", to="dynamic-vhd", from_format="raw")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    only(tmp_path, "d.raw")


@pytest.mark.parametrize("allocate", [False, True])
def test_a_full_file_system(tmp_path: Path, as_root: None, allocate: bool) -> None:
    # Without room for the blocks' zeros, where all is to be allocated.
    data = {at * BLOCK: b"x" for at in range(8)} if allocate else {0: b"x" * 12 * MIB}
    source = disk_file(tmp_path / "d.raw", 16 * MIB, data)
    place = tmp_path / "full"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", place]).returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        with pytest.raises(errors.NoSpaceError):
            vhdfast.convert(source, place / "d.vhd", to="dynamic-vhd", from_format="raw",
                            allocate=allocate, check_space=False)  # fmt: skip
        only(place)
    finally:
        subprocess.run(["umount", place], check=True)


def test_verify_sees_a_wrong_entry_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = disk_file(tmp_path / "d.raw", 4 * BLOCK, {0: b"1", BLOCK: b"2"})
    writes = Target.last_writes

    def damaged(self: Target) -> list[tuple[int, bytes]]:
        found = writes(self)
        table = bytearray(found[0][1])
        table[1024:1032] = table[1028:1032] + table[1024:1028]
        return [(512, bytes(table)), *found[1:]]

    monkeypatch.setattr(Target, "last_writes", damaged)
    with pytest.raises(errors.VerifyError) as caught:
        vhdfast.convert(source, tmp_path / "d.vhd", to="dynamic-vhd", from_format="raw",
                        verify_copy=True)  # fmt: skip
    assert caught.value.offset == 0
    only(tmp_path, "d.raw")


@pytest.mark.large
def test_memory_stays_flat(tmp_path: Path) -> None:
    """20 000 islands in 2 TiB: a block each."""
    source = tmp_path / "big.raw"
    with open(source, "wb") as file:
        file.truncate(2000 * GIB)
        for index in range(20_000):
            os.pwrite(file.fileno(), b"x" * 4096, index * 50 * BLOCK)
    script = (
        "import re, sys, vhdfast\n"
        "result = vhdfast.convert(sys.argv[1], sys.argv[2], to='dynamic-vhd', from_format='raw')\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())\n"
        "print(result.written, peak[1])\n"
    )
    command = [sys.executable, "-c", script, str(source), str(tmp_path / "big.vhd")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written, peak_kib = map(int, done.stdout.split())
    assert written == 20_000 * 4096
    assert peak_kib < 128 * 1024
