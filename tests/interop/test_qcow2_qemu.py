"""qcow2 and qcow: qemu-img's images as vhdfast reads them, and the builder's as qemu reads them."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import KIB, MIB, pattern
from tests.support.build_qcow import Qcow
from tests.support.build_qcow2 import (
    COMPRESSION_TYPE,
    EXTENDED,
    Qcow2,
    raw_deflate,
    zstd_frame,
)
from vhdfast import open_image
from vhdfast.errors import UnsupportedImageError

Qemu = Callable[..., str]


@pytest.fixture
def qemu_io(qemu_img: Qemu) -> Callable[..., None]:
    """qemu_io(path, "write -P 7 0 64k", …)"""
    if shutil.which("qemu-io") is None:
        pytest.skip("qemu-io is not installed (apt install qemu-utils)")

    def run(path: Path, *commands: str, format: str = "qcow2") -> None:
        words = [word for command in commands for word in ("-c", command)]
        done = subprocess.run(
            ["qemu-io", "-f", format, *words, str(path)], capture_output=True, text=True
        )
        assert done.returncode == 0 and "failed" not in done.stdout, done.stdout + done.stderr

    return run


@pytest.fixture
def theirs(qemu_img: Qemu, tmp_path: Path) -> Callable[..., bytes]:
    """The disk as qemu-img reads it."""

    def read(path: Path, *options: str, format: str = "qcow2") -> bytes:
        flat = tmp_path / "flat.raw"
        qemu_img("convert", *options, "-f", format, "-O", "raw", path, flat)
        return flat.read_bytes()

    return read


def ours(path: Path, **options: object) -> bytes:
    with open_image(path, **options) as image:  # type: ignore[arg-type]
        return image.pread(0, image.virtual_size)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A raw disk of 5 MiB and a half KiB: what packs well, what does not, zeros."""
    chance = random.Random(1)
    path = tmp_path / "mixed.raw"
    with open(path, "wb") as file:
        file.truncate(5 * MIB + 512)
        file.write(pattern(1, 300 * KIB))
        file.seek(MIB)
        file.write(chance.randbytes(700 * KIB))
        file.seek(3 * MIB + 4096)
        file.write(b"text " * 100000)
        file.seek(5 * MIB)
        file.write(b"the end".ljust(512, b"!"))
    return path


MADE = [
    (options, size, packed)
    for size in ("512", "4k", "64k", "2M")
    for options in (
        "compat=0.10", "compat=1.1", "compat=1.1,lazy_refcounts=on", "compat=1.1,extended_l2=on",
    )
    for packed in (None, "zlib", "zstd")
    # Subclusters need clusters of 16 KiB, and version 2 knows zlib only.
    if not ("extended" in options and size in ("512", "4k"))
    and not ("0.10" in options and packed == "zstd")
]  # fmt: skip


@pytest.mark.parametrize("options, size, packed", MADE)
def test_images_that_qemu_img_makes(
    tmp_path: Path, qemu_img: Qemu, mixed: Path, options: str, size: str, packed: str | None
) -> None:
    path = tmp_path / "disk.qcow2"
    given = f"{options},cluster_size={size}"
    if packed and "0.10" not in options:
        given += f",compression_type={packed}"
    words = ["-c"] if packed else []
    qemu_img("convert", *words, "-f", "raw", "-O", "qcow2", "-o", given, mixed, path)
    assert ours(path) == mixed.read_bytes()


def test_clusters_written_one_by_one(
    tmp_path: Path, qemu_img: Qemu, qemu_io: Callable[..., None], theirs: Callable[..., bytes]
) -> None:
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=128k", path, "8M")
    chance = random.Random(2)
    commands = []
    for number in range(60):
        at, length = chance.randrange(0, 2000) * 4, chance.choice([4, 8, 60, 200])
        length = min(length, 8192 - at)
        verb = chance.choice([f"write -P {number + 1}", "write -z", "discard", "write -z -u"])
        commands.append(f"{verb} {at}k {length}k")
    qemu_io(path, *commands)
    assert ours(path) == theirs(path)


def test_a_chain_that_qemu_makes(
    tmp_path: Path, qemu_img: Qemu, qemu_io: Callable[..., None], theirs: Callable[..., bytes],
    mixed: Path,
) -> None:  # fmt: skip
    middle, top = tmp_path / "middle.qcow2", tmp_path / "top.qcow2"
    # The middle is longer than what lies below it, and shorter than what lies above.
    qemu_img("create", "-f", "qcow2", "-b", mixed.name, "-F", "raw", "-o", "cluster_size=4k",
             middle, "6M")  # fmt: skip
    qemu_io(middle, "write -P 1 100k 300k", "write -z 1M 64k", "write -P 2 5M 1k")
    qemu_img("create", "-f", "qcow2", "-b", middle.name, "-F", "qcow2",
             "-o", "extended_l2=on", top, "7M")  # fmt: skip
    qemu_io(top, "write -P 3 128k 2k", "write -z 3M 6k", "write -P 4 6M 64k")
    assert ours(top) == theirs(top)


@pytest.mark.parametrize("raw", ["off", "on"])
def test_a_data_file(
    tmp_path: Path, qemu_img: Qemu, qemu_io: Callable[..., None], theirs: Callable[..., bytes],
    raw: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # qemu looks for the data file in its working directory, vhdfast beside the image.
    monkeypatch.chdir(tmp_path)
    path = Path("disk.qcow2")
    qemu_img("create", "-f", "qcow2", "-o", f"data_file=data.bin,data_file_raw={raw}", path, "4M")
    qemu_io(
        path, "write -P 1 0 64k", "write -P 2 1M 100k", "write -z 1M 64k", "write -P 3 4032k 64k"
    )
    content = ours(tmp_path / "disk.qcow2")
    assert content == theirs(path)
    assert content[0] == 1 and content[MIB] == 0 and content[-1] == 3
    if raw == "on":
        assert content == Path("data.bin").read_bytes()


def test_the_name_of_a_data_file_can_be_stored_later(
    tmp_path: Path, qemu_img: Qemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    disk = Qcow2(MIB, data_file="x")
    disk.data(0, pattern(1, 64 * KIB))
    disk.extensions.clear()
    disk.build().write(Path("IMAGE"))
    disk.data_bodies.write(Path("FILE"))
    with pytest.raises(UnsupportedImageError) as caught:
        ours(Path("IMAGE"))
    assert caught.value.hint is not None
    command = caught.value.hint.split("qemu-img ")[1]
    qemu_img(*command.split())
    assert ours(tmp_path / "IMAGE")[:9] == pattern(1, 9)


def test_internal_snapshots(
    tmp_path: Path, qemu_img: Qemu, qemu_io: Callable[..., None], theirs: Callable[..., bytes]
) -> None:
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-f", "qcow2", path, "4M")
    qemu_io(path, "write -P 1 0 1M")
    qemu_img("snapshot", "-c", "first", path)
    qemu_io(path, "write -P 2 512k 2M")
    qemu_img("snapshot", "-c", "second one", path)
    qemu_img("resize", path, "6M")
    qemu_io(path, "write -P 3 5M 64k", "write -z 0 64k")
    assert ours(path) == theirs(path)
    for name, number in (("first", "1"), ("second one", "2")):
        content = ours(path, snapshot=name)
        assert len(content) == 4 * MIB
        assert content == ours(path, snapshot=number)
        assert content == theirs(path, "-l", name)[: 4 * MIB]
    with open_image(path) as image:
        listed = image.info().details["first snapshots"]
    assert [entry["name"] for entry in listed] == ["first", "second one"]


@pytest.mark.parametrize("format, kind", [("qcow2", "luks"), ("qcow2", "aes"), ("qcow", "aes")])
def test_the_command_that_decrypts(
    tmp_path: Path, qemu_img: Qemu, monkeypatch: pytest.MonkeyPatch, mixed: Path,
    format: str, kind: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("PASSWORD_FILE").write_text("secret")
    options = f"encrypt.format={kind},encrypt.key-secret=key"
    if kind == "luks":
        options += ",encrypt.iter-time=10"
    words = ["convert", "--object", "secret,id=key,file=PASSWORD_FILE", "-f", "raw", "-O", format,
             "-o", options, mixed, "IMAGE"]  # fmt: skip
    for _ in range(5):
        try:
            qemu_img(*words)
            break
        except AssertionError as error:
            # qemu-img measures the CPU to choose a key's iterations, and a busy machine upsets it.
            if "accurate CPU usage" not in str(error):
                raise
    else:
        pytest.skip("qemu-img cannot make a LUKS image while the machine is this busy")
    with pytest.raises(UnsupportedImageError, match="encrypted") as caught:
        ours(Path("IMAGE"))
    assert caught.value.hint is not None
    qemu_img(*caught.value.hint.split("qemu-img ")[1].split())
    assert Path("disk.raw").read_bytes() == mixed.read_bytes()


def test_version_1_as_qemu_makes_it(tmp_path: Path, qemu_img: Qemu, mixed: Path) -> None:
    # Version 7.2 fails to make a compressed one; it reads those of the builder, see below.
    path = tmp_path / "disk.qcow"
    qemu_img("convert", "-f", "raw", "-O", "qcow", mixed, path)
    assert ours(path) == mixed.read_bytes()


def test_version_1_over_a_backing_file(
    tmp_path: Path, qemu_img: Qemu, qemu_io: Callable[..., None], mixed: Path,
    theirs: Callable[..., bytes],
) -> None:  # fmt: skip
    path = tmp_path / "disk.qcow"
    qemu_img("create", "-f", "qcow", "-b", mixed.name, "-F", "raw", path)
    qemu_io(path, "write -P 1 10k 3k", "write -P 2 2M 64k", format="qcow")
    assert ours(path, backing_format="raw") == theirs(path, format="qcow")


# ---- the builder's images -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "bits, features", [(9, 0), (16, 0), (16, COMPRESSION_TYPE), (16, EXTENDED)]
)
def test_the_builders_images_are_qcow2_to_qemu(
    tmp_path: Path, qemu_img: Qemu, theirs: Callable[..., bytes], bits: int, features: int
) -> None:
    size = 1 << bits
    pack = zstd_frame if features & COMPRESSION_TYPE else raw_deflate
    disk = Qcow2(200 * size + 512, bits, incompatible=features)
    disk.data(150, pattern(1, size))
    disk.data(3, pattern(2, size))
    disk.zero(4)
    disk.zero(5, pattern(3, size))
    disk.packed(7, pack(pattern(4, size // 2).ljust(size, b"\0")))
    disk.packed(200, pack(pattern(5, size)))
    if features & EXTENDED:
        disk.sub(9, pattern(6, size), stored=0x00FF0F01, zeros=0xFF000010)
    disk.snapshot("1", "before", 100 * size).data(3, pattern(8, size))
    path = disk.build().write(tmp_path / "disk.qcow2")
    qemu_img("check", path)
    assert ours(path) == theirs(path)
    assert ours(path, snapshot="before") == theirs(path, "-l", "before")[: 100 * size]


def test_several_zstd_frames_in_one_cluster(
    tmp_path: Path, theirs: Callable[..., bytes]
) -> None:
    body = pattern(1, 64 * KIB)
    frames = zstd_frame(body[:1000]) + zstd_frame(body[1000:], sized=False)
    disk = Qcow2(64 * KIB, incompatible=COMPRESSION_TYPE)
    disk.packed(0, frames)
    path = disk.build().write(tmp_path / "disk.qcow2")
    assert ours(path) == theirs(path) == body


@pytest.mark.parametrize("bits, l2_bits", [(9, 6), (12, 9), (16, 13)])
def test_the_builders_images_are_qcow_to_qemu(
    tmp_path: Path, theirs: Callable[..., bytes], bits: int, l2_bits: int
) -> None:
    size = 1 << bits
    disk = Qcow(200 * size, bits, l2_bits)
    disk.data(150, pattern(1, size))
    disk.packed(7, raw_deflate(pattern(4, size // 2).ljust(size, b"\0")))
    disk.data(3, pattern(2, size))
    path = disk.build().write(tmp_path / "disk.qcow")
    assert ours(path) == theirs(path, format="qcow")
