"""The largest file that the directory takes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from ..units import GIB, KIB, MAX_OFFSET, format_size
from .base import Item, State
from .scratch import DirectoryExamination, scratch_file

__all__ = ["FileSize"]

LARGEST_DISK = 32767 * GIB  # of Azure
LARGEST_OS_DISK = 2048 * GIB  # that machines of generation 1 start from
FOOTER = 512


class FileSize(DirectoryExamination):
    """Tried with a file that is all hole; not where holes take room."""

    name = "file-size"
    order = 34

    def look(self, directory: str) -> Iterator[Item]:
        with scratch_file(directory) as fd:
            largest = _largest(fd)
        if largest is None:
            return
        details = {"largest_file": largest}
        text = f"{format_size(largest)} at most"
        if largest >= LARGEST_DISK + FOOTER:
            yield Item("file size", State.OK, f"{text}, enough for every disk", None, details)
        elif largest >= LARGEST_OS_DISK + FOOTER:
            yield Item(
                "file size", State.NOTE, f"{text}: less than the largest disk, 32767 GiB", None,
                details,
            )  # fmt: skip
        else:
            yield Item(
                "file size", State.WARNING, f"{text}: too little for some disks",
                "choose a directory on another file system", details,
            )  # fmt: skip


def _largest(fd: int) -> int | None:
    """Bytes, to the KiB; None where growing a file is not free, so that trying would take long."""
    os.ftruncate(fd, 256 * KIB)
    os.fsync(fd)
    if os.fstat(fd).st_blocks * 512 >= 128 * KIB:
        return None
    fits, beyond = 256, MAX_OFFSET // KIB + 1
    if _can_be(fd, MAX_OFFSET):
        return MAX_OFFSET
    while beyond - fits > 1:
        middle = (fits + beyond) // 2
        if _can_be(fd, middle * KIB):
            fits = middle
        else:
            beyond = middle
    return fits * KIB


def _can_be(fd: int, size: int) -> bool:
    try:
        os.ftruncate(fd, size)
    except OSError as error:
        if error.errno in (errno.EFBIG, errno.EINVAL, errno.ENOSPC, errno.EOVERFLOW, errno.EDQUOT):
            return False
        raise
    os.ftruncate(fd, 0)
    return True
