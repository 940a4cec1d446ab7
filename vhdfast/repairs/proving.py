"""Proof of what a damaged footer of a fixed disk said.

Most fields of a fixed disk's footer have one value that they can have, the size among them, which
is that of the file. So where one field is wrong, the checksum of the footer with the right
value proves that it, and nothing else, was damaged.
"""

from __future__ import annotations

import struct

from .._native import vhd_checksum
from ..formats.vhd.footer import COOKIE, FOOTER_LENGTH, NO_OFFSET, DiskType, Footer

__all__ = ["mend_fixed"]

CHECKSUM_AT = 64
RESERVED_AT = 85


def mend_fixed(data: bytes, file_size: int) -> tuple[Footer, str] | None:
    """(the footer that these 512 bytes were, the field that is damaged), or None: not proven.

    data: the last bytes of a file of file_size bytes. Where only the checksum is wrong, all fields
    that can have one value alone confirm the rest.
    """
    if len(data) != FOOTER_LENGTH or file_size <= FOOTER_LENGTH:
        return None
    size = file_size - FOOTER_LENGTH
    right = {
        "cookie": (0, COOKIE),
        "features": (8, struct.pack(">I", 2)),
        "version": (12, struct.pack(">I", 0x00010000)),
        "data offset": (16, struct.pack(">Q", NO_OFFSET)),
        "current size": (48, struct.pack(">Q", size)),
        "disk type": (60, struct.pack(">I", DiskType.FIXED)),
        "reserved field": (RESERVED_AT, bytes(FOOTER_LENGTH - RESERVED_AT)),
    }
    wrong = [name for name, (at, value) in right.items() if data[at : at + len(value)] != value]
    if not wrong:
        return _parsed(data), "checksum"
    if len(wrong) > 1:
        return None
    at, value = right[wrong[0]]
    mended = data[:at] + value + data[at + len(value) :]
    stored = int.from_bytes(mended[CHECKSUM_AT : CHECKSUM_AT + 4], "big")
    return (_parsed(mended), wrong[0]) if vhd_checksum(mended) == stored else None


def _parsed(data: bytes) -> Footer:
    footer = Footer.parse(data)
    assert footer is not None
    return footer
