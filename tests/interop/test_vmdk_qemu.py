"""qemu-img and vhdfast read the same from each other's VMDKs, and where qemu-img is wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

import vhdfast
from tests.support import corpus
from tests.support.build_vmdk import (
    KIB,
    MIB,
    descriptor,
    pattern,
    poke,
    write_cowd,
    write_descriptor,
    write_sesparse,
    write_sparse,
    write_stream,
)
from vhdfast import open_image

Qemu = Callable[..., str]
GRAIN = 64 * KIB
GIB = 1 << 30


def same_content(path: Path, qemu_img: Qemu, folder: Path, size: int) -> None:
    """Both convert the image, to the same bytes."""
    qemu_img("convert", "-f", "vmdk", "-O", "raw", path, folder / "theirs.raw")
    assert (folder / "theirs.raw").stat().st_size == size
    vhdfast.convert(path, folder / "ours.vhd")
    assert corpus.digest_of_fixed_vhd(folder / "ours.vhd", size) == corpus.digest_of_fixed_vhd(
        folder / "theirs.raw", size
    )


def write_patterns(path: Path, *writes: tuple[int, int, int]) -> None:
    """Writes of (pattern, offset, length) by qemu-io."""
    words = ["qemu-io", "-f", "vmdk"]
    for value, offset, length in writes:
        words += ["-c", f"write -P {value} {offset} {length}"]
    subprocess.run([*words, str(path)], check=True, capture_output=True)


SPARSE_KINDS = ["monolithicSparse", "twoGbMaxExtentSparse"]
FLAT_KINDS = ["monolithicFlat", "twoGbMaxExtentFlat"]


@pytest.mark.parametrize("kind", [*SPARSE_KINDS, *FLAT_KINDS])
@pytest.mark.parametrize("size", [40 * MIB, 5 * GIB, 10 * MIB + 3 * 512])
def test_what_qemu_writes(tmp_path: Path, qemu_img: Qemu, kind: str, size: int) -> None:
    path = tmp_path / "d.vmdk"
    qemu_img("create", "-f", "vmdk", "-o", f"subformat={kind}", path, size)
    write_patterns(
        path, (1, 0, 512), (2, size // 2 - 70_144, 3 * GRAIN), (3, size - 1024, 1024),
        (0, MIB, MIB), (4, size // 3 // 512 * 512, 512),
    )  # fmt: skip
    with open_image(path) as image:
        assert image.pread(0, 512) == b"\1" * 512
        assert image.pread(size - 1024, 1024) == b"\3" * 1024
        assert image.info().subformat == kind
        assert image.notices == ()
    same_content(path, qemu_img, tmp_path, size)


@pytest.mark.parametrize("size", [20 * MIB, 10 * MIB + 3 * 512])
def test_streams_that_qemu_writes(tmp_path: Path, qemu_img: Qemu, size: int) -> None:
    raw = tmp_path / "d.raw"
    with open(raw, "wb") as file:
        file.truncate(size)
        file.write(pattern(1, 3 * MIB + 512))
        file.seek(8 * MIB)
        file.write(bytes(range(256)) * 4096)
    path = tmp_path / "d.vmdk"
    qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, path)
    with open_image(path) as image:
        assert image.pread(0, size) == raw.read_bytes()
    same_content(path, qemu_img, tmp_path, size)


def test_zeroed_grains_that_qemu_writes(tmp_path: Path, qemu_img: Qemu) -> None:
    base, path = tmp_path / "base.vmdk", tmp_path / "d.vmdk"
    qemu_img("create", "-f", "vmdk", base, 10 * MIB)
    write_patterns(base, (1, 0, 10 * MIB))
    qemu_img("create", "-f", "vmdk", "-o", "zeroed_grain=on", "-b", base, "-F", "vmdk", path)
    write_patterns(path, (7, 5 * MIB, GRAIN))
    subprocess.run(["qemu-io", "-f", "vmdk", "-c", f"write -z {MIB} {MIB}", str(path)],
                   check=True, capture_output=True)  # fmt: skip
    with open_image(path) as image:
        assert image.pread(MIB, MIB) == bytes(MIB)
        assert image.pread(2 * MIB, 512) == b"\1" * 512
        assert image.pread(5 * MIB, 512) == b"\7" * 512
    same_content(path, qemu_img, tmp_path, 10 * MIB)


def test_a_chain_that_qemu_writes(tmp_path: Path, qemu_img: Qemu) -> None:
    names = [tmp_path / name for name in ("a.vmdk", "b.vmdk", "c.vmdk")]
    qemu_img("create", "-f", "vmdk", names[0], 20 * MIB)
    write_patterns(names[0], (1, 0, 5 * MIB))
    for below, path in pairwise(names):
        qemu_img("create", "-f", "vmdk", "-b", below.name, "-F", "vmdk", path)
        write_patterns(path, (len(path.name), MIB, 100 * KIB), (9, 15 * MIB, 512))
    same_content(names[2], qemu_img, tmp_path, 20 * MIB)


# ---- what the tests' builder writes -------------------------------------------------------------


def test_the_builders_sparse_extents_are_vmdk_to_qemu(tmp_path: Path, qemu_img: Qemu) -> None:
    numbers = [0, 3, 511, 512, 1025, 1200]
    for grain in (16, 128):
        grains: dict[int, bytes | None] = {n: pattern(n, grain * 512) for n in numbers}
        grains[5] = None
        path = tmp_path / f"{grain}.vmdk"
        write_sparse(path, grain * 1201 - 5, grains, grain=grain, order=[*numbers[::-1], 5])
        same_content(path, qemu_img, tmp_path, (grain * 1201 - 5) * 512)
        (tmp_path / "ours.vhd").unlink()


@pytest.mark.parametrize("footer", [False, True])
def test_the_builders_streams_are_vmdk_to_qemu(
    tmp_path: Path, qemu_img: Qemu, footer: bool
) -> None:
    grains = {n: pattern(n, GRAIN) for n in (0, 1, 511, 513, 599)}
    layout = write_stream(tmp_path / "d.vmdk", 128 * 600, grains, footer=footer)
    same_content(layout.path, qemu_img, tmp_path, 600 * GRAIN)


def test_the_builders_esx_extents_are_vmdk_to_qemu(tmp_path: Path, qemu_img: Qemu) -> None:
    write_sesparse(tmp_path / "se", 64_000, {n: pattern(n, 4096) for n in (0, 7, 4096, 7999)})
    path = write_descriptor(
        tmp_path / "se.vmdk", ['RW 64000 SESPARSE "se"'], create_type="seSparse"
    )
    same_content(path, qemu_img, tmp_path, 64_000 * 512)
    (tmp_path / "ours.vhd").unlink()
    write_cowd(tmp_path / "cowd", 64_000, {n: pattern(n, 512) for n in (0, 7, 4096, 63_999)})
    path = write_descriptor(
        tmp_path / "cowd.vmdk", ['RW 64000 VMFSSPARSE "cowd"'], create_type="vmfsSparse"
    )
    same_content(path, qemu_img, tmp_path, 64_000 * 512)


def test_both_read_discarded_grains_of_sesparse_as_zeros(tmp_path: Path, qemu_img: Qemu) -> None:
    write_sparse(
        tmp_path / "base.vmdk", 128, {0: pattern(1, GRAIN)},
        text=descriptor(['RW 128 SPARSE "x"'], "monolithicSparse", cid="0000abcd"),
    )  # fmt: skip
    write_sesparse(tmp_path / "se", 128, {0: 1, 1: 2, 2: b"own"})
    path = write_descriptor(
        tmp_path / "d.vmdk", ['RW 128 SESPARSE "se"'], create_type="seSparse", parent="0000abcd",
        hint="base.vmdk",
    )  # fmt: skip
    with open_image(path) as image:
        assert image.pread(0, 8192) == bytes(8192)
        assert image.pread(12288, 512) == pattern(1, 13 * KIB)[12288:12800]
    same_content(path, qemu_img, tmp_path, GRAIN)


# ---- where qemu-img is wrong --------------------------------------------------------------------


def test_qemu_drops_zero_extents_and_shifts_what_follows(tmp_path: Path, qemu_img: Qemu) -> None:
    (tmp_path / "a").write_bytes(b"a" * 4096)
    (tmp_path / "b").write_bytes(b"b" * 4096)
    lines = ['RW 8 FLAT "a" 0', "RW 8 ZERO", 'RW 8 FLAT "b" 0']
    path = write_descriptor(tmp_path / "d.vmdk", lines, create_type="monolithicFlat")
    qemu_img("convert", "-f", "vmdk", "-O", "raw", path, tmp_path / "theirs.raw")
    assert (tmp_path / "theirs.raw").read_bytes() == b"a" * 4096 + b"b" * 4096
    with open_image(path) as image:
        assert image.pread(0, 12288) == b"a" * 4096 + bytes(4096) + b"b" * 4096


def test_qemu_drops_extents_that_may_only_be_read(tmp_path: Path, qemu_img: Qemu) -> None:
    (tmp_path / "a").write_bytes(b"a" * 8192)
    lines = ['RDONLY 8 FLAT "a" 0', 'RW 8 FLAT "a" 8']
    path = write_descriptor(tmp_path / "d.vmdk", lines, create_type="monolithicFlat")
    qemu_img("convert", "-f", "vmdk", "-O", "raw", path, tmp_path / "theirs.raw")
    assert (tmp_path / "theirs.raw").stat().st_size == 4096
    with open_image(path) as image:
        assert image.virtual_size == 8192


def test_qemu_does_not_look_at_the_sector_of_a_grain(tmp_path: Path, qemu_img: Qemu) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 128, {0: pattern(0, GRAIN)}, footer=False)
    poke(layout.path, layout.grains[0], b"\x80")
    qemu_img("convert", "-f", "vmdk", "-O", "raw", layout.path, tmp_path / "theirs.raw")
    with pytest.raises(vhdfast.errors.CorruptImageError), open_image(layout.path) as image:
        image.pread(0, 512)


def test_qemu_reads_grains_that_share_bytes(tmp_path: Path, qemu_img: Qemu) -> None:
    layout = write_sparse(tmp_path / "d.vmdk", 256, {0: b"x", 1: b"y"}, redundant=False)
    entry = (layout.grains[0] // 512).to_bytes(4, "little")
    poke(layout.path, layout.tables[0] + 4, entry)
    qemu_img("convert", "-f", "vmdk", "-O", "raw", layout.path, tmp_path / "theirs.raw")
    with pytest.raises(vhdfast.errors.CorruptImageError), open_image(layout.path) as image:
        image.pread(0, 512)


def refused_by_qemu(path: Path) -> str:
    done = subprocess.run(["qemu-img", "convert", "-f", "vmdk", "-O", "raw", str(path),
                           f"{path}.raw"], capture_output=True, text=True)  # fmt: skip
    assert done.returncode
    return done.stderr


def test_qemu_reads_zeros_where_a_directory_is_damaged(tmp_path: Path, qemu_img: Qemu) -> None:
    layout = write_sparse(tmp_path / "d.vmdk", 256, {0: b"x"})
    poke(layout.path, layout.directory, b"\xff\xff\xff\x7f")
    qemu_img("convert", "-f", "vmdk", "-O", "raw", layout.path, tmp_path / "theirs.raw")
    assert (tmp_path / "theirs.raw").read_bytes() == bytes(2 * GRAIN)
    with open_image(layout.path) as image:
        assert image.pread(0, 1) == b"x"


def test_qemu_wants_the_footer_at_the_very_end(tmp_path: Path, qemu_img: Qemu) -> None:
    layout = write_stream(tmp_path / "d.vmdk", 128, {0: pattern(0, GRAIN)}, padding=bytes(10240))
    refused_by_qemu(layout.path)
    with open_image(layout.path) as image:
        assert image.pread(0, 512) == pattern(0, 512)


@pytest.mark.parametrize("kind", ["vmfsThin", "custom", "vmfsPreallocated"])
def test_types_that_qemu_refuses(tmp_path: Path, qemu_img: Qemu, kind: str) -> None:
    (tmp_path / "a").write_bytes(b"a" * 4096)
    path = write_descriptor(tmp_path / "d.vmdk", ['RW 8 VMFS "a"'], create_type=kind)
    assert "Unsupported image type" in refused_by_qemu(path)
    with open_image(path) as image:
        assert image.pread(0, 4096) == b"a" * 4096


def test_qemu_fills_a_short_flat_extent(tmp_path: Path, qemu_img: Qemu) -> None:
    (tmp_path / "a").write_bytes(b"a" * 1024)
    path = write_descriptor(
        tmp_path / "d.vmdk", ['RW 8 FLAT "a" 0'], create_type="monolithicFlat"
    )
    qemu_img("convert", "-f", "vmdk", "-O", "raw", path, tmp_path / "theirs.raw")
    assert (tmp_path / "theirs.raw").read_bytes() == b"a" * 1024 + bytes(3072)
    with pytest.raises(vhdfast.errors.CorruptImageError):
        open_image(path)


def test_qemu_takes_the_size_of_an_extent_from_its_header(tmp_path: Path, qemu_img: Qemu) -> None:
    write_sparse(tmp_path / "s1", 256, {0: b"one"}, text=None)
    write_sparse(tmp_path / "s2", 128, {0: b"two"}, text=None)
    lines = ['RW 128 SPARSE "s1"', 'RW 128 SPARSE "s2"']
    path = write_descriptor(tmp_path / "d.vmdk", lines, create_type="twoGbMaxExtentSparse")
    qemu_img("convert", "-f", "vmdk", "-O", "raw", path, tmp_path / "theirs.raw")
    assert (tmp_path / "theirs.raw").stat().st_size == 3 * GRAIN
    with open_image(path) as image:
        assert image.pread(GRAIN, 3) == b"two"
