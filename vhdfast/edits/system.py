"""The system calls that change anything: tests put a system that crashes in their place."""

from __future__ import annotations

import contextlib
import errno
import os

from ..renaming import rename_without_replacing

__all__ = ["System"]


class System:
    """Each method is one step that a crash may fall before. All raise OSError."""

    def create(self, path: str) -> int:
        """A new file, for its owner alone; FileExistsError where the name is taken."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            done = os.pwrite(fd, view, offset)
            if done == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            view, offset = view[done:], offset + done

    def set_size(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def sync_directory(self, path: str) -> None:
        """Make the names in the directory of `path` durable."""
        # Some network file systems refuse this; they keep names on the server.
        with contextlib.suppress(OSError):
            fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def rename(self, old: str, new: str, replace: bool) -> None:
        """FileExistsError where the new name is taken, unless it may be replaced."""
        if replace:
            os.replace(old, new)
        else:
            rename_without_replacing(old, new)

    def remove(self, path: str) -> None:
        os.unlink(path)
