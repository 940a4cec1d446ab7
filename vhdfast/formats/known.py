"""Formats that are known by their signatures and not read: a name and a way out for each."""

from __future__ import annotations

from .base import Glimpse

__all__ = ["find_known"]

_QEMU_IMG = "convert it first: qemu-img convert -O raw IMAGE disk.raw"
_HDIUTIL = "convert it first, on a Mac: hdiutil convert IMAGE -format UDTO -o disk"
_NO_DISK = "read what it says and download the image again"
_UNPACK = "unpack it first ({})"

# (name, offset, signature, what to do). A negative offset counts from the end of the file.
_SIGNATURES: tuple[tuple[str, int, bytes, str], ...] = (
    ("qed", 0, b"QED\x00", _QEMU_IMG),
    ("bochs", 0, b"Bochs Virtual HD Image", _QEMU_IMG),
    ("bochs (sparse)", 0, b"\xce\x8a\x46\x02", "convert it first (bximage -func=convert)"),
    ("cloop", 0, b"#!/bin/sh\n#V2.0 Format", _QEMU_IMG),
    ("dmg", -512, b"koly", _QEMU_IMG),
    ("sparseimage (macOS)", 0, b"sprs\x00\x00\x00\x03", _HDIUTIL),
    ("encrypted DMG", 0, b"encrcdsa", _HDIUTIL),
    ("ASIF (macOS)", 0, b"shdw\x00\x00\x00\x01", _HDIUTIL),
    ("VMA (Proxmox backup)", 0, b"VMA\x00\x00\x00\x00\x01", "extract its disks (vma extract)"),
    ("partclone", 0, b"partclone-image", "restore it to a raw disk first (partclone.restore)"),
    ("ntfsclone", 0, b"\x00ntfsclone-image", "restore it first (ntfsclone --restore-image)"),
    ("partimage", 0, b"PaRtImAgE-VoLuMe", "restore it first (partimage restore)"),
    ("zip", 0, b"PK\x03\x04", _UNPACK.format("unzip")),
    ("7z", 0, b"7z\xbc\xaf\x27\x1c", _UNPACK.format("7z x")),
    ("RAR", 0, b"Rar!\x1a\x07", _UNPACK.format("unrar x")),
    ("lz4", 0, b"\x04\x22\x4d\x18", _UNPACK.format("lz4 -d")),
    ("lzop", 0, b"\x89LZO\x00\r\n\x1a\n", _UNPACK.format("lzop -d")),
    ("lzip", 0, b"LZIP\x01", _UNPACK.format("lzip -d")),
    ("WIM", 0, b"MSWIM\x00\x00\x00", "apply it to a disk first"),
    ("EWF (E01)", 0, b"EVF\x09\x0d\x0a\xff\x00", "export it as raw first (ewfexport)"),
    ("EWF (Ex01)", 0, b"EVF2\r\n\x81\x00", "export it as raw first (ewfexport)"),
    ("EWF (L01)", 0, b"LVF\x09\x0d\x0a\xff\x00", "it holds files, not a disk"),
    ("AFF4", 0, b"AFF10\r\n\x00", "export it as raw first"),
    ("simg (Android sparse)", 0, b"\x3a\xff\x26\xed", "convert it first (simg2img)"),
    # What lies under a disk's name where a clone or a download brought something else.
    ("Git LFS pointer", 0, b"version https://git-lfs.github.com/spec/", "fetch it: git lfs pull"),
    ("web page (HTML)", 0, b"<!DOCTYPE html", _NO_DISK),
    ("web page (HTML)", 0, b"<!doctype html", _NO_DISK),
    ("web page (HTML)", 0, b"<html", _NO_DISK),
)


def find_known(glimpse: Glimpse) -> tuple[str, str] | None:
    """(name, what to do) of a known format that vhdfast does not read, or None."""
    for name, offset, signature, advice in _SIGNATURES:
        if glimpse.at(offset, 64).startswith(signature):
            return name, advice
    return None
