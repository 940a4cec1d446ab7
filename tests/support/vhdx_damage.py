"""What the tests of damaged VHDX files share: a small disk, and how a refusal is looked at."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.support import KIB, MIB
from tests.support.build_vhdx import METADATA, Entry, write_vhdx
from vhdfast import open_image
from vhdfast.errors import (
    ImageError,
    VhdfastError,
)

PAYLOAD = 4 * MIB
ITEMS = {
    "file parameters": 0,
    "virtual disk size": 1,
    "virtual disk id": 2,
    "logical sector size": 3,
    "physical sector size": 4,
}
ITEM_AT = METADATA + 64 * KIB  # of the first item; the builder puts them one behind the other
BODY = b"payload".ljust(MIB, b"\x5a")


def small_disk(path: Path) -> Path:
    """3 MiB, of which block 0 is stored."""
    return write_vhdx(path, virtual_size=3 * MIB, blocks={0: BODY})


def refusal(path: Path, *fragments: str, at: int | None) -> VhdfastError:
    """The error that opening or mapping raises; its text holds the fragments, in order."""
    with pytest.raises(ImageError) as caught, open_image(path, "vhdx") as image:
        for _ in image.windows():
            pass
    text = str(caught.value)
    place = 0
    for fragment in fragments:
        assert fragment in text[place:], f"{fragment!r} is not in {text!r}"
        place = text.index(fragment, place) + len(fragment)
    assert caught.value.path == str(path)
    assert caught.value.offset == at
    return caught.value


def u16(value: int) -> bytes:
    return struct.pack("<H", value)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def with_log(path: Path, *entries: Entry, log: bytes | None = None) -> Path:
    return write_vhdx(
        path, virtual_size=3 * MIB, blocks={0: BODY}, log=log, entries=entries or None
    )
