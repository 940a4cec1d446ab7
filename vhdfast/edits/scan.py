"""Which bytes of a range of a file are not zero; holes are not read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from .._native import data_runs
from ..files import pread_all
from ..units import MIB

__all__ = ["nonzero"]

BLOCK = 4096
PIECE = 4 * MIB


def nonzero(fd: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of runs in [start, end) that hold something, ascending.

    A run is a whole number of blocks of 4096 bytes, counted from `start` or from where the file's
    data begins; its last block may be short. Raises OSError.
    """
    while start < end:
        start, stop = _stored(fd, start, end)
        while start < stop:
            piece = pread_all(fd, start, min(PIECE, stop - start))
            if not piece:
                return
            for offset, length in data_runs(piece, BLOCK):
                yield start + offset, piece[offset : offset + length]
            start += len(piece)


def _stored(fd: int, start: int, end: int) -> tuple[int, int]:
    """The next range in [start, end) that the file system stores; all of it where it is unsure."""
    try:
        data = os.lseek(fd, start, os.SEEK_DATA)
        hole = os.lseek(fd, data, os.SEEK_HOLE)
    except OSError as error:
        return (end, end) if error.errno == errno.ENXIO else (start, end)
    return min(data, end), min(hole, end)
