"""Sharing blocks with the source instead of copying them (reflinks: XFS, btrfs, others).

Whether two files can share blocks is tried, not guessed: what a file system, its options and a
file's attributes allow is known to the kernel alone. docs/internals/engine.md says what is cloned.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from . import _native
from .extents import Kind, Rows, in_order, make_rows
from .files import Source
from .scratch import scratch_file
from .units import KIB, MIB

__all__ = ["MIN_CLONE", "Cloning"]

# Shorter clones take longer than copying the bytes: measured on XFS and btrfs.
MIN_CLONE = 32 * KIB
# What clones may have to be aligned to where it is more than the block size says.
COARSER_BLOCKS = (64 * KIB, MIB)


class Cloning:
    """How the sources of an image can share blocks with a target.

    blocks: for each source, what clones of it are aligned to, in bytes; 0 where it must be copied.
    """

    def __init__(self, sources: Sequence[Source], blocks: Sequence[int]) -> None:
        self.blocks = tuple(blocks)
        self._table = _native.SourceTable(sources, self.blocks)
        self._far = [n for n, source in enumerate(sources) if not source.can_be_read_natively]

    @classmethod
    def into(cls, directory: str, sources: Sequence[Source]) -> Cloning | None:
        """Try it with a file in `directory` that never has a name for long.

        None where no source can be cloned to there.
        """
        if all(source.fileno() is None for source in sources):
            return None
        try:
            with scratch_file(directory) as fd:
                # Some file systems in user space say 0.
                smallest = os.fstatvfs(fd).f_bsize or _native.GRANULE
                blocks = [_block_of(source, fd, smallest) for source in sources]
        except OSError:
            return None
        return cls(sources, blocks) if any(blocks) else None

    def count(self, rows: Rows) -> int:
        """Bytes of the rows that `clone` clones, where nothing refuses."""
        return _native.count_cloneable(self._table, self._parted(rows)[0], MIN_CLONE)

    def clone(self, rows: Rows, sink: _native.Sink) -> tuple[int, Rows]:
        """(bytes cloned, the rows that are left to be copied).

        Whatever the file system refuses is left; what is cloned is not looked through for zeros.
        """
        near, far = self._parted(rows)
        cloned, rest = _native.clone_rows(self._table, near, sink, MIN_CLONE)
        return cloned, in_order([rest, far]) if len(far) else rest

    def _parted(self, rows: Rows) -> tuple[Rows, Rows]:
        """The rows that native code may see, and those of sources that come over a network."""
        if not self._far:
            return rows, rows[:0]
        is_far = (rows["kind"] >= Kind.DATA) & np.isin(rows["file"], self._far)
        return rows[~is_far], rows[is_far]


def _block_of(source: Source, fd: int, smallest: int) -> int:
    """The alignment with which a clone of the source's start into the file is accepted, or 0."""
    if source.fileno() is None:
        return 0
    for block in (smallest, *(block for block in COARSER_BLOCKS if block > smallest)):
        length = max(block, _native.GRANULE)
        at = -source.start % block
        if at + length > source.size:
            return 0
        table = _native.SourceTable([source], [block])
        row = make_rows(np.array([0]), length, Kind.DATA, at)
        cloned, _ = _native.clone_rows(table, row, _native.Sink(fd, length, source.path), 0)
        if cloned:
            return block
    return 0
