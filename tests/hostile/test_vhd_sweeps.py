"""Every field of every structure set to values that break readers: an error of ours, or data."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vhdfast.errors import InternalError, VhdfastError
from vhdfast.image import open_image

from ..support import KIB, MIB, SparseFile, pattern, poke
from ..support import build_vhd as vhd

Fix = Callable[[bytes], bytes]


def walk(path: Path, name: str) -> str:
    """Open and walk and read as --from `name`; what came of it. Only errors of ours may pass."""
    try:
        with open_image(path, name) as image:
            for count, _ in enumerate(image.windows()):
                if count == 1000:
                    break
            image.pread(0, MIB)
            image.info()
    except InternalError:
        raise
    except VhdfastError as error:
        return type(error).__name__
    return "data"


def values(size: int) -> Iterator[bytes]:
    """0, 1, all ones and half of a field, in both byte orders."""
    yield bytes(size)
    yield bytes(size - 1) + b"\1"
    yield b"\1" + bytes(size - 1)
    yield b"\xff" * size
    yield b"\x7f" + b"\xff" * (size - 1)
    yield b"\xff" * (size - 1) + b"\x7f"
    yield b"\x80" + bytes(size - 1)
    yield bytes(size - 1) + b"\x80"


def attack(
    path: Path, name: str, bases: list[int], length: int, at: int, size: int, fix: Fix | None
) -> None:
    """Put every value into a field of the structure at one of `bases`, and at all of them."""
    for chosen in [[base] for base in bases] + ([bases] if len(bases) > 1 else []):
        for value in values(size):
            kept = []
            for base in chosen:
                data = _read(path, base, length)
                data = data[:at] + value + data[at + size :]
                kept.append((base, poke(path, base, fix(data) if fix else data)))
            walk(path, name)
            for base, before in kept:
                poke(path, base, before)


def _read(path: Path, offset: int, length: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length)


def dynamic_vhd() -> SparseFile:
    image = vhd.DynamicVhd(40 * KIB, 8 * KIB)
    image.store(3, pattern(3, 8 * KIB))
    image.store(1, pattern(1, 8 * KIB), bitmap=b"\xf0\x0f")
    return image.build()


def fixed_vhd() -> SparseFile:
    return vhd.fixed(pattern(1, 16 * KIB))


def differencing_vhd() -> SparseFile:
    """Of base.vhd, which every test finds beside it."""
    image = vhd.differencing(
        40 * KIB, 8 * KIB, relative=".\\base.vhd", absolute="C:\\base.vhd", parent_name="base.vhd"
    )
    image.store(3, pattern(3, 8 * KIB))
    image.store(1, pattern(1, 8 * KIB), bitmap=b"\xf0\x0f")
    return image.build()


@pytest.fixture(autouse=True)
def base(tmp_path):
    vhd.fixed(pattern(2, 40 * KIB)).write(tmp_path / "base.vhd")


BUILDERS = {
    "dynamic": ("vhd", dynamic_vhd),
    "differencing": ("vhd", differencing_vhd),
    "fixed": ("vhd", fixed_vhd),
}


@pytest.mark.parametrize("image", BUILDERS)
def test_the_images_are_right_before_they_are_damaged(tmp_path, image):
    name, build = BUILDERS[image]
    assert walk(build().write(tmp_path / "x"), name) == "data"


def footer_fix(data: bytes) -> bytes:
    return vhd.with_checksum(data, 64)


def header_fix(data: bytes) -> bytes:
    return vhd.with_checksum(data, 36)


@pytest.mark.parametrize("is_fixed_up", [False, True])
@pytest.mark.parametrize("field", vhd.FOOTER_FIELDS)
@pytest.mark.parametrize("image", ["dynamic", "differencing", "fixed"])
def test_vhd_footer(tmp_path, image, field, is_fixed_up):
    file = BUILDERS[image][1]()
    path = file.write(tmp_path / "x")
    bases = [file.size - 512] if image == "fixed" else [0, file.size - 512]
    attack(path, "vhd", bases, 512, *vhd.FOOTER_FIELDS[field], footer_fix if is_fixed_up else None)


@pytest.mark.parametrize("is_fixed_up", [False, True])
@pytest.mark.parametrize("field", vhd.HEADER_FIELDS)
@pytest.mark.parametrize("build", [dynamic_vhd, differencing_vhd])
def test_vhd_header(tmp_path, build, field, is_fixed_up):
    path = build().write(tmp_path / "x")
    fix = header_fix if is_fixed_up else None
    attack(path, "vhd", [512], 1024, *vhd.HEADER_FIELDS[field], fix)


@pytest.mark.parametrize("build", [dynamic_vhd, differencing_vhd])
def test_vhd_table(tmp_path, build):
    path = build().write(tmp_path / "x")
    for entry in range(5):
        attack(path, "vhd", [1536], 20, 4 * entry, 4, None)


@pytest.mark.parametrize("image", BUILDERS)
def test_truncation(tmp_path, image):
    name, build = BUILDERS[image]
    file = build()
    edges = [0, 512, 1536, 2048, *range(0, file.size, MIB // 2)]
    sizes = {at + more for at in edges for more in (-512, -1, 0, 1, 8, 511, 512, 4096)}
    sizes |= {file.size - more for more in (1, 2, 511, 512, 513, 1024)}
    path = file.write(tmp_path / "x")
    whole = path.read_bytes()
    for size in sorted(size for size in sizes if 0 <= size < file.size):
        with open(path, "wb") as target:
            target.write(whole[:size])
        walk(path, name)


@pytest.mark.parametrize("image", BUILDERS)
def test_flipped_bytes(tmp_path, image):
    name, build = BUILDERS[image]
    file = build()
    path = file.write(tmp_path / "x")
    draw = random.Random(20)
    if name == "vhd":
        spans = [(0, 2100), (file.size - 512, file.size)]
    else:
        spans = [(0, 80), (64 * KIB, 64 * KIB + 80), (128 * KIB, 128 * KIB + 80),
                 (192 * KIB, 192 * KIB + 80), (256 * KIB, 256 * KIB + 80), (MIB, MIB + 128),
                 (2 * MIB, 2 * MIB + 200), (2 * MIB + 64 * KIB, 2 * MIB + 64 * KIB + 70),
                 (3 * MIB, 3 * MIB + 64)]  # fmt: skip
    for _ in range(300):
        kept = []
        for _ in range(draw.choice((1, 1, 2, 5))):
            offset = draw.randrange(*draw.choice(spans))
            kept.append((offset, poke(path, offset, bytes([draw.randrange(256)]))))
        walk(path, name)
        for offset, before in reversed(kept):
            poke(path, offset, before)


@pytest.mark.parametrize("code", [b"W2ru", b"W2ku", b"Wi2r", b"Wi2k", b"MacX", b"Mac ", b"????"])
def test_locators_of_any_bytes(tmp_path, code):
    draw = random.Random(code)
    texts = [
        b"", b"\0", b"\0" * 4, b"\\\0", b"/", b"..", "..\\..\\base.vhd".encode("utf-16-le"),
        b"\x00\xd8" * 3, b"\xff\xfe", b"\xfe\xff\xd8", b"A" * 65536, b"A" * 65537,
        "\\".encode("utf-16-le") * 999, "/proc/self/mem".encode("utf-16-le"), b"file:", b"file://[",
        b"file://%00%ff/", b"file:///proc/self/fd/0", b"json:{}", b"http://x/base.vhd",
        "/dev/stdin".encode("utf-16-le"), "/dev/zero".encode("utf-16-le"),
        *(draw.randbytes(draw.randrange(1, 99)) for _ in range(50)),
    ]  # fmt: skip
    for text in texts:
        image = vhd.differencing(40 * KIB, 8 * KIB, locators=[(code, text)])
        path = image.build().write(tmp_path / "x")
        assert walk(path, "vhd") in (
            "UnsafeReferenceError", "MissingReferenceError", "InvalidImageError", "data",
        )  # fmt: skip
