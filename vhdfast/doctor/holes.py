"""Holes: whether zeros take no room, and whether the file system says where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..units import KIB, MIB
from .base import Item, State
from .scratch import DirectoryExamination, scratch_file

__all__ = ["Holes"]

SIZE, DATA_AT, DATA = 8 * MIB, 4 * MIB, 64 * KIB


class Holes(DirectoryExamination):
    """A file that is hole but for its middle."""

    name = "holes"
    order = 31

    def look(self, directory: str) -> Iterator[Item]:
        with scratch_file(directory) as fd:
            yield _look(fd)


def _look(fd: int) -> Item:
    os.ftruncate(fd, SIZE)
    os.pwrite(fd, b"x" * DATA, DATA_AT)
    os.fsync(fd)
    takes = os.fstat(fd).st_blocks * 512
    is_sparse = takes < SIZE // 2
    try:
        first = os.lseek(fd, 0, os.SEEK_DATA)
        after = os.lseek(fd, DATA_AT, os.SEEK_HOLE)
        tells = 0 < first <= DATA_AT and DATA_AT + DATA <= after < SIZE
    except OSError:
        tells = False
    details = {"sparse": is_sparse, "seek_hole": tells}
    if is_sparse and tells:
        return Item("holes", State.OK, "zeros take no room, and are found", None, details)
    if not is_sparse:
        return Item(
            "holes", State.WARNING,
            "zeros take as much room as data: a target is as large as its disk",
            "convert on another file system, where there is too little room", details,
        )  # fmt: skip
    return Item(
        "holes", State.NOTE,
        "zeros take no room, but the file system does not say where they are: of a raw disk or a "
        "fixed VHD here all is read",
        None, details,
    )  # fmt: skip
