"""Builders of images for tests. They share no code with vhdfast: two readings of each format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


class SparseFile:
    """A file in the making: pieces at offsets, holes between them, written sparse."""

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self._pieces: list[tuple[int, bytes]] = []

    def put(self, offset: int, data: bytes) -> None:
        """Later pieces cover earlier ones; the file grows to hold them."""
        if data:
            self._pieces.append((offset, bytes(data)))
            self.size = max(self.size, offset + len(data))

    def get(self, offset: int, length: int) -> bytes:
        out = bytearray(length)
        for at, data in self._pieces:
            low, high = max(at, offset), min(at + len(data), offset + length)
            if low < high:
                out[low - offset : high - offset] = data[low - at : high - at]
        return bytes(out)

    def append(self, data: bytes) -> None:
        self.put(self.size, data)

    def cut(self, size: int) -> None:
        """End the file at `size`."""
        self._pieces = [(at, data[: size - at]) for at, data in self._pieces if at < size]
        self.size = size

    def write(self, path: Path) -> Path:
        with open(path, "wb") as file:
            file.truncate(self.size)
            for offset, data in self._pieces:
                file.seek(offset)
                file.write(data)
        return path


def pattern(seed: int, length: int) -> bytes:
    """Bytes without a zero among them, another sequence for every seed."""
    unit = bytes((seed * 37 + i * 11 + i // 251) % 255 + 1 for i in range(509))
    return (unit * (length // len(unit) + 1))[:length]


def rows_of(maps: Sequence[object]) -> list[tuple[object, ...]]:
    """[(offset, length, kind name, file, file offset)] of the windows of an image."""
    return [
        (row.offset, row.length, row.kind.name, row.file, row.file_offset)
        for window in maps
        for row in window  # type: ignore[attr-defined]
    ]


def poke(path: Path, offset: int, data: bytes) -> bytes:
    """Change bytes of a file in place; returns what was there. No checksum is made right again."""
    fd = os.open(path, os.O_RDWR)
    try:
        before = os.pread(fd, len(data), offset)
        os.pwrite(fd, data, offset)
        return before
    finally:
        os.close(fd)


def peek(path: Path, offset: int, length: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length)


def set_field(
    fields: Mapping[str, tuple[int, int]], file: SparseFile, name: str, value: int
) -> SparseFile:
    """Set a big-endian field, of which `fields` has the offset and length."""
    at, size = fields[name]
    file.put(at, value.to_bytes(size, "big"))
    return file
