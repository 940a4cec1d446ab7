"""Writes tar files and OVF descriptors for tests, header by header: no library decides a field."""

from __future__ import annotations

from collections.abc import Sequence

from . import SparseFile

BLOCK = 512


def number(value: int, width: int = 12) -> bytes:
    """A numeric field: octal digits, or base 256 where these are too few."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    mark = b"\x80" if value >= 0 else b"\xff"
    return mark + value.to_bytes(width - 1, "big", signed=value < 0)


def header(
    name: bytes,
    size: int | bytes,
    kind: bytes = b"0",
    *,
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    extra: Sequence[tuple[int, bytes]] = (),
    signed: bool = False,
) -> bytes:
    """One header of 512 bytes with the right checksum; extra: bytes put over it before that."""
    block = bytearray(BLOCK)
    field = size if isinstance(size, bytes) else number(size)
    for at, data in [
        (0, name), (100, b"0000644\0"), (124, field), (156, kind), (257, magic), (345, prefix),
        *extra,
    ]:  # fmt: skip
        block[at : at + len(data)] = data
    block[148:156] = b" " * 8
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in block)
    block[148:156] = b"%06o\0 " % total
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def member(name: str, data: bytes, kind: bytes = b"0") -> bytes:
    return header(name.encode(), len(data), kind) + padded(data)


def pax(records: Sequence[tuple[str, str]], kind: bytes = b"x") -> bytes:
    """An extended header."""
    body = b""
    for key, value in records:
        rest = f" {key}={value}\n".encode()
        length = len(rest)
        while len(str(length)) + len(rest) != length:
            length = len(str(length)) + len(rest)
        body += str(length).encode() + rest
    return header(b"PaxHeaders/x", len(body), kind) + padded(body)


def archive(*parts: bytes, end: bytes = bytes(1024)) -> SparseFile:
    """A tar file of these parts."""
    file = SparseFile()
    for part in (*parts, end):
        file.append(part)
    return file


def envelope(
    files: Sequence[tuple[str, str]],
    disks: Sequence[str],
    *,
    attributes: str = "",
    disk_attributes: str = "",
    before: str = "",
) -> bytes:
    """An OVF 1 descriptor. files: (id, href). disks: the fileRef of each, "" for an empty disk."""
    references = "".join(
        f'<File ovf:id="{name}" ovf:href="{href}" {attributes}/>' for name, href in files
    )
    section = "".join(
        f'<Disk ovf:diskId="d{index}" ovf:capacity="1" '
        + (f'ovf:fileRef="{reference}" ' if reference else "")
        + f"{disk_attributes}/>"
        for index, reference in enumerate(disks)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{before}'
        '<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
        'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">'
        f"<References>{references}</References>"
        f"<DiskSection><Info/>{section}</DiskSection></Envelope>"
    ).encode()
