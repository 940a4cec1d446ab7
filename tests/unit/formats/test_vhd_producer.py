"""Who wrote a VHD, whether its size was rounded, and what it was meant to be."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import MIB, SparseFile, pattern
from tests.support.build_vhd import DYNAMIC, FIXED, DynamicVhd, differencing, fixed, make_footer
from vhdfast import open_image
from vhdfast.formats.vhd.footer import Footer
from vhdfast.formats.vhd.producer import (
    IntendedSize,
    SizeEvidence,
    candidate_sizes,
    gather_size_evidence,
    identify,
    intended_size,
)

GIB = 1024 * MIB
ROUNDED = 67_125_248  # what qemu-img makes of 64 MiB
GEOMETRY = (964, 8, 17)  # and how: 964 * 8 * 17 * 512
LARGEST = (65535, 16, 255)


def producer_of(
    size: int, creator: bytes, geometry: tuple[int, int, int], kind: int = FIXED, extra: int = 512
) -> tuple[str, bool] | None:
    """(code, is the size rounded) of a footer in a file of so many bytes more than the disk."""
    footer = Footer.parse(make_footer(size, kind, creator=creator, geometry=geometry))
    assert footer is not None
    found = identify(footer, size + extra)
    return None if found is None else (found.code, found.is_chs_rounded)


@pytest.mark.parametrize(
    ("size", "creator", "geometry", "expected"),
    [
        (ROUNDED, b"qemu", GEOMETRY, ("qemu-chs", True)),
        (64 * MIB, b"qemu", GEOMETRY, ("qemu-exact", False)),
        (64 * MIB, b"qem2", LARGEST, ("qemu-force-size", False)),
        (128 * GIB, b"qemu", LARGEST, ("qemu-large", False)),
        (200 * GIB, b"qemu", (102_400 // 16, 255, 255), ("qemu-255-heads", False)),
        (6400 * 255 * 255 * 512, b"qemu", (6400, 255, 255), ("qemu-255-heads", True)),
        (64 * MIB, b"win ", (963, 8, 17), ("hyper-v", False)),
        (5 * GIB, b"wa\0\0", (0x28A2, 16, 63), ("azure", False)),
        (64 * MIB, b"vhdf", LARGEST, ("vhdfast", False)),
        (125 * 34_816, b"*img", (125, 4, 17), ("mkimg", True)),
        (64 * MIB, b"qemu", (963, 8, 17), None),  # spans less: qemu never wrote that
        (64 * MIB, b"qemu", LARGEST, None),
        (64 * MIB, b"qem2", GEOMETRY, None),
        (64 * MIB, b"????", GEOMETRY, None),
    ],
)
def test_fixed_disks(
    size: int, creator: bytes, geometry: tuple[int, int, int], expected: tuple[str, bool] | None
) -> None:
    assert producer_of(size, creator, geometry) == expected


def test_a_fixed_disk_whose_file_was_changed_since_is_nobodys() -> None:
    assert producer_of(ROUNDED, b"qemu", GEOMETRY, extra=1024) is None
    assert producer_of(64 * MIB, b"qemu", GEOMETRY, extra=0) is None


def test_dynamic_disks_are_rounded_by_every_version() -> None:
    assert producer_of(ROUNDED, b"qemu", GEOMETRY, DYNAMIC, -1000) == ("qemu-chs", True)
    assert producer_of(64 * MIB, b"qemu", GEOMETRY, DYNAMIC, -1000) is None


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("subformat=fixed", "qemu-chs"),
        ("subformat=dynamic", "qemu-chs"),
        ("subformat=fixed,force_size", "qemu-force-size"),
        ("subformat=dynamic,force_size", "qemu-force-size"),
    ],
)
def test_what_qemu_writes_is_recognised(
    options: str, code: str, tmp_path: Path, qemu_img: Callable[..., str]
) -> None:
    path = tmp_path / "disk.vhd"
    qemu_img("create", "-q", "-f", "vpc", "-o", options, path, 64 * MIB)
    with open_image(path) as image:
        footer = image.layer.footer  # type: ignore[attr-defined]
        codes = [notice.code for notice in image.notices]
    found = identify(footer, path.stat().st_size)
    assert found is not None and found.code == code
    assert codes == (["qemu-chs-size"] if code == "qemu-chs" else [])


# ---- the size that was meant --------------------------------------------------------------------


def test_candidates() -> None:
    assert candidate_sizes(ROUNDED) == (64 * MIB,)
    assert candidate_sizes(21_475_270_656) == (20 * GIB,)
    # Cylinders of almost 2 MiB: two whole MiB are rounded to one size.
    assert candidate_sizes(107_374_632_960) == (100 * GIB, 100 * GIB - MIB)


@pytest.mark.parametrize("size", [64 * MIB, 128 * GIB + 512, 34_816, ROUNDED + 512])
def test_sizes_that_no_whole_mib_is_rounded_to(size: int) -> None:
    assert candidate_sizes(size) == ()


def test_without_evidence_the_largest_candidate_is_unconfirmed() -> None:
    assert intended_size(ROUNDED) == IntendedSize(64 * MIB, None)
    assert intended_size(64 * MIB) is None


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (SizeEvidence((), 64 * MIB), IntendedSize(64 * MIB, "zero-tail")),
        (SizeEvidence((), 64 * MIB + 1), None),
        (SizeEvidence((64 * MIB,), 64 * MIB), IntendedSize(64 * MIB, "gpt-backup")),
        (SizeEvidence((64 * MIB,), 64 * MIB + 1), None),
        # The table was moved to the end of the disk as it is.
        (SizeEvidence((64 * MIB, ROUNDED), ROUNDED), None),
        # A disk that was no whole number of MiB.
        (
            SizeEvidence((64 * MIB + 512,), 64 * MIB + 512),
            IntendedSize(64 * MIB + 512, "gpt-backup"),
        ),
        # A table that was made for another disk says nothing.
        (SizeEvidence((32 * MIB,), 32 * MIB), IntendedSize(64 * MIB, "zero-tail")),
    ],
)
def test_evidence(evidence: SizeEvidence, expected: IntendedSize | None) -> None:
    assert intended_size(ROUNDED, evidence) == expected


def gpt_header(own: int, other: int) -> bytes:
    """A GPT header of 92 bytes in its sector (UEFI 2.10, 5.3.2)."""
    head = b"EFI PART" + struct.pack("<III", 0x00010000, 92, 0) + bytes(4)
    head += (
        struct.pack("<QQQQ", own, other, 34, 1000)
        + bytes(16)
        + struct.pack("<QIII", 2, 128, 128, 0)
    )
    assert len(head) == 92
    return (head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]).ljust(512, b"\0")


def evidence_of(tmp_path: Path, *pieces: tuple[int, bytes], size: int = ROUNDED) -> SizeEvidence:
    disk = SparseFile(size)
    for offset, data in pieces:
        disk.put(offset, data)
    made = fixed(disk, creator=b"qemu", geometry=GEOMETRY)
    with open_image(made.write(tmp_path / "disk.vhd")) as image:
        return gather_size_evidence(image, candidate_sizes(size))


def test_an_empty_end(tmp_path: Path) -> None:
    assert evidence_of(tmp_path, (0, pattern(1, MIB))) == SizeEvidence((), 64 * MIB)


def test_data_in_the_end(tmp_path: Path) -> None:
    assert evidence_of(tmp_path, (64 * MIB + 700, b"x")) == SizeEvidence((), 64 * MIB + 701)


def test_a_backup_header_where_the_disk_once_ended(tmp_path: Path) -> None:
    last = 64 * MIB // 512 - 1
    found = evidence_of(tmp_path, (512, gpt_header(1, last)), (last * 512, gpt_header(last, 1)))
    assert found == SizeEvidence((64 * MIB,), 64 * MIB)
    assert intended_size(ROUNDED, found) == IntendedSize(64 * MIB, "gpt-backup")


def test_a_backup_header_that_the_first_one_leads_to(tmp_path: Path) -> None:
    last = 64 * MIB // 512 + 4
    found = evidence_of(tmp_path, (512, gpt_header(1, last)), (last * 512, gpt_header(last, 1)))
    assert found.gpt_ends == (64 * MIB + 5 * 512,)


def test_a_backup_header_at_the_very_end(tmp_path: Path) -> None:
    last = ROUNDED // 512 - 1
    found = evidence_of(tmp_path, (last * 512, gpt_header(last, 1)))
    assert found.gpt_ends == (ROUNDED,)
    assert intended_size(ROUNDED, found) is None


@pytest.mark.parametrize("damage", [8, 16, 24, 60])
def test_a_damaged_backup_header_is_none(damage: int, tmp_path: Path) -> None:
    last = 64 * MIB // 512 - 1
    sector = bytearray(gpt_header(last, 1))
    sector[damage] ^= 1
    assert evidence_of(tmp_path, (last * 512, bytes(sector))).gpt_ends == ()


def test_a_header_that_names_an_impossible_place(tmp_path: Path) -> None:
    for other in (0, ROUNDED // 512, 2**64 - 1):
        assert evidence_of(tmp_path, (512, gpt_header(1, other))).gpt_ends == ()


def test_of_a_table_far_before_the_end_no_more_than_the_tail_is_read(tmp_path: Path) -> None:
    last = 4 * MIB // 512 - 1
    pieces = ((512, gpt_header(1, last)), (last * 512, gpt_header(last, 1)), (30 * MIB, b"x"))
    found = evidence_of(tmp_path, *pieces)
    assert found == SizeEvidence((4 * MIB,), ROUNDED - 8 * MIB)
    assert intended_size(ROUNDED, found) == IntendedSize(64 * MIB, "zero-tail")


# ---- what convert says --------------------------------------------------------------------------


def test_a_size_that_qemu_rounded_is_noticed(tmp_path: Path) -> None:
    path = fixed(SparseFile(ROUNDED), creator=b"qemu", geometry=GEOMETRY).write(tmp_path / "a.vhd")
    with open_image(path) as image:
        (notice,) = image.notices
    assert notice.code == "qemu-chs-size"
    assert "67125248 bytes" in notice.message
    assert "65 MiB (68157440 bytes)" in notice.message


@pytest.mark.parametrize(
    ("size", "creator", "geometry"),
    [
        (64 * MIB, b"qem2", LARGEST),
        (64 * MIB, b"qemu", GEOMETRY),
        (125 * 34_816, b"*img", (125, 4, 17)),
        (2048 * 34_816, b"qemu", (2048, 4, 17)),  # rounded, and whole MiB all the same
    ],
)
def test_other_sizes_are_not(
    size: int, creator: bytes, geometry: tuple[int, int, int], tmp_path: Path
) -> None:
    path = fixed(SparseFile(size), creator=creator, geometry=geometry).write(tmp_path / "a.vhd")
    with open_image(path) as image:
        assert image.notices == ()


def test_a_parents_size_is_not(tmp_path: Path) -> None:
    footer = {"creator": b"qemu", "geometry": GEOMETRY}
    DynamicVhd(ROUNDED, 2 * MIB, footer=footer).build().write(tmp_path / "base.vhd")
    child = differencing(ROUNDED, relative="base.vhd").build().write(tmp_path / "child.vhd")
    with open_image(child) as image:
        assert [notice.code for notice in image.notices] == []
    with open_image(tmp_path / "base.vhd") as image:
        assert [notice.code for notice in image.notices] == ["qemu-chs-size"]


def test_convert_warns_and_makes_whole_mib(vhdfast_cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = fixed(SparseFile(ROUNDED), creator=b"qemu", geometry=GEOMETRY).write(tmp_path / "a.vhd")
    done = vhdfast_cli("convert", path, "b.vhd")
    assert done.returncode == 0
    assert "qemu-img rounded the size" in done.stderr
    assert (tmp_path / "b.vhd").stat().st_size == 65 * MIB + 512
