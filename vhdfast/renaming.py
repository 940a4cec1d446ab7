"""Giving a file its name without taking one from another file."""

from __future__ import annotations

import ctypes
import errno
import os

__all__ = ["rename_without_replacing"]

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


def rename_without_replacing(old: str, new: str) -> None:
    """Rename, or FileExistsError. Where the system call is missing, by a hard link."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        renameat2 = None
    if renameat2 is not None:
        if not renameat2(
            _AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), _RENAME_NOREPLACE
        ):
            return
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(number, os.strerror(number), new)
    os.link(old, new)
    os.unlink(old)
