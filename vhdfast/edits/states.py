"""How far a change has come: the file's bytes against those after each stage."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator

from ..files import pread_all
from .change import Write, join, sizes
from .record import Record
from .scan import nonzero

__all__ = ["States"]


class States:
    """What a file holds before a change and after each stage of it.

    State k is the file after stage k, state 0 the file before. Only regions are looked at: ranges
    that are written, and those of what is cut off that were not zero. Bytes beyond the end of the
    file count as zeros, which is what they are once it is longer.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.sizes = sizes(record.old_size, record.stages)
        writes = ((w.offset, w.end) for stage in record.stages for w in stage.writes)
        old = ((offset, offset + len(data)) for offset, data in record.old)
        self.regions = join([*writes, *old])
        self._starts = [start for start, _ in self.regions]
        # For each region, what lies in it: (stage, offset, bytes), stage 0 being what was there.
        self._pieces: list[list[tuple[int, int, bytes]]] = [[] for _ in self.regions]
        for offset, data in record.old:
            self._pieces_at(offset).append((0, offset, data))
        for number, stage in enumerate(record.stages, 1):
            for write in stage.writes:
                self._pieces_at(write.offset).append((number, write.offset, write.data))

    def _pieces_at(self, offset: int) -> list[tuple[int, int, bytes]]:
        return self._pieces[bisect_right(self._starts, offset) - 1]

    @property
    def last(self) -> int:
        return len(self.record.stages)

    def content(self, state: int, start: int, end: int) -> bytes:
        """The bytes of [start, end), within one region, in a state."""
        data = bytearray(end - start)
        reached = 0
        for stage, offset, piece in self._pieces_at(start):
            if stage > state:
                break
            self._cut(data, start, self.sizes[reached:stage])
            _put(data, start, offset, piece)
            reached = stage
        self._cut(data, start, self.sizes[reached : state + 1])
        return bytes(data)

    @staticmethod
    def _cut(data: bytearray, start: int, sizes: list[int]) -> None:
        """Zero what lay behind the smallest of these sizes: it would come back as zeros."""
        kept = max(0, min(sizes, default=start + len(data)) - start)
        data[kept:] = bytes(max(0, len(data) - kept))

    def find(self, fd: int) -> int | None:
        """The stage that a file is in: k where its bytes are those of state k - 1 or k.

        Of several that fit, the last: whatever stage it was, doing that one over ends in its state.
        None where the file is in none, which means that something else wrote to it. Raises OSError.
        """
        size = _size(fd)
        now = [_padded(fd, start, end) for start, end in self.regions]
        for stage in range(self.last, 0, -1):
            low, high = sorted(self.sizes[stage - 1 : stage + 1])
            if low <= size <= high and all(
                _is_between(data, self.content(stage - 1, *region), self.content(stage, *region))
                for data, region in zip(now, self.regions, strict=True)
            ):
                return stage
        return None

    def is_at(self, fd: int, state: int) -> bool:
        """Whether the file is exactly in a state, as far as the record tells. Raises OSError."""
        return _size(fd) == self.sizes[state] and all(
            _padded(fd, start, end) == self.content(state, start, end)
            for start, end in self.regions
        )

    def strangers(self, fd: int, size: int) -> Iterator[tuple[int, int]]:
        """Ranges behind `size` that hold data that no stage put there. Raises OSError."""
        at = size
        for start, end in [*self.regions, (_size(fd),) * 2]:
            for offset, data in nonzero(fd, at, min(start, _size(fd))):
                yield offset, len(data)
            at = max(at, end)

    def back(self, stage: int) -> list[Write]:
        """The writes that turn the state after a stage into the one before it, but for the size."""
        size, after = self.sizes[stage - 1 : stage + 1]
        touched = [(w.offset, w.end) for w in self.record.stages[stage - 1].writes]
        touched += [(max(start, after), end) for start, end in self.regions if end > after]
        return [
            Write(start, self.content(stage - 1, start, min(end, size)), "restored")
            for start, end in join(touched)
            if start < size
        ]


def _put(target: bytearray, start: int, offset: int, data: bytes) -> None:
    """Lay `data`, which begins at `offset`, over a target that begins at `start`."""
    low, high = max(start, offset), min(start + len(target), offset + len(data))
    if low < high:
        target[low - start : high - start] = data[low - offset : high - offset]


def _size(fd: int) -> int:
    return os.fstat(fd).st_size


def _padded(fd: int, start: int, end: int) -> bytes:
    return pread_all(fd, start, end - start).ljust(end - start, b"\0")


def _is_between(now: bytes, before: bytes, after: bytes) -> bool:
    """Whether each byte is that of before or of after: a crash may tear a write anywhere."""
    if now in (before, after):
        return True
    import numpy as np

    bytes_now, old, new = (np.frombuffer(data, np.uint8) for data in (now, before, after))
    return bool(((bytes_now == old) | (bytes_now == new)).all())
