"""Parallels expandable images: what is read, what is refused."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import KIB, MIB, pattern, poke, rows_of
from tests.support.build_parallels import BAT, EXTENDED, FIELDS, OLD, OPEN, parallels
from vhdfast import Image, open_image
from vhdfast.errors import (
    CorruptImageError,
    InvalidImageError,
    UnknownFormatError,
    UnsupportedImageError,
    VhdfastError,
)

Opened = Callable[..., Image]
Refused = Callable[..., VhdfastError]
BOTH = pytest.mark.parametrize("magic", [OLD, EXTENDED])


@BOTH
def test_clusters_lie_where_the_table_says(opened: Opened, magic: bytes) -> None:
    one, two = pattern(1, MIB), pattern(2, MIB)
    file = parallels(virtual_size=4 * MIB, clusters={3: one, 1: two}, magic=magic)
    image = opened(file, ask_holes=False)
    assert rows_of(list(image.windows())) == [
        (0, MIB, "ZERO", None, None),
        (MIB, MIB, "DATA", 0, 2 * MIB),
        (2 * MIB, MIB, "ZERO", None, None),
        (3 * MIB, MIB, "DATA", 0, MIB),
    ]
    assert image.pread(0, 4 * MIB) == bytes(MIB) + two + bytes(MIB) + one
    assert image.info().subformat == magic.decode()
    assert image.notices == ()


@BOTH
def test_clusters_of_63_sectors(opened: Opened, magic: bytes) -> None:
    size = 63 * 512
    body = pattern(1, size)
    file = parallels(
        virtual_size=4 * size + 512, clusters={4: body[:512], 2: body}, cluster_size=size,
        magic=magic,
    )  # fmt: skip
    image = opened(file)
    assert image.pread(2 * size, 2 * size + 512) == body + bytes(size) + body[:512]
    assert image.info().block_size == size


def test_the_upper_half_of_an_old_size_does_not_count(opened: Opened) -> None:
    file = parallels(virtual_size=4 * MIB, magic=OLD)
    file.put(40, b"\xff" * 4)
    assert opened(file).virtual_size == 4 * MIB


def test_a_last_cluster_that_the_file_cuts_short_is_noticed(
    opened: Opened, codes: Callable[[Image], list[str]]
) -> None:
    file = parallels(virtual_size=MIB, clusters={0: pattern(1, MIB)})
    file.cut(MIB + 1000)
    image = opened(file)
    assert image.pread(0, MIB) == pattern(1, MIB)[:1000] + bytes(MIB - 1000)
    assert codes(image) == ["short-block"]


def test_an_image_that_was_not_closed_is_noticed(
    opened: Opened, codes: Callable[[Image], list[str]]
) -> None:
    assert codes(opened(parallels(virtual_size=MIB, in_use=OPEN))) == ["not-closed"]


def test_an_empty_image(opened: Opened) -> None:
    assert opened(parallels(virtual_size=MIB, flags=1)).pread(0, 4) == bytes(4)


def test_a_parent_that_the_user_names(opened: Opened, tmp_path: Path) -> None:
    base = parallels(virtual_size=2 * MIB, clusters={0: pattern(1, MIB), 1: pattern(2, MIB)})
    top = parallels(virtual_size=2 * MIB, clusters={1: pattern(3, MIB)})
    (tmp_path / "DiskDescriptor.xml").write_text("<Shot/><Shot/>")
    image = opened(top, "top.hds", parents=[base.write(tmp_path / "base.hds")])
    assert image.pread(0, 2 * MIB) == pattern(1, MIB) + pattern(3, MIB)
    assert image.info().parent == str(tmp_path / "base.hds")


@pytest.mark.parametrize("text", ["<Shot>a</Shot><Shot>b</Shot>", "<Storage/><Storage/>"])
def test_a_part_of_a_bundle_is_refused(refused: Refused, tmp_path: Path, text: str) -> None:
    (tmp_path / "DiskDescriptor.xml").write_text(f"<Parallels_disk_image>{text}</Parallels>")
    refused(UnsupportedImageError, parallels(virtual_size=MIB), "2 ", "DiskDescriptor.xml")


def test_a_bundle_of_one_image_is_read(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "DiskDescriptor.xml").write_text("<Storage><Shot></Shot></Storage>")
    assert opened(parallels(virtual_size=MIB)).virtual_size == MIB


@pytest.mark.parametrize(
    ("kind", "offset", "value", "fragment"),
    [
        (UnsupportedImageError, 16, 3, "version is 3"),
        (InvalidImageError, 28, 0, "0 sectors"),
        (InvalidImageError, 28, 524289, "524289 sectors"),
        (InvalidImageError, 32, 3, "3 entries"),
        (CorruptImageError, 32, 0xFFFFFFFF, "table ends"),
        (InvalidImageError, 44, 7, "mark of use"),
    ],
)
def test_a_field_out_of_bounds(
    refused: Refused, kind: type[VhdfastError], offset: int, value: int, fragment: str
) -> None:
    file = parallels(virtual_size=4 * MIB, clusters={0: b"x"})
    file.put(offset, struct.pack("<I", value))
    refused(kind, file, fragment, offset=offset)


@pytest.mark.parametrize("sectors", [0, 1 << 54, (1 << 64) - 1])
def test_a_size_that_is_no_size(refused: Refused, sectors: int) -> None:
    file = parallels(virtual_size=4 * MIB)
    file.put(36, struct.pack("<Q", sectors))
    refused(InvalidImageError, file, "sectors", offset=36)


def test_more_clusters_than_any_disk_has(refused: Refused) -> None:
    file = parallels(virtual_size=512, cluster_size=512)
    file.put(32, struct.pack("<IQ", (1 << 26) + 1, (1 << 26) + 1))
    refused(UnsupportedImageError, file, "67108865 clusters", offset=36)


@pytest.mark.large
def test_a_table_that_is_one_hole(opened: Opened) -> None:
    file = parallels(virtual_size=512, cluster_size=512)
    file.put(32, struct.pack("<IQ", 1 << 26, 1 << 26))
    file.size = 1 << 29
    started = time.monotonic()
    assert opened(file).pread(1 << 34, 4) == bytes(4)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("entries", "fragment"),
    [
        ({2: 2}, "is said to lie at 0x200000, the file ends"),
        ({2: 0xFFFFFFFF}, "the file ends"),
        ({2: 1}, "overlaps cluster 0"),
    ],
)
def test_a_cluster_in_the_wrong_place(
    refused: Refused, entries: dict[int, int], fragment: str
) -> None:
    file = parallels(virtual_size=4 * MIB, clusters={0: b"x"}, entries=entries)
    refused(CorruptImageError, file, fragment, offset=BAT + 8, when="walking")


def test_an_old_cluster_inside_another_one(refused: Refused) -> None:
    file = parallels(
        virtual_size=4 * MIB, clusters={0: b"x", 1: b"y"}, entries={3: 2049}, magic=OLD
    )
    refused(
        CorruptImageError, file, "at 0x100200 overlaps cluster 0", offset=BAT + 12, when="walking"
    )


def test_an_old_cluster_on_the_table(refused: Refused) -> None:
    file = parallels(virtual_size=600 * 4096, cluster_size=4096, entries={1: 4}, magic=OLD)
    refused(CorruptImageError, file, "on top of the table", offset=BAT + 4, when="walking")


def test_a_cluster_on_the_format_extension(refused: Refused) -> None:
    file = parallels(virtual_size=4 * MIB, clusters={1: b"x"}, extension=2048)
    refused(CorruptImageError, file, "extension", offset=BAT + 4, when="walking")


def test_a_cluster_of_an_empty_image(refused: Refused) -> None:
    file = parallels(virtual_size=4 * MIB, clusters={1: b"x"}, flags=1)
    refused(CorruptImageError, file, "is empty", offset=BAT + 4, when="walking")


def test_a_damaged_signature_does_not_make_a_raw_disk(refused: Refused) -> None:
    file = parallels(virtual_size=MIB)
    file.put(0, b"w")
    refused(UnknownFormatError, file, "damaged parallels", name="disk.hdd")


@pytest.mark.parametrize("size", [0, 15, 63, 64, 79, MIB - 1, MIB])
def test_a_file_cut_anywhere(tmp_path: Path, size: int) -> None:
    file = parallels(virtual_size=4 * MIB, clusters={1: b"x"})
    file.cut(size)
    path = file.write(tmp_path / "d.hdd")
    with pytest.raises(CorruptImageError), open_image(path, "parallels") as image:
        image.pread(0, 4 * MIB)


@BOTH
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field[0])
def test_a_field_at_its_extremes_is_refused_or_harmless(
    tmp_path: Path, field: tuple[str, int, int], magic: bytes
) -> None:
    _, at, size = field
    file = parallels(virtual_size=3 * MIB, clusters={1: pattern(1, MIB)}, magic=magic)
    path = file.write(tmp_path / "d.hdd")
    top = 256**size - 1
    for value in (0, 1, 2, 4, 511, 2048, top, top - 1, top // 2, top // 2 + 1):
        before = poke(path, at, value.to_bytes(size, "little"))
        try:
            with open_image(path, "parallels") as image:
                image.pread(0, 4 * MIB)
        except VhdfastError as error:
            assert error.exit_code == 4
        poke(path, at, before)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.data(),
    magic=st.sampled_from([OLD, EXTENDED]),
    size=st.sampled_from([63 * 512, 64 * KIB]),
)
def test_any_layout_reads_as_it_was_written(
    tmp_path: Path, data: st.DataObject, magic: bytes, size: int
) -> None:
    count = data.draw(st.integers(1, 10))
    chosen = data.draw(st.lists(st.integers(0, count - 1), unique=True))
    places = data.draw(st.permutations(range(len(chosen))))
    clusters = {number: pattern(number, size) for number in chosen}
    file = parallels(
        virtual_size=count * size, clusters=clusters, cluster_size=size, magic=magic,
        places=dict(zip(chosen, places, strict=True)),
    )  # fmt: skip
    with open_image(file.write(tmp_path / "d.hdd"), ask_holes=False) as image:
        expected = b"".join(clusters.get(number, bytes(size)) for number in range(count))
        assert image.pread(0, image.virtual_size) == expected
        assert sum(row.length for w in image.windows(max_rows=1) for row in w) == count * size


def test_a_description_that_leads_to_a_device_is_not_opened(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "DiskDescriptor.xml").symlink_to("/dev/null")
    names: list[str] = []
    really_open = os.open

    def note(path: str, *rest: int) -> int:
        names.append(os.path.basename(path))
        return really_open(path, *rest)

    monkeypatch.setattr("vhdfast.files.os.open", note)
    opened(parallels(virtual_size=MIB))
    assert names
    assert "DiskDescriptor.xml" not in names
