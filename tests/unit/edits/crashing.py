"""A system that crashes: what was not made durable is lost, torn or there, as it happens.

It is the model that a file system leaves one with, at its worst: of the writes and sizes since the
last fsync any may have reached the disk, in part too, in any order; and so of names since the last
fsync of their directory.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field

from vhdfast.edits import System


class Crash(BaseException):
    """The machine stopped."""


@dataclass
class _File:
    """What is durable of a file, and what was done to it since."""

    path: str
    durable: bytes
    pending: list[tuple[int, bytes] | int] = field(default_factory=list)  # (offset, data), a size

    def settle(self, chance: random.Random) -> bytes:
        """The content that a crash leaves."""
        content = bytearray(self.durable)
        for step in self.pending:
            if chance.random() < 0.4:
                continue
            if isinstance(step, int):
                content[step:] = bytes(max(0, step - len(content)))
                continue
            offset, data = step
            if chance.random() < 0.5:  # torn: a piece of it
                start = chance.randrange(len(data))
                data = data[start : chance.randrange(start, len(data)) + 1]
                offset += start
            if len(content) < offset + len(data):
                content.extend(bytes(offset + len(data) - len(content)))
            content[offset : offset + len(data)] = data
        return bytes(content)


class CrashingSystem(System):
    """Counts its steps in `steps` and crashes before number `at`; never where that is None."""

    def __init__(self, at: int | None, chance: random.Random) -> None:
        self.at = at
        self.steps = 0
        self._chance = chance
        self._files: dict[int, _File] = {}
        self._created: list[str] = []
        self._removed: list[_File] = []
        self._renamed: list[tuple[str, str]] = []

    def _step(self, is_write: bool = False) -> bool:
        """Count; crash when it is time. Answers whether a write of half the bytes comes first."""
        if self.at is not None and self.steps >= self.at:
            if is_write and self.steps == self.at and self._chance.random() < 0.5:
                self.steps += 1
                return True
            self.crash()
        self.steps += 1
        return False

    def crash(self) -> None:
        for file in self._files.values():
            if os.path.exists(file.path):
                _replace(file.path, file.settle(self._chance))
        for old, new in reversed(self._renamed):
            if self._chance.random() < 0.5 and not os.path.exists(old):
                os.rename(new, old)
        for path in self._created:
            if self._chance.random() < 0.5 and os.path.exists(path):
                os.unlink(path)
        for file in self._removed:
            if self._chance.random() < 0.5 and not os.path.exists(file.path):
                _replace(file.path, file.settle(self._chance))
                os.chmod(file.path, 0o600)
        self._files, self._created, self._removed, self._renamed = {}, [], [], []
        raise Crash

    def _file(self, fd: int) -> _File:
        inode = os.fstat(fd).st_ino
        if inode not in self._files:
            path = os.readlink(f"/proc/self/fd/{fd}")
            self._files[inode] = _File(path, _content(fd))
        return self._files[inode]

    def create(self, path: str) -> int:
        self._step()
        fd = super().create(path)
        self._created.append(path)
        return fd

    def write(self, fd: int, data: bytes, offset: int) -> None:
        file = self._file(fd)
        half = self._step(is_write=True)
        part = data[: len(data) // 2] if half else data
        if part:
            super().write(fd, part, offset)
            file.pending.append((offset, part))
        if half:
            self.crash()

    def set_size(self, fd: int, size: int) -> None:
        file = self._file(fd)
        self._step()
        super().set_size(fd, size)
        file.pending.append(size)

    def sync(self, fd: int) -> None:
        file = self._file(fd)
        self._step()
        file.durable, file.pending = _content(fd), []

    def sync_directory(self, path: str) -> None:
        self._step()
        self._created, self._removed, self._renamed = [], [], []

    def rename(self, old: str, new: str, replace: bool) -> None:
        self._step()
        super().rename(old, new, replace)
        self._renamed.append((old, new))
        for file in self._files.values():
            if file.path == old:
                file.path = new

    def remove(self, path: str) -> None:
        self._step()
        fd = os.open(path, os.O_RDONLY)
        try:
            self._removed.append(self._file(fd))
            self._files.pop(os.fstat(fd).st_ino)
        finally:
            os.close(fd)
        super().remove(path)


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _replace(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
