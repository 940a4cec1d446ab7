"""OVA and plain tar files: which disks they hold, read in place; what is refused."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vhdfast
from tests.support import KIB, MIB, SparseFile, pattern, poke
from tests.support.build_tar import archive, envelope, header, member, number, padded, pax
from tests.support.build_vdi import vdi
from tests.unit.containers.conftest import open_files
from vhdfast import open_image
from vhdfast.errors import (
    AmbiguousFormatError,
    CorruptImageError,
    InvalidImageError,
    TargetError,
    UnknownFormatError,
    UnsafeReferenceError,
    UnsupportedImageError,
    UsageError,
    VhdfastError,
)

Refused = Callable[..., VhdfastError]


def one_vdi(seed: int = 1) -> bytes:
    file = vdi(virtual_size=2 * MIB, blocks={1: pattern(seed, MIB)})
    return file.get(0, file.size)


def two_disks(raw_disk: bytes) -> SparseFile:
    files = [("f1", "a.vdi"), ("f2", "b.raw"), ("f3", "m.iso")]
    return archive(
        member("m.ovf", envelope(files, ["f1", "f2"])),
        member("m.mf", b"SHA1(m.ovf)= 00\n"),
        member("m.iso", b"iso" * 500),
        member("b.raw", raw_disk),
        member("a.vdi", one_vdi()),
    )


# ---- what is read -------------------------------------------------------------------------------


def test_the_one_disk_of_an_ova_is_read_in_place(tmp_path: Path) -> None:
    file = archive(member("m.ovf", envelope([("f", "a.vdi")], ["f"])), member("a.vdi", one_vdi()))
    path = file.write(tmp_path / "m.ova")
    with open_image(path) as image:
        assert image.pread(0, 2 * MIB) == bytes(MIB) + pattern(1, MIB)
        assert image.path == f"{path}:a.vdi"
        info = image.info()
        assert (info.format, info.virtual_size) == ("vdi", 2 * MIB)
        assert info.details["container"] == f"OVA or tar, {path}"
        assert image.is_same_file(str(path))
    assert str(path) not in open_files()


@pytest.mark.parametrize("wanted", ["b.raw", "2", "02"])
def test_a_disk_by_its_name_or_number(tmp_path: Path, raw_disk: bytes, wanted: str) -> None:
    path = two_disks(raw_disk).write(tmp_path / "m.ova")
    with open_image(path, disk=wanted) as image:
        assert image.pread(0, MIB) == raw_disk


def test_the_disks_are_listed_where_none_is_chosen(refused: Refused, raw_disk: bytes) -> None:
    error = refused(
        UsageError, two_disks(raw_disk), "2 disks", "1: a.vdi", "2: b.raw", "--disk NAME"
    )
    assert error.exit_code == 2


@pytest.mark.parametrize("wanted", ["c.raw", "0", "3", "", "9" * 5000])
def test_a_disk_that_is_not_there(refused: Refused, raw_disk: bytes, wanted: str) -> None:
    refused(UsageError, two_disks(raw_disk), "no disk is called", "1: a.vdi", disk=wanted)


def test_from_names_the_format_of_the_disk(tmp_path: Path, refused: Refused) -> None:
    file = archive(member("m.ovf", envelope([("f", "a.vdi")], ["f"])), member("a.vdi", one_vdi()))
    path = file.write(tmp_path / "m.ova")
    with open_image(path, "raw") as image:
        assert image.pread(0, 4) == b"<<< "
    with pytest.raises(vhdfast.VhdfastError, match=r"m\.ova:a\.vdi"):
        open_image(path, "vhdx")


def test_a_raw_disk_that_begins_like_a_tar_file_is_raw_where_the_user_says_so(
    tmp_path: Path,
) -> None:
    # A guest may write this; it must not choose what is read.
    path = archive(member("a.vdi", one_vdi())).write(tmp_path / "disk.raw")
    with open_image(path, "raw") as image:
        assert image.virtual_size == path.stat().st_size
        assert image.pread(0, 5) == b"a.vdi"


def test_a_plain_archive_of_one_disk(tmp_path: Path, raw_disk: bytes) -> None:
    file = archive(member("README", b"text"), member("disk.raw", raw_disk))
    with open_image(file.write(tmp_path / "x.tar")) as image:
        assert image.pread(0, MIB) == raw_disk
        assert image.info().format == "raw"


def test_a_disk_without_a_suffix_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    file = archive(member("README", b"text"), member("volume", one_vdi()))
    with open_image(file.write(tmp_path / "x")) as image:
        assert image.info().format == "vdi"


def test_files_of_attributes_by_macos_are_no_disks(tmp_path: Path, raw_disk: bytes) -> None:
    file = archive(
        member("._m.ovf", b"x"), member("._disk.raw", b"x" * 99), member("disk.raw", raw_disk)
    )
    with open_image(file.write(tmp_path / "x.tar")) as image:
        assert image.virtual_size == MIB


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["disk.raw", "a/" * 45 + "d.raw", "ü" * 70 + "/disk.raw"])
def test_what_pythons_tarfile_writes(
    tmp_path: Path, raw_disk: bytes, format: int, name: str
) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=format) as file:
        directory = tarfile.TarInfo("folder")
        directory.type = tarfile.DIRTYPE
        file.addfile(directory)
        info = tarfile.TarInfo(f"./{name}")
        info.size = MIB
        info.mtime = 1.5  # type: ignore[assignment]
        file.addfile(info, io.BytesIO(raw_disk))
    with open_image(path, disk=name) as image:
        assert image.pread(0, MIB) == raw_disk


def test_prefix_and_name_are_one_path(tmp_path: Path, raw_disk: bytes) -> None:
    file = archive(header(b"d.raw", MIB, prefix=b"some/where") + raw_disk)
    with open_image(file.write(tmp_path / "x.tar"), disk="some/where/d.raw") as image:
        assert image.virtual_size == MIB


def test_gnus_headers_have_no_prefix(tmp_path: Path, raw_disk: bytes) -> None:
    file = archive(header(b"d.raw", MIB, magic=b"ustar  \0", prefix=b"0123") + raw_disk)
    with open_image(file.write(tmp_path / "x.tar"), disk="d.raw") as image:
        assert image.virtual_size == MIB


def test_checksums_of_signed_bytes(tmp_path: Path, raw_disk: bytes) -> None:
    file = archive(header("ü.raw".encode(), MIB, signed=True) + raw_disk)
    with open_image(file.write(tmp_path / "x.tar")) as image:
        assert image.virtual_size == MIB


def test_a_size_in_base_256(tmp_path: Path, raw_disk: bytes) -> None:
    field = b"\x80" + MIB.to_bytes(11, "big")
    file = archive(header(b"d.raw", field) + raw_disk)
    with open_image(file.write(tmp_path / "x.tar")) as image:
        assert image.virtual_size == MIB


def test_a_size_in_an_extended_header(tmp_path: Path, raw_disk: bytes) -> None:
    file = archive(
        pax([("size", str(MIB)), ("path", "real.raw")]), header(b"short", 0) + raw_disk
    )
    with open_image(file.write(tmp_path / "x.tar"), disk="real.raw") as image:
        assert image.pread(0, MIB) == raw_disk


def test_an_extended_header_is_of_the_next_member_only(tmp_path: Path, raw_disk: bytes) -> None:
    file = archive(
        pax([("path", "a.txt")]), member("x", b"1"), member("d.raw", raw_disk), end=b""
    )
    with open_image(file.write(tmp_path / "x.tar"), disk="d.raw") as image:
        assert image.virtual_size == MIB


@pytest.mark.large
def test_a_member_of_many_gigabytes_behind_another_one(tmp_path: Path) -> None:
    size = 9 << 30
    file = archive(header(b"a.raw", size))
    file.size = 512 + size
    file.append(member("b.raw", b"\x11" * 512))
    file.append(bytes(1024))
    with open_image(file.write(tmp_path / "x.tar"), disk="2") as image:
        assert image.pread(0, 512) == b"\x11" * 512


@pytest.mark.parametrize("href", ["my%20disk.vdi", "./my%20disk.vdi"])
def test_an_href_may_be_escaped(tmp_path: Path, href: str) -> None:
    ovf = envelope([("f", href)], ["f"])
    file = archive(member("m.ovf", ovf), member("my disk.vdi", one_vdi()))
    with open_image(file.write(tmp_path / "m.ova")) as image:
        assert image.info().format == "vdi"


def test_hrefs_are_relative_to_the_descriptor(tmp_path: Path) -> None:
    ovf = envelope([("f", "a.vdi")], ["f"])
    file = archive(member("m/m.ovf", ovf), member("m/a.vdi", one_vdi()), member("a.vdi", b"x"))
    with open_image(file.write(tmp_path / "m.ova")) as image:
        assert image.info().format == "vdi"


def test_empty_disks_are_left_out(tmp_path: Path) -> None:
    ovf = envelope([("f", "a.vdi")], ["", "f", ""])
    file = archive(member("m.ovf", ovf), member("a.vdi", one_vdi()))
    with open_image(file.write(tmp_path / "m.ova")) as image:
        assert image.info().format == "vdi"


def test_a_disk_that_the_ovf_calls_raw_is_not_looked_at(tmp_path: Path) -> None:
    ovf = envelope([("f", "a")], ["f"], disk_attributes='ovf:volume-format="RAW"')
    file = archive(member("m.ovf", ovf), member("a", one_vdi()))
    with open_image(file.write(tmp_path / "m.ova")) as image:
        assert image.info().format == "raw"


def test_convert_and_verify_a_disk_of_an_ova(tmp_path: Path, raw_disk: bytes) -> None:
    path = two_disks(raw_disk).write(tmp_path / "m.ova")
    target = tmp_path / "out.vhd"
    result = vhdfast.convert(path, target, disk="2", verify_copy=True)
    assert result.verified == MIB
    assert result.plan.source == f"{path}:b.raw"
    assert target.read_bytes()[:MIB] == raw_disk


def test_the_archive_is_never_the_target(tmp_path: Path, raw_disk: bytes) -> None:
    path = two_disks(raw_disk).write(tmp_path / "m.ova")
    with pytest.raises((TargetError, UsageError)):
        vhdfast.convert(path, path, disk="2", force=True)


# ---- what is refused ----------------------------------------------------------------------------


def test_a_compressed_disk_is_refused_with_a_way_out(refused: Refused) -> None:
    ovf = envelope([("f", "a.vdi.gz")], ["f"], attributes='ovf:compression="gzip"')
    file = archive(member("m.ovf", ovf), member("a.vdi.gz", b"\x1f\x8b\x08"))
    refused(UnsupportedImageError, file, "a.vdi.gz", "gzip", "tar -xf", "gunzip")


def test_a_disk_in_chunks_is_refused_by_name(refused: Refused) -> None:
    ovf = envelope([("f", "a.vdi")], ["f"], attributes='ovf:chunkSize="100"')
    refused(UnsupportedImageError, archive(member("m.ovf", ovf)), "chunkSize", "a.vdi.0*")


def test_a_delta_disk_is_refused(refused: Refused) -> None:
    ovf = envelope([("f", "a.vdi")], ["f"], disk_attributes='ovf:parentRef="d9"')
    refused(UnsupportedImageError, archive(member("m.ovf", ovf)), "parentRef")


@pytest.mark.parametrize("href", ["../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "b"])
def test_an_href_never_leads_out_of_the_archive(refused: Refused, href: str) -> None:
    ovf = envelope([("f", href)], ["f"])
    refused(CorruptImageError, archive(member("m.ovf", ovf)), href, "no such member")


def test_an_image_in_an_archive_names_no_files_outside(refused: Refused, tmp_path: Path) -> None:
    from tests.support.build_vdi import DIFFERENCING, IMAGE_ID

    child = vdi(virtual_size=MIB, image_type=DIFFERENCING, link_id=IMAGE_ID)
    file = archive(member("a.vdi", child.get(0, child.size)))
    refused(UnsafeReferenceError, file, "a.vdi", "--parent")


def test_two_members_of_one_name(refused: Refused) -> None:
    ovf = envelope([("f", "a.vdi")], ["f"])
    file = archive(member("m.ovf", ovf), member("a.vdi", one_vdi()), member("a.vdi", one_vdi(2)))
    refused(InvalidImageError, file, "two members", "'a.vdi'", offset=1024 + 512 + len(one_vdi()))
    plain = archive(member("a.vdi", one_vdi()), member("a.vdi", one_vdi(2)))
    refused(InvalidImageError, plain, "two members", name="x.tar")


def test_two_descriptors(refused: Refused) -> None:
    ovf = envelope([("f", "a.vdi")], ["f"])
    refused(UnsupportedImageError, archive(member("a.ovf", ovf), member("b.ovf", ovf)), "2 OVF")


@pytest.mark.parametrize("checksum", ["checksum", "xxhash"])
def test_a_xenserver_export_is_refused_whatever_its_first_piece_begins_like(
    refused: Refused, checksum: str
) -> None:
    # A guest writes a VDI into the first sectors of its disk, which is the first piece.
    file = archive(
        member("ova.xml", b"<value/>"),
        member("Ref:17/00000000", one_vdi()),
        member(f"Ref:17/00000000.{checksum}", b"0" * 40),
        member("Ref:17/00000001", bytes(MIB)),
    )
    refused(UnsupportedImageError, file, "XenServer export", "Ref:17/00000000", offset=1024)


def test_an_archive_without_disks(refused: Refused) -> None:
    refused(UnsupportedImageError, archive(member("a.txt", b"hello")), "no disk in it")
    ovf = envelope([], [""])
    refused(UnsupportedImageError, archive(member("m.ovf", ovf)), "no disk in it")


def test_a_disk_of_no_known_format_is_named(refused: Refused) -> None:
    ovf = envelope([("f", "a.bin2")], ["f"])
    error = refused(
        UnknownFormatError, archive(member("m.ovf", ovf), member("a.bin2", b"text" * 99))
    )
    assert str(error.path).endswith("disks.ova:a.bin2")


def test_an_archive_in_an_archive(refused: Refused, raw_disk: bytes) -> None:
    inner = archive(member("d.raw", raw_disk))
    ovf = envelope([("f", "x.ova")], ["f"])
    file = archive(member("m.ovf", ovf), member("x.ova", inner.get(0, inner.size)))
    refused(UnsupportedImageError, file, "inside another one", "x.ova")


def test_an_archive_is_no_parent(tmp_path: Path, refused: Refused) -> None:
    from tests.support.build_vdi import DIFFERENCING, IMAGE_ID

    base = archive(member("a.vdi", one_vdi())).write(tmp_path / "base.ova")
    child = vdi(virtual_size=MIB, image_type=DIFFERENCING, link_id=IMAGE_ID)
    refused(
        UnsupportedImageError, child, "below another image", name="child.vdi", parents=[base],
        backing_format="auto",
    )  # fmt: skip


def test_a_volume_of_several_is_refused(refused: Refused, raw_disk: bytes) -> None:
    file = archive(member("a.raw", raw_disk), header(b"b.raw", 0, b"M"))
    refused(UnsupportedImageError, file, "multi-volume", offset=512 + MIB)


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        (number(8**11 - 1), CorruptImageError),
        (number((1 << 63) - 1), CorruptImageError),
        (number(1 << 63), InvalidImageError),
        (b"\x80" + b"\xff" * 11, InvalidImageError),
        (number(-1), InvalidImageError),
        (b"\xff" * 12, InvalidImageError),
        (b"\xff" + b"\0" * 11, InvalidImageError),
        (b"-0000000001\0", InvalidImageError),
        (b"12345678z\0\0\0", InvalidImageError),
        (number(1537), CorruptImageError),
    ],
)
def test_a_size_that_cannot_be(
    refused: Refused, field: bytes, kind: type[VhdfastError]
) -> None:
    file = archive(header(b"d.raw", field), bytes(512))
    refused(kind, file, offset=124)


@pytest.mark.parametrize("text", ["-1", "1e3", "9" * 30, "1_0", "", "٣"])
def test_an_extended_size_that_cannot_be(refused: Refused, text: str) -> None:
    file = archive(pax([("size", text)]), member("d.raw", b"x"))
    refused(InvalidImageError, file, "no number of bytes", offset=1024 + 124)


@pytest.mark.parametrize("body", [b"5 a=b", b"99 a=b\n", b"x", b"0 a=b\n", b"4 a\n", b"5 =bb\n"])
def test_extended_records_that_are_none(refused: Refused, body: bytes) -> None:
    file = archive(header(b"p", len(body), b"x"), padded(body), member("d.raw", b"x"))
    refused(CorruptImageError, file, "LENGTH KEY=VALUE", offset=512)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_an_extended_header_of_a_gigabyte(refused: Refused, kind: bytes) -> None:
    file = archive(header(b"p", 1 << 30, kind), end=b"")
    file.size = 2 << 30
    refused(InvalidImageError, file, "extended header", offset=0)


def test_a_damaged_header_behind_the_first(refused: Refused, tmp_path: Path) -> None:
    path = archive(member("a.raw", b"1"), member("b.raw", b"2")).write(tmp_path / "x.tar")
    poke(path, 1024 + 3, b"Z")
    refused(CorruptImageError, path, "checksum", offset=1024)


def test_a_damaged_first_header_does_not_make_a_raw_disk(refused: Refused) -> None:
    file = archive(member("a.raw", b"1"))
    file.put(0, b"b")
    refused(UnknownFormatError, file, "damaged ova", name="disk.img")


def test_a_fixed_vhd_that_begins_like_a_tar_file_is_ambiguous(
    refused: Refused, raw_disk: bytes
) -> None:
    file = archive(member("a.raw", raw_disk))
    file.append(b"conectix".ljust(512, b"\0"))
    refused(AmbiguousFormatError, file, "ova (", "vhd (")


def test_other_formats_may_have_the_magic_in_their_midst(tmp_path: Path) -> None:
    file = vdi(virtual_size=MIB, blocks={0: b"x"})
    file.put(257, b"ustar")
    with open_image(file.write(tmp_path / "d.vdi")) as image:
        assert image.info().format == "vdi"


def test_more_members_than_an_ova_has(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(member("a", b"") * 50_000)
    started = time.monotonic()
    refused(UnsupportedImageError, path, "more than 4096 members")
    assert time.monotonic() - started < 1
    path.write_bytes(member("a", b"") * 300)
    refused(UnsupportedImageError, path, "300 files without an OVF")


@pytest.mark.parametrize("size", [512, 600, 1024, 1100, 1535])
def test_an_archive_cut_anywhere(refused: Refused, size: int) -> None:
    file = archive(member("a.vdi", one_vdi()))
    file.cut(size)
    refused(CorruptImageError, file, "cut short")


# ---- the XML ------------------------------------------------------------------------------------


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused_in_every_encoding(refused: Refused, encoding: str) -> None:
    text = envelope([("f", "&c;")], ["f"], before=BOMB).decode()
    ovf = text.replace('encoding="UTF-8"', f'encoding="{encoding}"').encode(encoding)
    refused(InvalidImageError, archive(member("m.ovf", ovf)), "document type")


@pytest.mark.parametrize(
    ("ovf", "fragment"),
    [
        (b"", "no XML"),
        (b"<Envelope", "no XML"),
        (b"<?xml version='1.0' encoding='rot13'?><Envelope/>", "no XML"),
        (b"<?xml version='1.0' encoding='shift_jis'?><Envelope/>", "no XML"),
        (b"\xff\xff\xff", "no XML"),
        (b"<html/>", "'html'"),
        (b"<Envelope>" + b"<a>" * 70, "inside each other"),
        (b"<Envelope>" + b"<a/>" * 100_001 + b"</Envelope>", "elements"),
        (b"<Envelope>" + b" " * (1 << 20) + b"</Envelope>", "or fewer"),
        (envelope([("f", "a")], ["g"]), "'g'"),
        (envelope([("f", "")], ["f"]), "'f'"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else len(value),
)
def test_descriptors_that_are_none(refused: Refused, ovf: bytes, fragment: str) -> None:
    refused(InvalidImageError, archive(member("m.ovf", ovf)), fragment)


def test_long_name_spaces_cost_nothing(refused: Refused) -> None:
    attributes = " ".join(f'n:a{index}="1"' for index in range(5000))
    ovf = f'<n:Envelope xmlns:n="{"u" * 500_000}"><n:File {attributes}/></n:Envelope>'
    started = time.monotonic()
    refused(UnsupportedImageError, archive(member("m.ovf", ovf.encode())), "no disk")
    assert time.monotonic() - started < 1


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    damage=st.lists(
        st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=12)), max_size=4
    ),
    cut=st.integers(0, 4000),
)
def test_random_damage_never_ends_otherwise(
    tmp_path: Path, damage: list[tuple[int, bytes]], cut: int
) -> None:
    file = archive(
        pax([("path", "m.ovf"), ("mtime", "1.5")]),
        member("x", envelope([("f", "a.raw")], ["f"])),
        member("a.raw", b"\x22" * KIB),
    )
    for at, data in damage:
        file.put(at, data)
    file.cut(file.size - cut if cut < 1000 else file.size)
    try:
        with open_image(file.write(tmp_path / "m.ova"), disk="1") as image:
            image.pread(0, KIB)
    except VhdfastError as error:
        assert error.exit_code in (2, 4)


def test_what_a_global_header_says_is_not_looked_at_again_for_each_member(
    refused: Callable[..., object], tmp_path: Path
) -> None:
    said = [
        pax([(f"{number}", "") for number in range(first, first + 6000)], b"g")
        for first in range(0, 90_000, 6000)
    ]
    path = tmp_path / "a.ova"
    path.write_bytes(b"".join(said) + member("x", b"") * 4000 + bytes(1024))
    before = time.process_time()
    refused(UnsupportedImageError, path, "an archive of 4000 files")
    assert time.process_time() - before < 2
