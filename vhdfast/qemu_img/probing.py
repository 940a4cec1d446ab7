"""Which format qemu-img takes a file for when it is not told, where there is none to be asked.

It looks at the first bytes only: a fixed VHD, whose cookie stands at its end, is a raw disk to it,
footer and all.
"""

from __future__ import annotations

import re

from .real import HandOver

__all__ = ["PROBE_BYTES", "probe"]

PROBE_BYTES = 2048

# What qemu calls the format, offset, bytes. Formats that are not served are here as well: a file
# of theirs is not raw to qemu.
_MAGICS = (
    ("vpc", 0, b"conectix"),
    ("vhdx", 0, b"vhdxfile"),
    ("vdi", 64, b"\x7f\x10\xda\xbe"),
    ("vmdk", 0, b"KDMV"),
    ("vmdk", 0, b"COWD"),
    ("qed", 0, b"QED\0"),
    ("luks", 0, b"LUKS\xba\xbe"),
    ("parallels", 0, b"WithoutFreeSpace"),
    ("parallels", 0, b"WithouFreSpacExt"),
    ("bochs", 0, b"Bochs Virtual HD Image"),
    ("cloop", 0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop"),
)
_QCOW = b"QFI\xfb"
# A descriptor: lines of comments and blanks, then its version.
_DESCRIPTOR = re.compile(rb"(?:#[^\n]*\n|[ \t\r]*\n)*[ \t]*version=[123]", re.IGNORECASE)


def probe(head: bytes, path: str) -> str:
    """The format by its first PROBE_BYTES, as qemu calls it. Raises HandOver where unsure."""
    found = {name for name, at, magic in _MAGICS if head[at : at + len(magic)] == magic}
    if head.startswith(_QCOW):
        found.add("qcow" if head[4:8] == b"\0\0\0\x01" else "qcow2")
    if _DESCRIPTOR.match(head):
        found.add("vmdk")
    if path.lower().endswith(".dmg"):
        found.add("dmg")
    if len(found) > 1:
        raise HandOver(f"{path} begins like several formats: {', '.join(sorted(found))}")
    return found.pop() if found else "raw"
