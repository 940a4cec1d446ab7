"""VMDK: any field at its extremes, a cut at any place, random damage: typed errors, in time."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import KIB, peek, poke
from tests.support.build_vmdk import (
    Layout,
    descriptor,
    write_cowd,
    write_descriptor,
    write_sesparse,
    write_sparse,
    write_stream,
)
from vhdfast import open_image
from vhdfast.errors import CopyError, ImageError, VhdfastError
from vhdfast.extents import Kind

BODY = b"the content of a grain".ljust(4096, b".")
LIMIT_S = 2.0


def sparse(path: Path) -> Layout:
    return write_sparse(path, 8 * 520, {1: BODY, 515: BODY}, grain=8)


def stream(path: Path) -> Layout:
    return write_stream(path, 8 * 520, {1: BODY, 515: BODY}, grain=8)


def cowd(path: Path) -> Layout:
    return write_cowd(path, 8 * 520, {1: BODY, 515: BODY}, grain=8)


def sesparse(path: Path) -> Layout:
    return write_sesparse(path, 8 * 520, {1: BODY, 515: BODY})


KINDS: list[Callable[[Path], Layout]] = [sparse, stream, cowd, sesparse]


def survives(path: Path) -> bool:
    """Whether the image opens and reads; anything but a typed error fails the test."""
    start = time.monotonic()
    try:
        with open_image(path, "vmdk") as image:
            for number, window in enumerate(image.windows()):
                assert window.end <= image.virtual_size
                # A hostile size may be huge: what matters is that each window is soon there.
                if number == 100 or time.monotonic() - start > LIMIT_S / 2:
                    break
            image.pread(0, 64 * KIB)
            image.pread(max(0, image.virtual_size - KIB), KIB)
            image.info()
        return True
    except VhdfastError as error:
        assert isinstance(error, ImageError | CopyError)
        assert error.exit_code in (4, 5)
        return False
    finally:
        assert time.monotonic() - start < LIMIT_S


HEADER_FIELDS = {
    sparse: [(4, 4), (8, 4), (12, 8), (20, 8), (28, 8), (36, 8), (44, 4), (48, 8), (56, 8),
             (64, 8), (72, 1), (73, 4), (77, 2)],
    stream: [(4, 4), (8, 4), (12, 8), (20, 8), (28, 8), (36, 8), (44, 4), (48, 8), (56, 8),
             (64, 8), (72, 1), (77, 2)],
    cowd: [(at, 4) for at in (4, 8, 12, 16, 20, 24, 28, 32, 1648)],
    sesparse: [(at, 8) for at in range(8, 208, 8)],
}  # fmt: skip


def extremes(size: int) -> list[int]:
    top = 256**size - 1
    values = [0, 1, 2, 3, 7, 8, 0xFF, top, top - 1, top // 2, top // 2 + 1]
    values += [1 << bit for bit in range(8 * size)]
    return sorted({value for value in values if value <= top})


@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_header_fields_at_their_extremes(
    tmp_path: Path, build: Callable[[Path], Layout]
) -> None:
    layout = build(tmp_path / "d.vmdk")
    assert survives(layout.path)
    for at, size in HEADER_FIELDS[build]:
        for place in {0, layout.footer}:
            good = peek(layout.path, place + at, size)
            for value in extremes(size):
                poke(layout.path, place + at, value.to_bytes(size, "little"))
                survives(layout.path)
            poke(layout.path, place + at, good)
    assert survives(layout.path)


@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_table_entries_at_their_extremes(
    tmp_path: Path, build: Callable[[Path], Layout]
) -> None:
    layout = build(tmp_path / "d.vmdk")
    size = 8 if build is sesparse else 4
    places = [layout.directory, *layout.tables.values()]
    places += [place + size for place in places]
    if build is stream:
        places += list(layout.grains.values()) + [place + 8 for place in layout.grains.values()]
    for place in places:
        good = peek(layout.path, place, size)
        for value in extremes(size):
            poke(layout.path, place, value.to_bytes(size, "little"))
            survives(layout.path)
        poke(layout.path, place, good)
    assert survives(layout.path)


@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_a_cut_at_any_structure(tmp_path: Path, build: Callable[[Path], Layout]) -> None:
    layout = build(tmp_path / "d.vmdk")
    whole = layout.path.read_bytes()
    borders = {0, 4, 8, 79, 512, 1024, 2048, layout.directory, layout.redundant, layout.footer,
               *layout.tables.values(), *layout.grains.values(), len(whole)}  # fmt: skip
    for border in borders:
        for size in (border - 1, border, border + 1, border + 13):
            if 0 <= size < len(whole):
                layout.path.write_bytes(whole[:size])
                survives(layout.path)


@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
@settings(max_examples=60, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data())
def test_random_damage(
    tmp_path: Path, build: Callable[[Path], Layout], data: st.DataObject
) -> None:
    layout = build(tmp_path / "d.vmdk")
    size = layout.path.stat().st_size
    starts = [0, layout.directory, *layout.tables.values(), *layout.grains.values()]
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.sampled_from(starts))
        at = min(start + data.draw(st.integers(0, 120)), size - 9)
        poke(layout.path, at, data.draw(st.binary(min_size=1, max_size=8)))
    survives(layout.path)


ALPHABET = st.sampled_from(
    [b"RW ", b"RDONLY ", b"NOACCESS ", b"8 ", b"99999999999999999999 ", b"FLAT ", b"SPARSE ",
     b"ZERO", b"VMFSRDM ", b'"flat"', b'"', b'"../x"', b'"\\\\.\\x"', b"\n", b"\r", b"=", b"CID",
     b"parentCID", b"createType", b"custom", b"version=1", b"|00", b"|zz", b"#", b"\0", b"\xff",
     b"encoding=GBK", b"parentFileNameHint", b"\x81", b" "]
)  # fmt: skip


@settings(max_examples=300, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(words=st.lists(ALPHABET, max_size=40), front=st.booleans())
def test_any_text(tmp_path: Path, words: list[bytes], front: bool) -> None:
    (tmp_path / "flat").write_bytes(bytes(8192))
    text = descriptor(["RW 8 ZERO"]).encode()
    (tmp_path / "d.vmdk").write_bytes(
        text + b"".join(words) if front else b"# Disk DescriptorFile\n" + b"".join(words)
    )
    survives(tmp_path / "d.vmdk")


def test_a_huge_disk_in_a_small_file_is_soon_refused(tmp_path: Path) -> None:
    layout = write_sparse(tmp_path / "d.vmdk", 128, {0: BODY}, text=None)
    for capacity in (1 << 40, (1 << 54) - 1):
        poke(layout.path, 12, struct.pack("<Q", capacity))
        assert not survives(layout.path)


def test_a_descriptor_of_nothing_but_lines_takes_no_time(tmp_path: Path) -> None:
    for filler in (b"\n", b"a=b\n", b"# \n", b'RW 1 FLAT "' + b"x" * 100 + b'\n'):
        text = descriptor(["RW 8 ZERO"]).encode()
        (tmp_path / "d.vmdk").write_bytes(text + filler * ((1 << 20) // len(filler) - 300))
        survives(tmp_path / "d.vmdk")
    (tmp_path / "d.vmdk").write_bytes(b"# Disk DescriptorFile\n" + b"RW 1 " * 200_000)
    assert not survives(tmp_path / "d.vmdk")


def test_a_footer_is_not_looked_for_for_long(tmp_path: Path) -> None:
    layout = stream(tmp_path / "d.vmdk")
    poke(layout.path, layout.footer + 56, b"\xff" * 8)
    marker = struct.pack("<QII", 0, 0, 3).ljust(512, b"\0")
    footer = peek(layout.path, layout.footer, 512)
    with open(layout.path, "ab") as file:
        file.write((marker + footer) * 4096)
    assert not survives(layout.path)


def test_many_flat_extents_do_not_read_each_others_files(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "secret").write_bytes(b"secret" * 1000)
    for name in ("../secret", "./../secret", "own/../../secret", "secret"):
        write_descriptor(tmp_path / "own" / "d.vmdk", [f'RW 8 FLAT "{name}" 0'])
        assert not survives(tmp_path / "own" / "d.vmdk")
    (tmp_path / "own" / "secret").symlink_to(tmp_path / "secret")
    assert not survives(tmp_path / "own" / "d.vmdk")


def test_what_lies_in_structures_never_becomes_the_disk(tmp_path: Path) -> None:
    """Entries that point at any sector of the file: only grains come out, or an error."""
    layout = write_sparse(tmp_path / "d.vmdk", 8 * 4, {0: BODY}, grain=8, redundant=False)
    sectors = layout.path.stat().st_size // 512
    for sector in range(1, sectors + 2):
        poke(layout.path, layout.tables[0] + 4, struct.pack("<I", sector))
        if survives(layout.path):
            with open_image(layout.path, ask_holes=False) as image:
                rows = image.extents().rows
                stored = rows[rows["kind"] == Kind.DATA]
                assert (stored["file_offset"] >= layout.tables[0] + 2048).all()
