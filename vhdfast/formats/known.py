"""Formats that are known by their signatures and not read: a name and a way out for each."""

from __future__ import annotations

from .base import Glimpse

__all__ = ["find_known"]

_QEMU_IMG = "convert it first: qemu-img convert -O raw IMAGE disk.raw"
_UNPACK = "unpack it first ({})"

# (name, offset, signature, what to do). A negative offset counts from the end of the file.
_SIGNATURES: tuple[tuple[str, int, bytes, str], ...] = (
    ("qed", 0, b"QED\x00", _QEMU_IMG),
    ("bochs", 0, b"Bochs Virtual HD Image", _QEMU_IMG),
    ("cloop", 0, b"#!/bin/sh\n#V2.0 Format", _QEMU_IMG),
    ("dmg", -512, b"koly", _QEMU_IMG),
    ("zip", 0, b"PK\x03\x04", _UNPACK.format("unzip")),
    ("7z", 0, b"7z\xbc\xaf\x27\x1c", _UNPACK.format("7z x")),
    ("WIM", 0, b"MSWIM\x00\x00\x00", "apply it to a disk first"),
    ("EWF (E01)", 0, b"EVF\x09\x0d\x0a\xff\x00", "export it as raw first (ewfexport)"),
    ("AFF4", 0, b"AFF10\r\n\x00", "export it as raw first"),
    ("simg (Android sparse)", 0, b"\x3a\xff\x26\xed", "convert it first (simg2img)"),
)


def find_known(glimpse: Glimpse) -> tuple[str, str] | None:
    """(name, what to do) of a known format that vhdfast does not read, or None."""
    for name, offset, signature, advice in _SIGNATURES:
        if glimpse.at(offset, 64).startswith(signature):
            return name, advice
    return None
