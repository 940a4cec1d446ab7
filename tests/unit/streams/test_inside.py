"""Streams around containers and around images that name others."""

from __future__ import annotations

import io
import random
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import vhdfast
from tests.support import MIB
from tests.support.build_streams import PACKERS, SUFFIXES
from vhdfast.errors import UnsafeReferenceError, UnsupportedImageError
from vhdfast.files import SourceFile
from vhdfast.formats import OpenOptions, open_format
from vhdfast.references import References

KINDS = sorted(PACKERS)
DISK = random.Random(1).randbytes(300_000) + bytes(2 * MIB - 300_000)


def tar_of(**members: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name.replace("_", "."))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_in_a_packed_tar(kind: str, tmp_path: Path) -> None:
    """As Google's cloud takes images: disk.raw in a tar.gz."""
    source = tmp_path / f"image.tar{SUFFIXES[kind]}"
    source.write_bytes(PACKERS[kind](tar_of(disk_raw=DISK)))

    result = vhdfast.convert(source, tmp_path / "x.vhd", verify_copy=True)

    assert (tmp_path / "x.vhd").read_bytes()[:-512] == DISK
    assert result.plan.stream == kind
    assert sorted(tmp_path.iterdir()) == [source, tmp_path / "spool", tmp_path / "x.vhd"]


def test_a_packed_disk_in_a_tar_is_no_disk(tmp_path: Path) -> None:
    source = tmp_path / "image.tar"
    source.write_bytes(tar_of(disk_raw_gz=PACKERS["gzip"](DISK)))
    with pytest.raises(UnsupportedImageError, match="no disk in it"):
        vhdfast.open_image(source)


def test_a_packed_qcow2(tmp_path: Path, qemu_img: Callable[..., str]) -> None:
    (tmp_path / "raw").write_bytes(DISK)
    qemu_img("convert", "-fraw", "-Oqcow2", "-c", tmp_path / "raw", tmp_path / "d.qcow2")
    source = tmp_path / "d.qcow2.bz2"
    source.write_bytes(PACKERS["bzip2"]((tmp_path / "d.qcow2").read_bytes()))
    vhdfast.convert(source, tmp_path / "x.vhd", verify_copy=True)
    assert (tmp_path / "x.vhd").read_bytes()[:-512] == DISK


def test_a_packed_qcow2_finds_its_backing_file(
    tmp_path: Path, qemu_img: Callable[..., str]
) -> None:
    (tmp_path / "base.raw").write_bytes(DISK)
    overlay = tmp_path / "over.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-fqcow2", "-bbase.raw", "-Fraw", overlay], check=True
    )
    source = tmp_path / "over.qcow2.xz"
    source.write_bytes(PACKERS["xz"](overlay.read_bytes()))
    overlay.unlink()
    with vhdfast.open_image(source) as image:
        assert image.pread(0, len(DISK)) == DISK
        assert image.info().chain == (str(tmp_path / "base.raw"),)


def test_beside_a_packed_image_on_a_device_nothing_is_taken_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest may write such a stream into its disk, and name the disk of another guest in it."""
    (tmp_path / "base.raw").write_bytes(DISK)
    overlay = tmp_path / "over.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-fqcow2", "-bbase.raw", "-Fraw", overlay], check=True
    )
    packed = tmp_path / "guest"
    packed.write_bytes(PACKERS["gzip"](overlay.read_bytes()))
    with SourceFile(packed) as source:
        monkeypatch.setattr(source, "is_device", True)
        references = References()
        try:
            with pytest.raises(UnsafeReferenceError, match="outside the image's own directory"):
                open_format(source, None, OpenOptions(references=references))
        finally:
            references.close()
