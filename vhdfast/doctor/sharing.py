"""What else the file system can do: share blocks of files, and reserve them."""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator

from ..units import KIB, MIB
from .base import Item, State
from .scratch import DirectoryExamination, scratch_file

__all__ = ["Sharing"]

FICLONE = 0x40049409  # _IOW(0x94, 9, int), linux/fs.h; ioctl_ficlone(2)


class Sharing(DirectoryExamination):
    """Reflinks and preallocation."""

    name = "sharing"
    order = 33

    def look(self, directory: str) -> Iterator[Item]:
        with scratch_file(directory) as one, scratch_file(directory) as other:
            os.pwrite(one, b"x" * (64 * KIB), 0)
            clones = _clones(one, other)
            reserves = _reserves(other)
        yield Item(
            "reflinks", State.OK if clones else State.NOTE,
            "files can share blocks: convert clones what lies on this file system" if clones
            else "files cannot share blocks here: convert copies",
            details={"reflinks": clones},
        )  # fmt: skip
        yield Item(
            "preallocation", State.OK if reserves else State.NOTE,
            "--allocate reserves room at once" if reserves
            else "room is reserved by writing zeros: --allocate takes as long as writing the disk",
            details={"preallocation": reserves},
        )  # fmt: skip


def _clones(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError:
        return False
    return True


def _reserves(fd: int) -> bool:
    """Whether the file system itself does so; os.posix_fallocate would write zeros instead."""
    library = ctypes.CDLL(None, use_errno=True)
    try:
        fallocate = library.fallocate64 if hasattr(library, "fallocate64") else library.fallocate
    except AttributeError:
        return False
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return bool(fallocate(fd, 0, 0, MIB) == 0)
