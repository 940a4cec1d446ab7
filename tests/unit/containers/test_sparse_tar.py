"""Sparse members of tar files: what GNU tar, bsdtar and the builders write; maps that cannot be."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import shutil
import subprocess
import tarfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vhdfast
from tests.support import KIB, MIB, SparseFile, pattern, rows_of
from tests.support.build_qcow2 import Qcow2, zstd_frame
from tests.support.build_sparse_tar import (
    ENCODINGS,
    in_extended_header,
    map_text,
    old_gnu,
    pack_sparse,
    pax_10,
    sparse_member,
)
from tests.support.build_tar import archive, envelope, header, member, number, padded, pax
from tests.support.build_vdi import DIFFERENCING, IMAGE_ID, vdi
from tests.support.build_vhd import fixed
from tests.support.build_vhdx import Data, Entry, write_vhdx
from tests.support.web import WebServer
from tests.unit.containers.conftest import open_files
from vhdfast import open_image
from vhdfast.cli.main import main
from vhdfast.containers import tar_sparse
from vhdfast.errors import (
    CorruptImageError,
    InvalidImageError,
    UnknownFormatError,
    UnsupportedImageError,
    VhdfastError,
)

Refused = Callable[..., VhdfastError]

PROGRAMS = {
    "old": ["tar", "--format=oldgnu"],
    "gnu": ["tar", "--format=gnu"],
    "0.0": ["tar", "--format=posix", "--sparse-version=0.0"],
    "0.1": ["tar", "--format=posix", "--sparse-version=0.1"],
    "1.0": ["tar", "--format=posix", "--sparse-version=1.0"],
    "bsdtar": ["bsdtar"],
}


def a_disk(pieces: int = 60) -> SparseFile:
    """64 KiB stored, 64 KiB not, and so on: more pieces than a block of an old map has room for."""
    disk = SparseFile(16 * MIB)
    disk.put(440, bytes(6) + bytes([0x80, 0, 0, 0, 0x83, 0, 0, 0, 8, 0, 0, 0, 0, 64, 0, 0]))
    disk.put(510, b"\x55\xaa")
    for index in range(1, pieces):
        disk.put(index * 128 * KIB, pattern(index, 64 * KIB))
    return disk


def pack(program: str, folder: Path, name: str) -> Path:
    """The archive that a program makes of a sparse file; skips where the program is missing."""
    command = PROGRAMS[program]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    if command[0] == "tar":
        version = subprocess.run(["tar", "--version"], capture_output=True, text=True, check=True)
        if "GNU" not in version.stdout:
            pytest.skip("tar is not GNU tar")
        command = [*command, "-S"]
    path = folder / "image.tar"
    subprocess.run([*command, "-cf", path, name], cwd=folder, check=True)
    return path


def sparse_bytes(folder: Path, disk: SparseFile) -> bytes:
    path = disk.write(folder / "disk.raw")
    if path.stat().st_blocks * 512 >= disk.size:
        pytest.skip("the file system of the tests knows no sparse files")
    return path.read_bytes()


# ---- what programs write ------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_programs_write_is_the_disk_that_was_packed(tmp_path: Path, program: str) -> None:
    content = sparse_bytes(tmp_path, a_disk())
    path = pack(program, tmp_path, "disk.raw")
    assert path.stat().st_size < 5 * MIB  # the program stored it sparse
    with open_image(path) as image:
        assert image.virtual_size == 16 * MIB
        assert image.path == f"{path}:disk.raw"
        assert image.pread(0, 16 * MIB) == content
        zeros = sum(window.bytes_of(vhdfast.Kind.ZERO) for window in image.windows())
        assert zeros >= 16 * MIB - path.stat().st_size
        assert image.info().details["container"] == f"OVA or tar, {path}"
        assert image.is_same_file(str(path))
    assert str(path) not in open_files()


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstd_frame), ("", None)],
)
def test_an_image_for_google_is_converted(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes] | None
) -> None:
    content = sparse_bytes(tmp_path, a_disk())
    path = pack("old", tmp_path, "disk.raw")
    if compress is not None:
        path = tmp_path / f"image.tar{suffix}"
        path.write_bytes(compress((tmp_path / "image.tar").read_bytes()))
    target = tmp_path / "disk.vhd"
    assert main(["convert", "--fixed", "--align", "--verify", str(path), str(target)]) == 0
    written = target.read_bytes()
    assert len(written) == 16 * MIB + 512
    assert hashlib.sha256(written[: 16 * MIB]).digest() == hashlib.sha256(content).digest()
    assert written[-512:-504] == b"conectix"
    assert target.stat().st_blocks * 512 < 6 * MIB


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_disk_that_is_all_hole(tmp_path: Path, program: str) -> None:
    sparse_bytes(tmp_path, SparseFile(4 * MIB))
    path = pack(program, tmp_path, "disk.raw")
    with open_image(path) as image:
        assert rows_of(image.windows()) == [(0, 4 * MIB, "ZERO", None, None)]


# ---- every encoding -----------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_rows_name_the_archive_and_where_in_it_the_pieces_lie(
    tmp_path: Path, encoding: str
) -> None:
    part = sparse_member(encoding, "d.raw", 3 * MIB, [(0, 512), (MIB, 4096)], b"\x11" * 4608)
    path = archive(part).write(tmp_path / "x.tar")
    begin = len(part) - 4608
    with open_image(path, ask_holes=False) as image:
        assert rows_of(image.windows()) == [
            (0, 512, "DATA", 1, begin),
            (512, MIB - 512, "ZERO", None, None),
            (MIB, 4096, "DATA", 1, begin + 512),
            (MIB + 4096, 2 * MIB - 4096, "ZERO", None, None),
        ]


def entries_of(size: int, cuts: Sequence[int], holds: Sequence[bool]) -> list[tuple[int, int]]:
    bounds = [0, *sorted({cut * 512 for cut in cuts if cut * 512 < size}), size]
    return [
        (low, high - low if hold else 0)
        for low, high, hold in zip(bounds, bounds[1:], holds, strict=False)
    ]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    encoding=st.sampled_from(ENCODINGS),
    size=st.integers(1, 60_000),
    cuts=st.lists(st.integers(0, 120), max_size=60),
    holds=st.lists(st.booleans(), min_size=62, max_size=62),
    tail=st.booleans(),
)
def test_python_reads_the_same_file(
    tmp_path: Path, encoding: str, size: int, cuts: list[int], holds: list[bool], tail: bool
) -> None:
    entries = entries_of(size, cuts, holds)
    if tail or not any(length for _, length in entries):
        entries.append((size, 0))
    stored = pattern(5, sum(length for _, length in entries))
    part = sparse_member(encoding, "d.raw", size, entries, stored)
    path = archive(member("a", b"1"), part, member("b", b"2")).write(tmp_path / "x.tar")
    with tarfile.open(path) as other:
        reader = other.extractfile("d.raw")
        assert reader is not None
        expected = reader.read()
    assert len(expected) == size
    with open_image(path, "raw") as image:
        assert image.pread(0, size) == expected
        assert b"".join(image.pread(at, 700) for at in range(0, size, 700)) == expected


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_image_of_another_format_may_be_stored_sparse(tmp_path: Path, encoding: str) -> None:
    # Compressed clusters whose stored bytes have holes, and tables that are mostly holes.
    image = Qcow2(2 * MIB, cluster_bits=16)
    packer = zlib.compressobj(0, zlib.DEFLATED, -12)
    body = pattern(1, 9000) + bytes(40_000) + pattern(2, 16_536)
    image.packed(3, packer.compress(body) + packer.flush())
    image.data(5, pattern(3, 64 * KIB))
    image.data(7, bytes(10_000) + pattern(4, 64 * KIB - 10_000))
    file = image.build()
    content = file.get(0, file.size)
    plain = file.write(tmp_path / "plain.qcow2")
    path = archive(pack_sparse(encoding, "d.qcow2", content)).write(tmp_path / "x.tar")
    with open_image(plain) as expected, open_image(path) as found:
        assert found.info().format == "qcow2"
        assert found.pread(0, 2 * MIB) == expected.pread(0, 2 * MIB)
        assert found.pread(3 * 64 * KIB, 64 * KIB) == body
        kinds = [(row[0], row[2], row[3]) for row in rows_of(found.windows())]
        assert (3 * 64 * KIB, "COMPRESSED", 0) in kinds
        assert (5 * 64 * KIB, "DATA", 1) in kinds
    result = vhdfast.convert(path, tmp_path / "out.vhd", verify_copy=True)
    assert result.verified == MIB  # the other one is known to be zeros
    assert vhdfast.compare(plain, tmp_path / "out.vhd").same


def test_a_log_that_is_replayed_is_a_source_beside_the_archive(tmp_path: Path) -> None:
    sector = b"replayed".ljust(4096, b"#")
    payload = 4 * MIB
    plain = write_vhdx(
        tmp_path / "d.vhdx", virtual_size=4 * MIB, blocks={0: pattern(0, MIB), 1: pattern(1, MIB)},
        entries=[Entry(1, [Data(payload + 8192, sector)])],
    )  # fmt: skip
    path = archive(pack_sparse("1.0", "d.vhdx", plain.read_bytes())).write(tmp_path / "x.tar")
    content = bytearray(pattern(0, MIB) + pattern(1, MIB))
    content[8192:12288] = sector
    with open_image(path) as image:
        assert image.info().details["log"] == "dirty, replayed in memory"
        assert image.pread(0, 4 * MIB) == bytes(content) + bytes(2 * MIB)
        assert [row[2:4] for row in rows_of(image.windows())] == [
            ("DATA", 2), ("DATA", 1), ("DATA", 2), ("ZERO", None),
        ]  # fmt: skip


def test_the_sources_of_a_parent_lie_between_it_and_the_archive(tmp_path: Path) -> None:
    base = vdi(virtual_size=2 * MIB, blocks={0: pattern(1, MIB), 1: pattern(2, MIB)})
    parent = base.write(tmp_path / "base.vdi")
    child = vdi(
        virtual_size=2 * MIB, blocks={1: pattern(3, 5000)}, image_type=DIFFERENCING,
        link_id=IMAGE_ID,
    )  # fmt: skip
    part = pack_sparse("old", "d.vdi", child.get(0, child.size))
    path = archive(part).write(tmp_path / "x.tar")
    with open_image(path, parents=[parent]) as image:
        assert image.pread(0, MIB) == pattern(1, MIB)
        assert image.pread(MIB, MIB) == pattern(3, 5000) + bytes(MIB - 5000)
        assert [row[2:4] for row in rows_of(image.windows())] == [
            ("DATA", 1), ("DATA", 2), ("ZERO", None),
        ]  # fmt: skip


def test_a_fixed_vhd_may_be_stored_sparse(tmp_path: Path) -> None:
    disk = fixed(pattern(1, 700) + bytes(MIB - 700))
    part = pack_sparse("1.0", "volume", disk.get(0, disk.size))
    path = archive(part).write(tmp_path / "x.tar")
    with open_image(path) as image:
        assert image.info().format == "vhd"
        assert image.pread(0, MIB) == pattern(1, 700) + bytes(MIB - 700)
        assert [row[2] for row in rows_of(image.windows())] == ["DATA", "ZERO"]


def test_the_disk_and_the_descriptor_of_an_ova_may_be_stored_sparse(tmp_path: Path) -> None:
    text = envelope([("f", "a.raw")], ["f"]) + b" " * 1000
    file = archive(
        pack_sparse("1.0", "m.ovf", text),
        pack_sparse("old", "a.raw", bytes(MIB) + pattern(2, 1000)),
    )
    with open_image(file.write(tmp_path / "m.ova")) as image:
        assert image.pread(0, 2 * MIB) == bytes(MIB) + pattern(2, 1000)


def test_over_a_network(tmp_path: Path) -> None:
    disk = a_disk(6)
    content = disk.get(0, disk.size)
    file = archive(pack_sparse("1.0", "d.raw", content))
    with WebServer(file.get(0, file.size)) as server:
        target = tmp_path / "out.raw"
        vhdfast.convert(server.url("x.tar"), target, to="raw", verify_copy=True)
    assert target.read_bytes() == content


def test_without_asking_the_file_system_the_holes_of_the_map_are_known(tmp_path: Path) -> None:
    path = archive(pack_sparse("old", "d.raw", bytes(MIB) + b"1" * 512)).write(tmp_path / "x.tar")
    with open_image(path, ask_holes=False) as image:
        assert [row[:3] for row in rows_of(image.windows())] == [
            (0, MIB, "ZERO"), (MIB, 512, "DATA"),
        ]  # fmt: skip


def test_sizes_in_base_256(tmp_path: Path) -> None:
    entry = b"\x80" + (9 << 30).to_bytes(11, "big") + number(512)
    part = old_gnu("d.raw", (10 << 30), [entry, (10 << 30, 0)], b"\x11" * 512)
    with open_image(archive(part).write(tmp_path / "x.tar")) as image:
        assert image.virtual_size == 10 << 30
        assert image.pread((9 << 30) - 1, 514) == b"\0" + b"\x11" * 512 + b"\0"


def test_unused_blocks_of_an_old_map(tmp_path: Path) -> None:
    part = old_gnu("d.raw", MIB, [(0, 512), *[bytes(24)] * 40], b"\x11" * 512)
    with open_image(archive(part).write(tmp_path / "x.tar")) as image:
        assert image.pread(0, 514) == b"\x11" * 512 + b"\0\0"


def test_a_name_and_a_size_that_only_the_records_say(tmp_path: Path) -> None:
    part = pax_10("folder/real.raw", MIB, [(0, 512)], b"\x11" * 512)
    path = archive(part, member("a.raw", b"1")).write(tmp_path / "x.tar")
    with pytest.raises(VhdfastError, match=r"1: folder/real\.raw \(1 MiB"):
        open_image(path)
    with open_image(path, disk="folder/real.raw") as image:
        assert image.virtual_size == MIB


# ---- maps that cannot be ------------------------------------------------------------------------

DATA = b"\x11" * 1024
# What is wrong of a file of 1 MiB that should be at [0, 512) and [4096, 4608), and what is said.
WRONG: list[tuple[list[tuple[int, int]], str]] = [
    ([(0, 512), (256, 512)], "entry 1 begins before"),
    ([(4096, 512), (0, 512)], "entry 1 begins before"),
    ([(4096, 512), (4096, 512)], "entry 1 begins before"),
    ([(0, 512), (MIB - 511, 512)], "entry 1 is no range within"),
    ([(0, 512), (MIB + 1, 0)], "entry 1 is no range within"),
    ([(0, 512), ((1 << 63) - 1, 512)], "entry 1 is no range within"),
    ([(0, 512), (512, (1 << 63) - 1)], "entry 1 is no range within"),
    ([(0, 512)], "have 512 bytes, 1024 are stored"),
    ([(0, 512), (4096, 1024)], "have 1536 bytes, 1024 are stored"),
    ([(0, 0)], "have 0 bytes, 1024 are stored"),
]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("entries", "what"), WRONG, ids=str)
def test_maps_that_cannot_be(
    refused: Refused, encoding: str, entries: list[tuple[int, int]], what: str
) -> None:
    part = sparse_member(encoding, "d.raw", MIB, entries, DATA)
    at = {"old": 386, "1.0": len(part) - 1024 - 512}.get(encoding, len(part) - 1024 - 512)
    refused(CorruptImageError, archive(part), "sparse tar member", what, offset=at)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_range_that_ends_within_a_block_before_another_one(
    refused: Refused, encoding: str
) -> None:
    # GNU tar would look for the second one at 512 of what is stored, Python and libarchive at 100.
    part = sparse_member(encoding, "d.raw", MIB, [(0, 100), (4096, 924)], DATA)
    refused(UnsupportedImageError, archive(part), "programs disagree")


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (b"\xff" * 24, "entry 1 is no range"),
        (b"\x80" + b"\xff" * 23, "entry 1 is no range"),
        (b"\x80\x01" + bytes(22), "entry 1 is no range"),
        (b"00000000008\0" + number(512), "entry 1 is no range"),
        (b"0000 000000\0" + number(512), "entry 1 is no range"),
        (b"           \0" + number(512), "entry 1 is no range"),
        (bytes(12) + number(512), "entry 1 is no range"),
        (number(4096) + bytes(12), "entry 1 is no range"),
        (bytes(24), "entry behind its end, 1"),
    ],
)
def test_fields_of_an_old_map_that_are_none(refused: Refused, entry: bytes, what: str) -> None:
    part = old_gnu("d.raw", MIB, [(0, 512), entry, (8192, 512)], DATA)
    refused(CorruptImageError, archive(part), what, offset=386)


@pytest.mark.parametrize("field", [b"\xff" * 12, b"9" * 12, bytes(12), number(1 << 62)])
def test_real_sizes_that_are_none(refused: Refused, field: bytes) -> None:
    part = old_gnu("d.raw", field, [(0, 512), (4096, 512)], DATA)
    refused(InvalidImageError, archive(part), "below 2^62")


@pytest.mark.parametrize("text", ["", "-1", "x", "1 ", "9" * 19, "9" * 30, "1\n2", "٣"])
def test_real_sizes_in_records_that_are_none(refused: Refused, text: str) -> None:
    part = pax_10("d.raw", text, [(0, 512), (4096, 512)], DATA)
    refused(InvalidImageError, archive(part), "below 2^62")


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\n", b"2", b"x\n", b"-1\n", b"2\n0\n512\n4096\n", b"2\n0\n512\n4096\n5x2\n",
        b"2\n0\n512\n\n512\n", b"2\n0\n512\n4096\n" + b"9" * 19 + b"\n",
        b"2\n0\n512\n4096\n" + b"1" * 600 + b"\n", b"2\n0\n512\n4096\n512", b"9" * 30 + b"\n",
        b"600\n" + b"1\n" * 900,
    ],
)  # fmt: skip
def test_maps_in_front_of_the_data_that_are_none(refused: Refused, text: bytes) -> None:
    part = pax_10("d.raw", MIB, [], DATA, text=text)
    refused(CorruptImageError, archive(part), "map of a sparse tar member is wrong")


def test_a_map_that_takes_more_than_is_stored(refused: Refused) -> None:
    text = map_text([(0, 0), (MIB, 0)])
    part = in_extended_header(
        "x",
        [("GNU.sparse.major", 1), ("GNU.sparse.minor", 0), ("GNU.sparse.name", "d.raw"),
         ("GNU.sparse.realsize", MIB)],
        text,
    )  # fmt: skip
    refused(CorruptImageError, archive(part), "takes 512 bytes of 16")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"GNU.sparse.numblocks": "3"}, "numblocks is another number"),
        ({"GNU.sparse.numblocks": None}, "numblocks is another number"),
        ({"GNU.sparse.map": "0,512,4096"}, "no list of pairs"),
        ({"GNU.sparse.map": "0,512,4096,x"}, "no list of pairs"),
        ({"GNU.sparse.map": "0,512,,512"}, "no list of pairs"),
        ({"GNU.sparse.map": None}, "has 0 maps"),
        ({"GNU.sparse.offset": "0"}, "has 2 maps"),
    ],
)
def test_maps_in_the_extended_header_that_are_none(
    refused: Refused, change: dict[str, str | None], what: str
) -> None:
    records: dict[str, str | None] = {
        "GNU.sparse.size": str(MIB), "GNU.sparse.numblocks": "2", "GNU.sparse.name": "d.raw",
        "GNU.sparse.map": "0,512,4096,512", **change,
    }  # fmt: skip
    given = [(key, value) for key, value in records.items() if value is not None]
    refused(CorruptImageError, archive(in_extended_header("x", given, DATA)), what)


@pytest.mark.parametrize(
    "records",
    [
        [("GNU.sparse.numbytes", "512")],
        [("GNU.sparse.offset", "0"), ("GNU.sparse.offset", "0")],
        [("GNU.sparse.offset", "0,512,4096")],
        [("GNU.sparse.offset", "0"), ("GNU.sparse.numbytes", "")],
    ],
)
def test_records_of_a_map_that_do_not_come_by_turns(
    refused: Refused, records: list[tuple[str, object]]
) -> None:
    part = in_extended_header("d.raw", records, DATA)
    refused(CorruptImageError, archive(part), "record of an extended tar header")


@pytest.mark.parametrize("version", [("1", "1"), ("2", "0"), ("x", "0"), ("1", ""), ("0", "2")])
def test_versions_that_are_not_known(refused: Refused, version: tuple[str, str]) -> None:
    records = [("GNU.sparse.major", version[0]), ("GNU.sparse.minor", version[1])]
    part = in_extended_header("d.raw", [*records, ("GNU.sparse.realsize", MIB)], DATA)
    refused(UnsupportedImageError, archive(part), f"version {version[0]}.{version[1]}", "tar -xf")


@pytest.mark.parametrize(
    "record", [("SUN.holesdata", " 0 512 1024"), ("SCHILY.realsize", "1048576")]
)
def test_sparse_in_the_way_of_other_programs(refused: Refused, record: tuple[str, str]) -> None:
    part = in_extended_header("d.raw", [record], DATA)
    refused(UnsupportedImageError, archive(part), "star or Solaris", "tar -xf")


def test_a_global_header_that_makes_members_sparse(refused: Refused) -> None:
    said = pax([("GNU.sparse.map", "0,512")], b"g")
    refused(UnsupportedImageError, archive(said, member("d.raw", DATA)), "global", offset=512)


def test_a_real_size_that_is_what_is_stored_is_not_sparse(tmp_path: Path) -> None:
    part = in_extended_header("d.raw", [("SCHILY.realsize", "1024")], DATA)
    with open_image(archive(part).write(tmp_path / "x.tar")) as image:
        assert image.pread(0, 2048) == DATA


def test_stars_sparse_headers(refused: Refused) -> None:
    part = old_gnu("d.raw", MIB, [(0, 1024)], DATA, magic=b"ustar\x0000")
    refused(UnsupportedImageError, archive(part), "star", offset=0)


# ---- bounds -------------------------------------------------------------------------------------


def test_a_number_of_entries_beyond_the_limit(refused: Refused) -> None:
    part = pax_10("d.raw", MIB, [], DATA, text=b"1048577\n")
    refused(UnsupportedImageError, archive(part), "more than 1048576 ranges", "tar -xf")


def test_an_old_map_without_end(refused: Refused, tmp_path: Path) -> None:
    part = old_gnu("d.raw", MIB, [(0, 512), *[bytes(24)] * 30], b"", last=False)
    refused(CorruptImageError, archive(part, end=b""), "it goes on, and the file ends")
    file = archive(part, end=b"")
    path = file.write(tmp_path / "x.tar")
    with open(path, "ab") as out:
        out.write((bytes(504) + b"\1" + bytes(7)) * 50_000)
    started = time.process_time()
    refused(UnsupportedImageError, path, "more than 1048576 ranges")
    assert time.process_time() - started < 2


def test_old_maps_of_many_members_share_the_limit(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vhdfast.containers import tar

    monkeypatch.setattr(tar, "MAX_MAP_BLOCKS", 5)
    entries = [(at * 4096, 0) for at in range(4 + 2 * 21)]
    part = old_gnu("d.raw", MIB, entries, b"")
    refused(UnsupportedImageError, archive(part, part, part), "ranges", offset=2 * len(part) + 512)


@pytest.mark.parametrize("window", [1, 3, 7])
def test_maps_are_read_in_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    content = b"".join(pattern(index, 512) + bytes(512) for index in range(300))
    monkeypatch.setattr(tar_sparse, "WINDOW", window * 512)
    monkeypatch.setattr(tar_sparse, "FIRST_WINDOW", 512)
    for encoding in ("old", "1.0"):
        path = archive(pack_sparse(encoding, "d.raw", content)).write(tmp_path / "x.tar")
        with open_image(path) as image:
            assert image.pread(0, len(content)) == content


@pytest.mark.parametrize("encoding", ["old", "1.0"])
def test_more_pieces_than_a_window_of_the_map(tmp_path: Path, encoding: str) -> None:
    unit = pattern(3, 512)
    entries = [(at * 1024, 512) for at in range(70_000)]
    part = sparse_member(encoding, "d.raw", 70_000 * 1024, entries, unit * 70_000)
    path = archive(part).write(tmp_path / "x.tar")
    with open_image(path) as image:
        windows = list(image.windows())
        assert sum(len(window) for window in windows) == 140_000
        assert max(len(window) for window in windows) <= 65_536
    vhdfast.convert(path, tmp_path / "out.raw", to="raw")
    assert (tmp_path / "out.raw").read_bytes() == (unit + bytes(512)) * 70_000


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_archive_cut_within_a_sparse_member(refused: Refused, encoding: str) -> None:
    part = pack_sparse(encoding, "d.raw", (pattern(1, 512) + bytes(512)) * 40)
    for size in range(512, len(part), 1024):
        file = archive(part)
        file.cut(size)
        refused(CorruptImageError, file)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    encoding=st.sampled_from(ENCODINGS),
    damage=st.lists(
        st.tuples(
            st.integers(0, 2600),
            st.sampled_from([b"\0", b"\1", b"9", b"\n", b",", b"\x80", b"\xff", b"-", b"777"]),
        ),
        min_size=1, max_size=4,
    ),
)  # fmt: skip
def test_random_damage_never_ends_otherwise(
    tmp_path: Path, encoding: str, damage: list[tuple[int, bytes]]
) -> None:
    content = b"".join(pattern(index, 512) + bytes(512) for index in range(12))
    part = bytearray(pack_sparse(encoding, "d.raw", content))
    for at, data in damage:
        part[at : at + len(data)] = data
    # The sums of the headers are made right again, so that the maps are what is looked at.
    for at in range(0, len(part), 512):
        if part[at + 257 : at + 262] == b"ustar":
            part[at + 148 : at + 156] = b" " * 8
            part[at + 148 : at + 156] = b"%06o\0 " % sum(part[at : at + 512])
    path = archive(bytes(part)).write(tmp_path / "x.tar")
    try:
        with open_image(path, "raw", disk="1") as image:
            image.pread(0, 20_000)
    except VhdfastError as error:
        assert error.exit_code in (2, 4)


# ---- archives without a magic -------------------------------------------------------------------


def v7(name: bytes, content: bytes) -> bytes:
    return header(name, len(content), b"\0", magic=b"", extra=[
        (108, b"0001750\0"), (116, b"0001750\0"), (136, b"14747301000\0"),
    ]) + padded(content)  # fmt: skip


@pytest.mark.parametrize("name", ["x.tar", "x.ova", "X.TAR"])
def test_an_archive_of_version_7_is_known_where_its_name_says_so(
    tmp_path: Path, raw_disk: bytes, name: str
) -> None:
    with open_image(archive(v7(b"d.raw", raw_disk)).write(tmp_path / name)) as image:
        assert image.pread(0, MIB) == raw_disk


def test_an_archive_of_version_7_in_a_stream(tmp_path: Path, raw_disk: bytes) -> None:
    file = archive(v7(b"d.raw", raw_disk))
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(file.get(0, file.size)))
    with open_image(path) as image:
        assert image.pread(0, MIB) == raw_disk


@pytest.mark.parametrize("program", ["tar", "bsdtar"])
def test_what_programs_write_as_version_7(tmp_path: Path, raw_disk: bytes, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    (tmp_path / "d.raw").write_bytes(raw_disk)
    command = [program, "--format=v7", "-cf", "x.tar", "d.raw"]
    if subprocess.run(command, cwd=tmp_path, capture_output=True).returncode:
        pytest.skip(f"{program} writes no such archives")
    with open_image(tmp_path / "x.tar") as image:
        assert image.pread(0, MIB) == raw_disk


def test_under_another_name_it_is_none(refused: Refused, raw_disk: bytes) -> None:
    refused(UnknownFormatError, archive(v7(b"d.raw", raw_disk)), name="x.dat")


def test_under_a_disks_name_it_is_a_disk(tmp_path: Path, raw_disk: bytes) -> None:
    file = archive(v7(b"d.raw", raw_disk))
    with open_image(file.write(tmp_path / "x.img")) as image:
        assert image.virtual_size == file.size


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (0, b"\0"),
        (100, b"x"),
        (124, bytes(12)),
        (148, b"1"),
        (156, b"9"),
        (300, b"1"),
        (330, b"x"),
        (400, b"1"),
    ],
)
def test_headers_of_version_7_that_are_none(
    refused: Refused, raw_disk: bytes, at: int, data: bytes
) -> None:
    file = archive(v7(b"d.raw", raw_disk))
    file.put(at, data)
    # All but one have a right sum.
    if at != 148:
        block = file.get(0, 148) + b" " * 8 + file.get(156, 356)
        file.put(148, b"%06o\0 " % sum(block))
    refused(UnknownFormatError, file, name="x.tar")
