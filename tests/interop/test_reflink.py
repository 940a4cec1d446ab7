"""On real file systems with reflinks: what is shared, what is copied, and that both are right."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path

import pytest

import vhdfast
from tests.support import KIB, MIB, pattern
from tests.support.build_vdi import vdi

pytestmark = [pytest.mark.root]

Qemu = Callable[..., str]

SYSTEMS = {"xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"], "btrfs": ["mkfs.btrfs", "-q"]}
PACKAGES = {"mkfs.xfs": "xfsprogs", "mkfs.btrfs": "btrfs-progs"}


def mounted(system: str, folder: Path) -> Iterator[Path]:
    """A small file system of that sort, on a loop device until the tests are over."""
    command = SYSTEMS[system]
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (apt install {PACKAGES[command[0]]})")
    image, place = folder / "image", folder / "mounted"
    place.mkdir()
    with open(image, "wb") as file:
        file.truncate(512 * MIB)
    subprocess.run([*command, image], check=True, capture_output=True)
    done = subprocess.run(
        ["mount", "-t", system, "-o", "loop", image, place], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount {system} here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture(scope="module", params=["xfs", "btrfs"])
def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    yield from mounted(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from mounted("btrfs", tmp_path_factory.mktemp("one-btrfs"))


@pytest.fixture
def shared(system: Path, tmp_path: Path) -> Iterator[Path]:
    """An empty directory on a file system with reflinks."""
    folder = system / tmp_path.name
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def disk(shared: Path) -> Path:
    return make_disk(shared / "disk.raw")


def make_disk(path: Path, size: int = 24 * MIB) -> Path:
    """Islands in a hole: a sector, 4 MiB, and 1 MiB that begins and ends within a block."""
    with open(path, "wb") as file:
        file.truncate(size)
        file.seek(510)
        file.write(b"\x55\xaa")
        file.seek(2 * MIB)
        file.write(pattern(1, 4 * MIB))
        file.seek(12 * MIB + 1536)
        file.write(pattern(2, MIB))
    return path


def shared_bytes(path: Path) -> int:
    """Bytes of a file in blocks that another file has too, as the kernel says (FIEMAP)."""
    fd = os.open(path, os.O_RDONLY)
    try:
        found = start = 0
        while True:
            room = 128
            request = struct.pack("=QQIIII", start, 2**64 - 1 - start, 1, 0, room, 0)
            answer = bytearray(request + bytes(56 * room))
            ioctl(fd, 0xC020660B, answer)  # FS_IOC_FIEMAP, with SYNC
            for index in range(struct.unpack_from("=I", answer, 20)[0]):
                at, _, length, _, _, flags = struct.unpack_from("=QQQQQI", answer, 32 + 56 * index)
                found += length if flags & 0x2000 else 0
                start = at + length
                if flags & 1:
                    return found
            if not struct.unpack_from("=I", answer, 20)[0]:
                return found
    finally:
        os.close(fd)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def changed(path: Path) -> tuple[int, int]:
    return path.stat().st_mtime_ns, path.stat().st_ctime_ns


FORMATS = {
    "raw": ("raw", ()),
    "fixed VHD": ("vpc", ("subformat=fixed,force_size",)),
    "VHDX": ("vhdx", ()),
    "fixed VHDX": ("vhdx", ("subformat=fixed",)),
    "qcow2": ("qcow2", ()),
    "flat VMDK": ("vmdk", ("subformat=monolithicFlat",)),
    "sparse VMDK": ("vmdk", ()),
    "Parallels": ("parallels", ()),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_cloned(kind: str, shared: Path, disk: Path, qemu_img: Qemu) -> None:
    name, options = FORMATS[kind]
    source, target = shared / "source", shared / "out.vhd"
    words = [word for option in options for word in ("-o", option)]
    qemu_img("convert", "-f", "raw", "-O", name, *words, disk, source)
    before, times = digest(source), changed(source)

    result = vhdfast.convert(source, target, from_format={"raw": "raw"}.get(name), verify_copy=True)

    # Where the map speaks of data that is a hole in the file (blocks that XFS keeps ready for what
    # may follow), the clone is a hole too.
    assert 5 * MIB <= shared_bytes(target) <= result.cloned == result.plan.cloneable
    assert result.read < 2 * MIB
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "vpc", disk, target)
    assert (digest(source), changed(source)) == (before, times)


def test_blocks_of_virtualbox_are_cloned(shared: Path, qemu_img: Qemu) -> None:
    """VirtualBox aligns them to MiB, which qemu-img does not."""
    source, target = shared / "disk.vdi", shared / "out.vhd"
    blocks = {5: pattern(8, MIB), 2: pattern(9, MIB)}
    vdi(virtual_size=8 * MIB, blocks=blocks).write(source)
    result = vhdfast.convert(source, target)
    assert (result.cloned, result.read, shared_bytes(target)) == (2 * MIB, 0, 2 * MIB)
    assert "identical" in qemu_img("compare", "-f", "vdi", "-F", "vpc", source, target)


@pytest.mark.parametrize(("name", "option"), [("vpc", ["-o", "force_size"]), ("vdi", [])])
def test_blocks_that_begin_at_odd_sectors_are_copied(
    name: str, option: list[str], shared: Path, disk: Path, qemu_img: Qemu
) -> None:
    """A dynamic VHD has 512 bytes before each block; a VDI of qemu-img begins at any sector."""
    source, target = shared / "source", shared / "out.vhd"
    qemu_img("convert", "-f", "raw", "-O", name, *option, disk, source)
    result = vhdfast.convert(source, target)
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "vpc", disk, target)
    assert result.written >= 5 * MIB - result.cloned
    assert shared_bytes(target) <= result.cloned <= 2 * MIB


def test_a_chain_is_cloned_from_all_its_files(shared: Path, disk: Path, qemu_img: Qemu) -> None:
    base, top, target = shared / "base.qcow2", shared / "top.qcow2", shared / "out.vhd"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", disk, base)
    qemu_img("create", "-f", "qcow2", "-F", "qcow2", "-b", base, top)
    subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", "write -P 65 3M 1M", "-c", "write -P 66 20M 128k", top],
        check=True, capture_output=True,
    )  # fmt: skip
    result = vhdfast.convert(top, target)
    assert result.cloned >= 4 * MIB + 128 * KIB
    assert shared_bytes(target) == result.cloned
    assert "identical" in qemu_img("compare", "-f", "qcow2", "-F", "vpc", top, target)


def test_compressed_clusters_are_decoded(shared: Path, disk: Path, qemu_img: Qemu) -> None:
    source, target = shared / "source.qcow2", shared / "out.vhd"
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", disk, source)
    result = vhdfast.convert(source, target)
    assert (result.cloned, result.plan.cloneable) == (0, 0)
    # The clusters of 64 KiB that hold data: 64 of the first island, 17 of the second, the first.
    assert result.decoded == 82 * 64 * KIB
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "vpc", disk, target)


def test_an_unpacked_image_is_cloned(shared: Path, disk: Path, qemu_img: Qemu) -> None:
    source, target = shared / "source.qcow2", shared / "out.vhd"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", disk, source)
    packed = shared / "source.qcow2.gz"
    packed.write_bytes(gzip.compress(source.read_bytes(), 1))
    assert vhdfast.convert(packed, target).cloned >= 4 * MIB
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "vpc", disk, target)


def test_data_that_begins_between_blocks_of_its_file_is_copied(
    shared: Path, qemu_img: Qemu
) -> None:
    data = pattern(3, 4 * MIB)
    (shared / "x-flat.vmdk").write_bytes(bytes(512) + data)
    (shared / "x.vmdk").write_text(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        'createType="monolithicFlat"\nRW 8192 FLAT "x-flat.vmdk" 1\n'
        'ddb.adapterType = "ide"\nddb.geometry.cylinders = "8"\nddb.geometry.heads = "16"\n'
        'ddb.geometry.sectors = "63"\n'
    )
    result = vhdfast.convert(shared / "x.vmdk", shared / "out.raw", to="raw")
    assert (result.cloned, result.written) == (0, 4 * MIB)
    assert (shared / "out.raw").read_bytes() == data


@pytest.mark.parametrize("to", ["raw", "fixed-vhd"])
@pytest.mark.parametrize("more", [512, 3584, 4096 + 1024])
def test_a_last_block_that_is_not_whole(to: str, more: int, shared: Path) -> None:
    source, target = shared / "disk.raw", shared / "out"
    data = pattern(4, MIB + more)
    source.write_bytes(data)
    result = vhdfast.convert(source, target, to=to, from_format="raw")
    assert target.read_bytes()[: len(data)] == data
    assert result.cloned == (MIB + more) // 4096 * 4096


def test_stored_zeros_stay_in_a_clone_and_become_holes_in_a_copy(shared: Path) -> None:
    source = shared / "disk.raw"
    source.write_bytes(pattern(5, MIB) + bytes(4 * MIB) + pattern(6, MIB))
    cloned = vhdfast.convert(source, shared / "cloned.vhd", from_format="raw")
    copied = vhdfast.convert(source, shared / "copied.vhd", from_format="raw", clone=False)
    assert (cloned.cloned, cloned.zeros_found, cloned.read) == (6 * MIB, 0, 0)
    assert (copied.cloned, copied.zeros_found, copied.written) == (0, 4 * MIB, 2 * MIB)
    assert shared_bytes(shared / "copied.vhd") == 0


def test_an_allocated_target_shares_nothing(shared: Path, disk: Path, qemu_img: Qemu) -> None:
    target = shared / "out.vhd"
    result = vhdfast.convert(disk, target, allocate=True)
    assert (result.cloned, result.plan.cloneable, shared_bytes(target)) == (0, 0, 0)
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "vpc", disk, target)


def test_a_target_that_stores_blocks_is_copied(shared: Path, disk: Path, qemu_img: Qemu) -> None:
    target = shared / "out.vhd"
    assert vhdfast.convert(disk, target, to="dynamic-vhd").cloned == 0
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "vpc", disk, target)


@pytest.mark.parametrize("inwards", [True, False])
def test_between_two_file_systems_all_is_copied(
    inwards: bool, shared: Path, tmp_path: Path, qemu_img: Qemu
) -> None:
    here, there = (tmp_path, shared) if inwards else (shared, tmp_path)
    source, target = make_disk(here / "disk.raw"), there / "out.vhd"
    result = vhdfast.convert(source, target, verify_copy=True)
    assert (result.cloned, result.plan.cloneable) == (0, 0)
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "vpc", source, target)


def test_what_is_changed_in_a_target_afterwards_is_not_changed_in_the_source(shared: Path) -> None:
    """The GPT's backup moves, over blocks that were shared a moment before."""
    source, target = shared / "disk.raw", shared / "out.raw"
    source.write_bytes(pattern(7, 8 * MIB))
    layout = "label: gpt\nstart=2048, size=4096, type=linux\n"
    subprocess.run(["sfdisk", "-q", "--wipe=always", source], input=layout, text=True, check=True)
    before = digest(source)
    result = vhdfast.convert(
        source, target, to="raw", size=16 * MIB, relocate_gpt=True, verify_copy=True
    )
    assert (result.cloned, result.plan.gpt_moved) == (8 * MIB, True)
    assert digest(source) == before
    os.truncate(target, 0)
    assert digest(source) == before


def test_the_plan_needs_no_room_for_clones(shared: Path, disk: Path) -> None:
    plan = vhdfast.plan_conversion(disk, shared / "out.vhd")
    copied = vhdfast.plan_conversion(disk, shared / "out.vhd", clone=False)
    assert plan.cloneable == 5 * MIB + 4096
    assert plan.data - plan.space_needed == plan.cloneable - 512
    assert copied.space_needed == copied.data + 512
    assert os.listdir(shared) == ["disk.raw"]


def test_what_is_printed(btrfs: Path, vhdfast_cli: Callable[..., object]) -> None:
    disk = make_disk(btrfs / "printed.raw")

    def output(*words: object) -> str:
        done = vhdfast_cli("convert", disk, btrfs / "printed.vhd", "--force", *words)
        assert isinstance(done, subprocess.CompletedProcess) and done.returncode == 0, done
        return str(done.stdout)

    clone = 5 * MIB + 4096
    assert "to clone:" in output("--dry-run")
    assert "to clone:" not in output("--dry-run", "--no-clone")
    assert f"({clone} bytes), in blocks that the target shares" in output()
    assert "cloned:" not in output("--no-clone")
    answer = json.loads(output("--json"))
    assert (answer["plan"]["cloneable"], answer["cloned"], answer["decoded"]) == (clone, clone, 0)
    assert json.loads(output("--json", "--no-clone"))["cloned"] == 0


def test_of_a_chain_what_cannot_be_cloned_is_copied(
    btrfs: Path, tmp_path: Path, qemu_img: Qemu
) -> None:
    """btrfs does not share blocks between a file with checksums and one without (chattr +C)."""
    if shutil.which("chattr") is None:
        pytest.skip("chattr is not installed (apt install e2fsprogs)")
    plain = btrfs / "without"
    plain.mkdir()
    subprocess.run(["chattr", "+C", plain], check=True)
    raw, base = make_disk(btrfs / "disk.raw"), plain / "base.qcow2"
    top, target = btrfs / "top.qcow2", btrfs / "out.vhd"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, base)
    qemu_img("create", "-f", "qcow2", "-F", "qcow2", "-b", base, top)
    command = ["qemu-io", "-f", "qcow2", "-c", "write -P 65 20M 1M", top]
    subprocess.run(command, check=True, capture_output=True)
    result = vhdfast.convert(top, target, allow_references=[str(plain)], verify_copy=True)
    assert result.cloned == result.plan.cloneable == MIB
    assert shared_bytes(target) == MIB
    assert "identical" in qemu_img("compare", "-f", "qcow2", "-F", "vpc", top, target)
