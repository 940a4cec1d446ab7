"""VMDK: text descriptors, and disks in several files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support import KIB, pattern
from tests.support.build_vmdk import (
    SECTOR,
    descriptor,
    write_cowd,
    write_descriptor,
    write_sesparse,
    write_sparse,
    write_stream,
)
from tests.support.reading import codes, opened
from vhdfast import Image, Kind, open_image
from vhdfast.errors import (
    CorruptImageError,
    ImageError,
    InvalidImageError,
    MissingReferenceError,
    UnknownFormatError,
    UnsafeReferenceError,
    UnsupportedImageError,
)

GRAIN = 64 * KIB
Z, D = Kind.ZERO, Kind.DATA


def rows(image: Image) -> list[tuple[int, int, Kind, int | None, int | None]]:
    return [
        (e.offset, e.length, e.kind, e.file, e.file_offset)
        for window in image.windows()
        for e in window
    ]


# ---- extents ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["FLAT", "VMFS"])
@pytest.mark.parametrize("start", ["", " 0", " 2"])
def test_a_flat_extent(tmp_path: Path, kind: str, start: str) -> None:
    content = pattern(1, 4 * SECTOR)
    (tmp_path / "d-flat.vmdk").write_bytes(content)
    path = write_descriptor(tmp_path / "d.vmdk", [f'RW 2 {kind} "d-flat.vmdk"{start}'])
    at = 1024 if start == " 2" else 0
    with opened(path) as image:
        assert rows(image) == [(0, 1024, D, 1, at)]
        assert image.pread(0, 1024) == content[at : at + 1024]
        assert image.info().details["extents"] == [
            {"size": 1024, "type": kind, "access": "RW", "name": "d-flat.vmdk"}
        ]


def test_zeros_between_extents_keep_their_place(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 4096)
    (tmp_path / "b").write_bytes(b"b" * 4096)
    lines = ['RW 8 FLAT "a" 0', "RW 8 ZERO", 'RW 8 FLAT "b" 0']
    with opened(write_descriptor(tmp_path / "d.vmdk", lines)) as image:
        assert image.pread(0, 3 * 4096) == b"a" * 4096 + bytes(4096) + b"b" * 4096


def test_access_words(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 1024)
    lines = ['RDONLY 1 FLAT "a" 0', "RDONLY 1 ZERO", 'NOACCESS 1 FLAT "not there" 0',
             "NOACCESS 1 ZERO", 'rw 1 flat "a" 1']  # fmt: skip
    with opened(write_descriptor(tmp_path / "d.vmdk", lines)) as image:
        assert image.pread(0, 2560) == b"a" * 512 + bytes(1536) + b"a" * 512
        assert codes(image) == ["no-access"]


def test_an_extent_of_no_sectors_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 512)
    lines = ['RW 0 FLAT "not there" 0', 'RW 1 FLAT "a" 0', 'RW 0 SPARSE "nor this"']
    with opened(write_descriptor(tmp_path / "d.vmdk", lines)) as image:
        assert image.virtual_size == 512


def test_a_file_that_several_extents_lie_in_is_opened_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(pattern(1, 2048))
    lines = ['RW 2 FLAT "a" 2', 'RW 2 FLAT "a" 0']
    with opened(write_descriptor(tmp_path / "d.vmdk", lines)) as image:
        assert image.pread(0, 2048) == pattern(1, 2048)[1024:] + pattern(1, 2048)[:1024]
        assert {row[3] for row in rows(image)} == {1}


def test_all_kinds_of_extents_in_one_disk(tmp_path: Path) -> None:
    flat, body = pattern(9, GRAIN), pattern(1, GRAIN)
    (tmp_path / "flat").write_bytes(flat)
    write_sparse(tmp_path / "sparse", 128, {0: body}, text=None)
    write_stream(tmp_path / "stream", 128, {0: body}, text=None)
    write_cowd(tmp_path / "cowd", 128, {n: body[512 * n : 512 * n + 512] for n in range(128)})
    write_sesparse(tmp_path / "se", 128, {n: body[4096 * n :][:4096] for n in range(16)})
    lines = ['RW 128 SPARSE "sparse"', "RW 3 ZERO", 'RW 128 SPARSE "stream"', 'RW 128 FLAT "flat"',
             'RW 128 VMFSSPARSE "cowd"', 'RW 128 SESPARSE "se"']  # fmt: skip
    with opened(write_descriptor(tmp_path / "d.vmdk", lines)) as image:
        expected = body + bytes(1536) + body + flat + body + body
        assert image.pread(0, image.virtual_size) == expected
        assert image.pread(GRAIN - 100, 2000) == expected[GRAIN - 100 : GRAIN + 1900]
        assert codes(image) == []


def test_a_split_disk_takes_its_place_from_the_descriptor(tmp_path: Path) -> None:
    # The first extent has a grain more than the descriptor counts.
    write_sparse(tmp_path / "s1", 256, {0: b"one", 1: b"extra"}, text=None)
    write_sparse(tmp_path / "s2", 128, {0: b"two"}, text=None)
    lines = ['RW 128 SPARSE "s1"', 'RW 128 SPARSE "s2"']
    with opened(write_descriptor(tmp_path / "d.vmdk", lines)) as image:
        assert image.pread(GRAIN, 3) == b"two"
        assert codes(image) == ["capacity-differs"]


def test_a_disk_of_thousands_of_extents(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(pattern(1, 4096 * SECTOR))
    lines = [
        "RW 1 ZERO" if n % 2 else f'RW 1 FLAT "a" {n}' for n in range(4096)
    ]
    path = write_descriptor(tmp_path / "d.vmdk", lines)
    start = time.monotonic()
    with opened(path) as image:
        assert len(rows(image)) == 4096
        content = image.pread(0, image.virtual_size)
    assert time.monotonic() - start < 3
    assert content[1024:1536] == pattern(1, 1536)[1024:]
    assert content[512:1024] == bytes(512)


def test_holes_of_a_flat_extent_are_zeros(tmp_path: Path) -> None:
    with open(tmp_path / "flat", "wb") as file:
        file.truncate(1 << 20)
        file.seek(512 * KIB)
        file.write(b"x" * 4096)
    path = write_descriptor(tmp_path / "d.vmdk", ['RW 2048 FLAT "flat" 0'])
    with open_image(path) as image:
        assert image.extents().bytes_of(Kind.DATA) < 1 << 20
        assert image.pread(512 * KIB, 4) == b"xxxx"


# ---- text ---------------------------------------------------------------------------------------


def test_comments_blank_lines_and_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(b"a" * 512)
    text = (
        b"\xef\xbb\xbf\r\n  # a comment\r\n#DISK  descriptorfile\r\n Version = 1 \r\n"
        b"CID=1\r\nPARENTCID = FFFFFFFF\r\nCreateType = monolithicFlat\r\n\r\n"
        b'\t RW  1\tFLAT "a b"  0 \r\n# RW 5 ZERO\r\nunknown line\r\n'
    )
    (tmp_path / "d.vmdk").write_bytes(text)
    with opened(tmp_path / "d.vmdk") as image:
        assert image.pread(0, 512) == b"a" * 512
        assert image.virtual_size == 512
        assert image.info().identifiers == {"cid": "00000001"}


def test_a_descriptor_without_its_title_is_known_by_what_it_says(tmp_path: Path) -> None:
    text = descriptor(["RW 8 ZERO"]).removeprefix("# Disk DescriptorFile\n")
    (tmp_path / "d.vmdk").write_text(text)
    with opened(tmp_path / "d.vmdk") as image:
        assert image.virtual_size == 4096
    (tmp_path / "e.vmdk").write_text("version=1\nnothing more\n")
    with pytest.raises(UnknownFormatError):
        opened(tmp_path / "e.vmdk")


def test_a_descriptor_ends_at_the_first_nul(tmp_path: Path) -> None:
    path = tmp_path / "d.vmdk"
    path.write_bytes(descriptor(["RW 8 ZERO"]).encode() + b"\0\nRW 8 ZERO\n" + bytes(2 << 20))
    with opened(path) as image:
        assert image.virtual_size == 4096


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [("UTF-8", "utf-8"), ("windows-1252", "cp1252"), ("GBK", "gbk"), ("Shift_JIS", "cp932")],
)
@pytest.mark.parametrize("on_disk", ["decoded", "bytes"])
def test_names_in_several_encodings(
    tmp_path: Path, encoding: str, codec: str, on_disk: str
) -> None:
    name = {"cp1252": "Löwe", "utf-8": "Löwe", "gbk": "\u4e2d\u6587", "cp932": "\u8868"}[codec]
    stored = (name + "-flat.vmdk").encode(codec)
    real = os.fsencode(name + "-flat.vmdk") if on_disk == "decoded" else stored
    with open(os.path.join(os.fsencode(tmp_path), real), "wb") as file:
        file.write(b"a" * 512)
    text = descriptor(['RW 1 FLAT "NAME" 0'], encoding=encoding).encode()
    (tmp_path / "d.vmdk").write_bytes(text.replace(b"NAME", stored))
    with opened(tmp_path / "d.vmdk") as image:
        assert image.pread(0, 1) == b"a"


def test_escapes_in_names(tmp_path: Path) -> None:
    (tmp_path / 'a"b|c').write_bytes(b"a" * 512)
    with opened(write_descriptor(tmp_path / "d.vmdk", ['RW 1 FLAT "a|22b|7Cc"'])) as image:
        assert image.pread(0, 1) == b"a"


@pytest.mark.parametrize("name", ["C:\\vms\\d-flat.vmdk", "\\\\server\\share\\d-flat.vmdk"])
def test_an_absolute_name_of_windows_is_looked_for_beside(tmp_path: Path, name: str) -> None:
    (tmp_path / "d-flat.vmdk").write_bytes(b"a" * 512)
    with opened(write_descriptor(tmp_path / "d.vmdk", [f'RW 1 FLAT "{name}"'])) as image:
        assert image.pread(0, 1) == b"a"


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "..\\secret"])
def test_extents_elsewhere_are_not_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "secret").write_bytes(b"s" * 512)
    path = write_descriptor(tmp_path / "own" / "d.vmdk", [f'RW 1 FLAT "{name}"'])
    with pytest.raises(UnsafeReferenceError):
        opened(path)


def test_a_missing_extent(tmp_path: Path) -> None:
    path = write_descriptor(tmp_path / "d.vmdk", ['RW 1 SPARSE "d-s001.vmdk"'])
    with pytest.raises(MissingReferenceError, match=r"d-s001\.vmdk"):
        opened(path)


@pytest.mark.parametrize(
    "kind", ["fullDevice", "partitionedDevice", "vmfsRaw", "vmfsRDM", "vmfsRDMP",
             "vmfsRawDeviceMap", "vmfsPassthroughRawDeviceMap"]
)  # fmt: skip
def test_disks_on_devices_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(b"a" * 512)
    path = write_descriptor(tmp_path / "d.vmdk", ['RW 1 FLAT "a" 0'], create_type=kind)
    with pytest.raises(UnsupportedImageError, match=f"type {kind}: its data lies on a device"):
        open_image(path, allow_all_references=True)


@pytest.mark.parametrize(
    "line",
    [
        'RW 1 VMFSRDM "a-rdm.vmdk"',
        'RW 1 VMFSRAW "a"',
        'RW 1 FLAT "\\\\.\\PhysicalDrive0" 0 partitionUUID x',
        'RW 1 FLAT "/dev/sda" 0',
        'RW 1 FLAT "/vmfs/devices/disks/naa.1" 0',
    ],
)
def test_extents_on_devices_are_never_opened(tmp_path: Path, line: str) -> None:
    path = write_descriptor(tmp_path / "d.vmdk", [line])
    with pytest.raises(UnsupportedImageError, match="lies on a device"):
        open_image(path, allow_all_references=True)


AT = descriptor(["@"]).index("@")
BAD_LINES = [
    ("RW x ZERO", InvalidImageError, "is not understood"),
    ("RW 1", InvalidImageError, "is not understood"),
    ("RW 1 FLAT a 0", InvalidImageError, "is not understood"),
    ('RW 1 FLAT "a', InvalidImageError, "is not understood"),
    ("RW -1 ZERO", InvalidImageError, "is not understood"),
    (f"RW {'9' * 5000} ZERO", InvalidImageError, "is not understood"),
    ("RW 99999999999999999999 ZERO", InvalidImageError, "2\\^54"),
    ('RW 1 FLAT "a" 99999999999999999999', InvalidImageError, "2\\^54"),
    ("RW 18014398509481983 ZERO\nRW 1 ZERO", InvalidImageError, "sectors together"),
    ("RW 0 ZERO", InvalidImageError, "0 sectors together"),
    ("RW 1 FLAT", InvalidImageError, "names no file"),
    ('RW 1 OTHER "a"', UnsupportedImageError, "type 'OTHER'"),
]


@pytest.mark.parametrize(("line", "kind", "message"), BAD_LINES)
def test_extent_lines_that_are_refused(
    tmp_path: Path, line: str, kind: type[ImageError], message: str
) -> None:
    (tmp_path / "a").write_bytes(b"a" * 512)
    with pytest.raises(kind, match=message) as caught:
        opened(write_descriptor(tmp_path / "d.vmdk", [line]))
    assert caught.value.offset == AT


def test_a_flat_extent_longer_than_its_file_is_damage(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 1023)
    for line in ('RW 2 FLAT "a" 0', 'RW 1 FLAT "a" 1', 'RW 1 FLAT "a" 18014398509481982'):
        with pytest.raises(CorruptImageError, match="the file has 1023") as caught:
            opened(write_descriptor(tmp_path / "d.vmdk", [line]))
        assert caught.value.path == str(tmp_path / "a")


def test_a_sparse_extent_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 512)
    with pytest.raises(InvalidImageError, match="begins with b'aaaaaaaa'") as caught:
        opened(write_descriptor(tmp_path / "d.vmdk", ['RW 1 SPARSE "a"']))
    assert caught.value.path == str(tmp_path / "a")


def test_an_extent_smaller_than_its_descriptor_says_is_damage(tmp_path: Path) -> None:
    write_sparse(tmp_path / "a", 127, text=None)
    write_cowd(tmp_path / "b", 127)
    write_sesparse(tmp_path / "c", 127)
    for kind, name in (("SPARSE", "a"), ("VMFSSPARSE", "b"), ("SESPARSE", "c")):
        with pytest.raises(CorruptImageError, match="127 sectors, its descriptor says 128"):
            opened(write_descriptor(tmp_path / "d.vmdk", [f'RW 128 {kind} "{name}"']))


@pytest.mark.parametrize(
    ("old", "new", "kind", "message"),
    [
        ("version=1", "version=5", UnsupportedImageError, "version '5'"),
        ("version=1", "", UnsupportedImageError, "version ''"),
        ('createType="custom"', "", InvalidImageError, "no createType"),
        ("custom", "holographic", UnsupportedImageError, "'holographic', which is not known"),
        ("CID=12345678", "CID=xyz", InvalidImageError, "the CID is 'xyz'"),
        ("parentCID=ffffffff", "parentCID=123456789", InvalidImageError, "the parentCID is"),
        ("CID=12345678", "CID=1\nCID=2", InvalidImageError, "two values for cid"),
        ("RW 8 ZERO", "", InvalidImageError, "lists no extents"),
        ("#DDB", "encryptionKeys=secret", UnsupportedImageError, "encrypted"),
        ("#DDB", 'encryption.data = "AAAA"', UnsupportedImageError, "encrypted"),
    ],
)
def test_descriptors_that_are_refused(
    tmp_path: Path, old: str, new: str, kind: type[ImageError], message: str
) -> None:
    text = descriptor(["RW 8 ZERO"])
    assert old in text
    (tmp_path / "d.vmdk").write_text(text.replace(old, new, 1))
    with pytest.raises(kind, match=message):
        opened(tmp_path / "d.vmdk")


def test_a_descriptor_has_a_limit(tmp_path: Path) -> None:
    text = descriptor(["RW 8 ZERO"])
    (tmp_path / "d.vmdk").write_text(text + "\n" * (1 << 20))
    with pytest.raises(InvalidImageError, match="more than 1048576 bytes"):
        opened(tmp_path / "d.vmdk")
    (tmp_path / "e.vmdk").write_text(descriptor(["RW 8 ZERO"] * 4097))
    with pytest.raises(InvalidImageError, match="more than 4096 extents"):
        opened(tmp_path / "e.vmdk")


def test_thousands_of_notices_take_no_time(tmp_path: Path) -> None:
    lines = "\n".join(['NOACCESS 1 FLAT "x"'] * 4096)
    path = tmp_path / "disk.vmdk"
    path.write_text(
        '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="custom"\n'
        f"{lines}\n"
    )
    start = time.process_time()
    with open_image(path) as image:
        assert len(image.notices) == 4096
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("other", ['FLAT "a" 7', 'FLAT "a" 0', 'FLAT "./a" 4', 'FLAT "link" 0'])
def test_extents_that_share_bytes_are_damage(tmp_path: Path, other: str) -> None:
    (tmp_path / "a").write_bytes(bytes(16 * 512))
    (tmp_path / "link").symlink_to("a")
    text = descriptor(['RW 8 FLAT "a" 0', 'RW 8 FLAT "a" 8', f"RW 8 {other}"], "custom")
    (tmp_path / "d.vmdk").write_text(text)
    with pytest.raises(CorruptImageError, match="the extent takes") as caught:
        open_image(tmp_path / "d.vmdk")
    assert caught.value.offset == text.rindex(f"RW 8 {other}")


def test_a_sparse_file_is_one_extent(tmp_path: Path) -> None:
    write_sparse(tmp_path / "a", 128, {0: b"x"}, text=None)
    text = descriptor(['RW 128 SPARSE "a"', 'RW 128 SPARSE "./a"'], "twoGbMaxExtentSparse")
    (tmp_path / "d.vmdk").write_text(text)
    with pytest.raises(CorruptImageError, match="the extent takes"):
        open_image(tmp_path / "d.vmdk")
