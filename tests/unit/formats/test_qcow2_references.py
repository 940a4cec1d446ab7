"""qcow2: backing files and external data files."""

from __future__ import annotations

import os

import pytest

from vhdfast.errors import (
    CorruptImageError,
    InvalidImageError,
    MissingReferenceError,
    UnsafeReferenceError,
    UnsupportedImageError,
    UsageError,
)
from vhdfast.image import open_image

from ...support import pattern, rows_of
from ...support.build_qcow2 import (
    BACKING_FORMAT,
    COMPRESSED,
    COPIED,
    DATA_FILE,
    DATA_FILE_NAME,
    RAW_EXTERNAL,
    Qcow2,
    poke_field,
    raw_deflate,
)

K64 = 65536


@pytest.fixture
def qcow2(opened):
    def open_it(file, name="disk.qcow2", **options):
        return opened(file, name, ask_holes=False, **options)

    return open_it


# ---- backing files ------------------------------------------------------------------------------


def test_what_is_not_in_the_image_is_in_its_backing_file(qcow2, tmp_path):
    (tmp_path / "base.raw").write_bytes(pattern(9, 4 * K64))
    disk = Qcow2(4 * K64, backing="base.raw", backing_format="raw")
    disk.data(1, pattern(1, K64))
    disk.zero(2)
    image = qcow2(disk.build())
    base = pattern(9, 4 * K64)
    assert image.pread(0, 4 * K64) == (
        base[:K64] + pattern(1, K64) + bytes(K64) + base[3 * K64 :]
    )
    assert rows_of(image.windows()) == [
        (0, K64, "DATA", 1, 0),
        (K64, K64, "DATA", 0, disk.places[1]),
        (2 * K64, K64, "ZERO", None, None),
        (3 * K64, K64, "DATA", 1, 3 * K64),
    ]
    info = image.info()
    assert info.parent == str(tmp_path / "base.raw")
    assert info.details["backing file"] == "base.raw"
    assert info.details["backing format"] == "raw"


def test_a_chain_of_three_with_other_cluster_sizes(qcow2, tmp_path):
    bottom = Qcow2(4 * K64, 9)
    for cluster in range(512):
        bottom.data(cluster, pattern(cluster, 512))
    bottom.build().write(tmp_path / "bottom.qcow2")
    middle = Qcow2(4 * K64, 12, backing="bottom.qcow2", backing_format="qcow2")
    middle.packed(2, raw_deflate(pattern(70, 4096)))
    middle.build().write(tmp_path / "middle.qcow2")
    top = Qcow2(4 * K64, backing="middle.qcow2", backing_format="qcow2")
    top.data(3, pattern(80, K64))
    want = bytearray(b"".join(pattern(cluster, 512) for cluster in range(512)))
    want[8192:12288] = pattern(70, 4096)
    want[3 * K64 :] = pattern(80, K64)
    assert qcow2(top.build()).pread(0, 4 * K64) == bytes(want)


@pytest.mark.parametrize("size", [1, 511, K64, K64 + 5, 5 * K64])
def test_a_backing_file_may_be_shorter_or_longer(qcow2, tmp_path, size):
    (tmp_path / "base.raw").write_bytes(pattern(9, size))
    disk = Qcow2(3 * K64, backing="base.raw", backing_format="raw")
    want = pattern(9, size)[: 3 * K64].ljust(3 * K64, b"\0")
    assert qcow2(disk.build()).pread(0, 3 * K64) == want


@pytest.mark.parametrize("theirs", ["raw", "file", "host_device"])
def test_formats_that_qemu_calls_otherwise(qcow2, tmp_path, theirs):
    # A raw disk that begins like a qcow2 image: the given format decides.
    (tmp_path / "base").write_bytes(b"QFI\xfb\0\0\0\3".ljust(K64, b"\1"))
    disk = Qcow2(K64, backing="base", backing_format=theirs)
    assert qcow2(disk.build()).pread(0, 8) == b"QFI\xfb\0\0\0\3"


def test_vpc_is_what_qemu_calls_vhd(qcow2, tmp_path):
    (tmp_path / "base").write_bytes(bytes(K64))
    disk = Qcow2(K64, backing="base", backing_format="vpc")
    with pytest.raises(CorruptImageError, match="there is no VHD footer"):
        qcow2(disk.build())


def test_a_version_2_image_names_its_backing_file_too(qcow2, tmp_path):
    (tmp_path / "base.raw").write_bytes(pattern(9, K64))
    disk = Qcow2(K64, version=2, backing="base.raw", backing_format="raw")
    assert qcow2(disk.build()).pread(0, K64) == pattern(9, K64)


@pytest.mark.parametrize("given", [None, ""])
def test_a_backing_file_of_unsaid_format_is_not_guessed(qcow2, refused, tmp_path, given):
    (tmp_path / "base.raw").write_bytes(pattern(9, K64))
    disk = Qcow2(K64, backing="base.raw", backing_format=given)
    error = refused(UnsafeReferenceError, disk.build(), "does not say which format")
    assert "--backing-format" in error.hint
    assert qcow2(disk.build(), backing_format="raw").pread(0, 9) == pattern(9, 9)


@pytest.mark.parametrize("given", ["luks", "nbd", "evil\n", "x" * 100])
def test_a_backing_format_that_is_not_read_is_named(refused, given):
    disk = Qcow2(K64, backing="base.raw", backing_format=given)
    error = refused(UnsupportedImageError, disk.build(), "the backing file is said to be of format")
    assert "\n" not in str(error)


def test_a_missing_backing_file(refused):
    disk = Qcow2(K64, backing="base.raw", backing_format="raw")
    refused(MissingReferenceError, disk.build(), "the backing file 'base.raw' is not there")


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../base.raw", 'json:{"driver":"raw"}', "nbd://host/x", "http:x"]
)
def test_names_that_lead_elsewhere_are_refused(refused, name):
    disk = Qcow2(K64, backing=name, backing_format="raw")
    refused(UnsafeReferenceError, disk.build(), "backing file")


def test_a_name_with_a_zero_byte(refused):
    disk = Qcow2(K64, backing=b"base\0.raw", backing_format="raw")
    refused(InvalidImageError, disk.build(), "which no file can have")


def test_a_name_that_is_not_utf_8(qcow2, tmp_path):
    (tmp_path / os.fsdecode(b"b\xe4se.raw")).write_bytes(pattern(9, K64))
    disk = Qcow2(K64, backing=b"b\xe4se.raw", backing_format="raw")
    image = qcow2(disk.build())
    assert image.pread(0, 9) == pattern(9, 9)
    assert image.info().details["backing file"] == "b?se.raw"


def test_the_longest_name(refused):
    name = "x" * 1023
    disk = Qcow2(K64, backing=name, backing_format="raw")
    refused(InvalidImageError, disk.build(), "which no file can have")  # a part has 255 at most
    error = Qcow2(K64, backing=name + "x", backing_format="raw")
    refused(InvalidImageError, error.build(), "has 1024 bytes, expected 1023", offset=16)


@pytest.mark.parametrize("place", [1, 71, 104, K64 - 3, K64, 1 << 40, (1 << 64) - 4])
def test_a_name_outside_the_rest_of_the_first_cluster(refused, place):
    disk = Qcow2(K64, backing="base", backing_format="raw")
    file = poke_field(disk.build(), "backing_file_offset", place)
    refused(InvalidImageError, file, "the backing file's name is said to lie at", offset=8)


def test_an_image_that_is_its_own_backing_file(refused):
    disk = Qcow2(K64, backing="disk.qcow2", backing_format="qcow2")
    refused(InvalidImageError, disk.build(), "stands above itself", name="disk.qcow2")


def test_the_user_may_name_the_backing_file(qcow2, tmp_path):
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "base.raw").write_bytes(pattern(9, K64))
    disk = Qcow2(K64, backing="base.raw", backing_format="raw")
    image = qcow2(disk.build(), parents=[tmp_path / "moved" / "base.raw"])
    assert image.pread(0, K64) == pattern(9, K64)


@pytest.mark.parametrize("depth", [0, 1])
def test_the_user_names_more_backing_files_than_there_are(refused, tmp_path, depth):
    (tmp_path / "base.raw").write_bytes(pattern(9, K64))
    base = Qcow2(K64).build().write(tmp_path / "base.qcow2")
    disk = Qcow2(K64, backing="base.qcow2", backing_format="qcow2")
    file = disk.build() if depth else Qcow2(K64).build()
    names = [base, tmp_path / "base.raw"] if depth else [tmp_path / "base.raw"]
    path = tmp_path / "top"
    file.write(path)
    with pytest.raises(UsageError, match=f"as parent, and the image has {depth or 'none'}"):
        open_image(path, parents=names)


def test_two_names_for_one_extension(refused):
    disk = Qcow2(
        K64, backing="base.raw", backing_format="raw", extensions=((BACKING_FORMAT, b"qcow2"),)
    )
    refused(InvalidImageError, disk.build(), "0xe2792aca is there twice", offset=112 + 16)


# ---- external data files ------------------------------------------------------------------------


def with_data(tmp_path, disk):
    file = disk.build()
    disk.data_bodies.write(tmp_path / "disk.data")
    return file


def test_clusters_lie_in_the_data_file(qcow2, tmp_path):
    disk = Qcow2(3 * K64 + 512, data_file="disk.data")
    disk.data(0, pattern(1, K64))  # at offset 0 of the data file
    disk.data(3, pattern(3, K64))
    disk.zero(1, body=pattern(2, K64))
    image = qcow2(with_data(tmp_path, disk))
    assert rows_of(image.windows()) == [
        (0, K64, "DATA", 1, 0),
        (K64, 2 * K64, "ZERO", None, None),
        (3 * K64, 512, "DATA", 1, 3 * K64),
    ]
    assert image.pread(0, K64) == pattern(1, K64)
    assert image.pread(3 * K64, K64) == pattern(3, 512)
    details = image.info().details
    assert (details["data file"], details["data file is raw"]) == ("disk.data", False)


def test_without_its_own_bit_a_cluster_at_offset_0_is_not_there(qcow2, tmp_path):
    disk = Qcow2(K64, data_file="disk.data")
    disk.entry(0, 0)
    (tmp_path / "disk.data").write_bytes(pattern(1, K64))
    image = qcow2(disk.build())
    assert rows_of(image.windows()) == [(0, K64, "ZERO", None, None)]


def test_a_raw_data_file_is_read_by_the_tables_too(qcow2, tmp_path):
    disk = Qcow2(2 * K64, data_file="disk.data", autoclear=RAW_EXTERNAL)
    disk.data(0, pattern(1, K64))
    disk.data(1, pattern(2, K64))
    image = qcow2(with_data(tmp_path, disk))
    assert image.pread(0, 2 * K64) == pattern(1, K64) + pattern(2, K64)
    assert image.info().details["data file is raw"] is True


def test_a_data_file_over_a_backing_file(qcow2, tmp_path):
    (tmp_path / "base.raw").write_bytes(pattern(9, 2 * K64))
    disk = Qcow2(2 * K64, data_file="disk.data", backing="base.raw", backing_format="raw")
    disk.data(1, pattern(1, K64))
    image = qcow2(with_data(tmp_path, disk))
    assert image.pread(0, 2 * K64) == pattern(9, 2 * K64)[:K64] + pattern(1, K64)
    assert [row[3] for row in rows_of(image.windows())] == [2, 1]


def test_a_cluster_at_another_place_of_the_data_file(refused, tmp_path):
    disk = Qcow2(2 * K64, data_file="disk.data")
    disk.entry(1, COPIED | 0)
    refused(
        CorruptImageError, with_data(tmp_path, disk),
        "cluster 1 (L1 entry 0, L2 entry 1) is said to lie at 0x0 of the data file",
        offset=2 * K64 + 8, when="walking",
    )  # fmt: skip


def test_a_compressed_cluster_cannot_be_with_a_data_file(refused, tmp_path):
    disk = Qcow2(K64, data_file="disk.data")
    disk.entry(0, COMPRESSED | 4 * K64)
    refused(CorruptImageError, with_data(tmp_path, disk), "is compressed", when="walking")


def test_a_data_file_that_is_too_short(refused, qcow2, codes, tmp_path):
    disk = Qcow2(2 * K64, data_file="disk.data")
    disk.data(1, pattern(1, K64))
    file = with_data(tmp_path, disk)
    os.truncate(tmp_path / "disk.data", K64)
    refused(
        CorruptImageError, file, "lie at 0x10000, the data file ends at 0x10000", when="walking"
    )
    with open(tmp_path / "disk.data", "r+b") as data:
        data.truncate(K64 + 100)
    image = qcow2(file)
    assert image.pread(K64, K64) == bytes(K64)
    assert codes(image) == ["short-block"]


def test_a_missing_data_file(refused):
    disk = Qcow2(K64, data_file="disk.data")
    refused(MissingReferenceError, disk.build(), "the data file 'disk.data' is not there")


def test_a_data_file_elsewhere(refused):
    disk = Qcow2(K64, data_file="/etc/passwd")
    refused(UnsafeReferenceError, disk.build(), "data file")


def test_a_data_file_without_a_name(refused):
    disk = Qcow2(K64, incompatible=DATA_FILE)
    error = refused(UnsupportedImageError, disk.build(), "no header extension", offset=72)
    assert "qemu-img amend" in error.hint


def test_a_name_of_a_data_file_that_there_is_not_is_passed_over(qcow2):
    disk = Qcow2(K64, extensions=((DATA_FILE_NAME, b"/etc/passwd"),))
    assert qcow2(disk.build()).pread(0, 1) == b"\0"


def test_a_raw_data_file_needs_one(refused):
    disk = Qcow2(K64, autoclear=RAW_EXTERNAL)
    refused(InvalidImageError, disk.build(), "says that it has none", offset=88)


def test_a_raw_data_file_and_a_backing_file(refused):
    disk = Qcow2(
        K64, data_file="d", autoclear=RAW_EXTERNAL, backing="base.raw", backing_format="raw"
    )
    refused(InvalidImageError, disk.build(), "expected one of them", offset=88)
