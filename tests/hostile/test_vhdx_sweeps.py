"""VHDX: any field at its extremes, a cut at any place, random damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import KIB, MIB, peek, poke
from tests.support.build_vhdx import BAT, HEADERS, LOG, METADATA, REGION_TABLES, Data, Entry, seal
from tests.support.vhdx_damage import (
    BODY,
    ITEM_AT,
    ITEMS,
    PAYLOAD,
    small_disk,
    u64,
    with_log,
)
from vhdfast import open_image
from vhdfast.errors import (
    VhdfastError,
)

Disk = Path


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return small_disk(tmp_path / "disk.vhdx")


# (what, places, offset in them, bytes): every field that the specification names.
FIELDS = [
    *[
        (f"header {name}", HEADERS, at, size)
        for name, at, size in [
            ("signature", 0, 4), ("checksum", 4, 4), ("sequence", 8, 8), ("file id", 16, 16),
            ("data id", 32, 16), ("log id", 48, 16), ("log version", 64, 2), ("version", 66, 2),
            ("log length", 68, 4), ("log offset", 72, 8),
        ]
    ],
    *[
        (f"regions {name}", REGION_TABLES, at, size)
        for name, at, size in [
            ("signature", 0, 4), ("checksum", 4, 4), ("count", 8, 4), ("id", 16, 16),
            ("offset", 32, 8), ("length", 40, 4), ("required", 44, 4), ("second id", 48, 16),
            ("second offset", 64, 8), ("second length", 72, 4),
        ]
    ],
    *[
        (f"metadata {name}", (METADATA,), at, size)
        for name, at, size in [
            ("signature", 0, 8), ("count", 10, 2),
            *[
                (f"{item} {name}", 32 + 32 * index + at, size)
                for item, index in ITEMS.items()
                for name, at, size in [("id", 0, 16), ("offset", 16, 4), ("length", 20, 4),
                                       ("flags", 24, 4)]
            ],
            ("block size", 65536, 4), ("disk flags", 65540, 4), ("size", 65544, 8),
            ("disk id", 65552, 16), ("logical", 65568, 4), ("physical", 65572, 4),
        ]
    ],
    *[(f"BAT {block}", (BAT,), 8 * block, 8) for block in range(3)],
]  # fmt: skip


def read_all(path: Path) -> bytes | None:
    """The first 3 MiB of the disk, or None where a typed error refuses it."""
    try:
        with open_image(path, "vhdx") as image:
            return image.pread(0, 3 * MIB)
    except VhdfastError as error:
        assert error.path == str(path)
        assert error.exit_code == 4
        return None


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field[0])
def test_a_field_at_its_extremes_is_refused_or_harmless(disk: Disk, field: object) -> None:
    _, places, at, size = field  # type: ignore[misc]
    parts = {0: 320 * KIB, METADATA: 128 * KIB, BAT: 4 * KIB}
    original = {place: peek(disk, place, length) for place, length in parts.items()}
    top = 256**size - 1
    for value in (0, 1, 2, top, top - 1, top // 2, top // 2 + 1):
        for place in places:
            poke(disk, place + at, value.to_bytes(size, "little"))
        for reseal in (False, True):
            if reseal:
                seal(disk)
            content = read_all(disk)
            # A flag, a GUID or a size may well be another one; bytes of the file's structures
            # never become the disk's.
            if content is not None:
                assert content[:MIB].strip(b"\0") in (BODY.strip(b"\0"), b"")
                assert content[MIB:] == bytes(len(content) - MIB)
        for place, data in original.items():
            poke(disk, place, data)


@pytest.mark.parametrize(
    "size",
    [
        *[at + more for at in (MIB, LOG + MIB, METADATA, BAT, PAYLOAD) for more in (-1, 0, 1)],
        METADATA + 65536, METADATA + 65540, BAT + 8, PAYLOAD + 512, PAYLOAD + 4095,
        PAYLOAD + MIB - 1,
    ],
)  # fmt: skip
def test_a_file_cut_anywhere(disk: Disk, size: int) -> None:
    with open(disk, "r+b") as file:
        file.truncate(size)
    content = read_all(disk)
    if size <= PAYLOAD:
        assert content is None
    else:
        kept = BODY[: size - PAYLOAD].ljust(MIB, b"\0")
        assert content == kept + bytes(2 * MIB)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    damage=st.lists(
        st.tuples(
            st.sampled_from([*HEADERS, *REGION_TABLES, LOG, LOG + 4096, METADATA, ITEM_AT, BAT]),
            st.integers(0, 200),
            st.binary(min_size=1, max_size=16),
        ),
        min_size=1,
        max_size=4,
    ),
    reseal=st.booleans(),
)
def test_random_damage_never_ends_otherwise(
    tmp_path: Path, damage: list[tuple[int, int, bytes]], reseal: bool
) -> None:
    path = with_log(tmp_path / "d", Entry(1, [Data(BAT, u64(PAYLOAD | 6).ljust(4096, b"\0"))]))
    for place, at, data in damage:
        poke(path, place + at, data)
    if reseal:
        seal(path)
    read_all(path)
