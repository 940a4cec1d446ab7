"""Whether two disks hold the same bytes.

Ranges that both maps know to be zero are not read. `compare` reads through native code;
`verify` reads through `PlainReader`, which shares nothing with the copy but the maps, so that a
mistake of the copy cannot repeat itself in its check.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .engine import SCRATCH_BYTES, run
from .errors import CorruptImageError, ReadError, SourceChangedError, VerifyError
from .extents import ExtentMap, Kind, Rows, clip
from .files import Source
from .image import Image
from .monitor import Monitor
from .ranges import busy_ranges
from .units import MIB

__all__ = ["Comparison", "compare_images", "verify"]

# Bytes of each side that are held at once by a worker.
PIECE = SCRATCH_BYTES // 2


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answer of a comparison.

    first_difference: virtual offset of the first byte that differs; None where none does, and
    where strict looked at the sizes alone.
    reason: "content", or "size" where only one disk has data there.
    compared: bytes that were read of each side.
    """

    same: bool
    first_difference: int | None
    reason: str | None
    sizes: tuple[int, int]
    compared: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """A range of which at least one side is not known to be zero, with both maps of it."""

    offset: int
    length: int
    left: Rows
    right: Rows


class _Reader(Protocol):
    def __call__(self, rows: Rows, offset: int, buffer: memoryview) -> None: ...


def _native_reader(image: Image) -> _Reader:
    def read(rows: Rows, offset: int, buffer: memoryview) -> None:
        image.read_rows(rows, offset, buffer)

    return read


def _plain_reader(image: Image) -> _Reader:
    """Rows to bytes in Python alone: a loop over rows, whose cost vanishes beside the disk's."""

    def read(rows: Rows, offset: int, buffer: memoryview) -> None:
        buffer[:] = bytes(len(buffer))
        sources = image.layer.sources
        for row in rows:
            at = int(row["offset"]) - offset
            view = buffer[at : at + int(row["length"])]
            if row["kind"] == Kind.DATA:
                _read_plainly(sources[int(row["file"])], int(row["file_offset"]), view)
            elif row["kind"] == Kind.COMPRESSED:
                view[:] = _decode_plainly(sources[int(row["file"])], row)

    return read


def _read_plainly(source: Source, offset: int, view: memoryview) -> None:
    fd = source.fileno()
    if fd is None:
        view[:] = source.read_exact(offset, len(view), "disk's data")
        return
    offset += source.start
    while view:
        try:
            count = os.preadv(fd, [view], offset)
        except OSError as error:
            raise ReadError(
                f"reading failed: {error.strerror}", path=source.path, offset=offset
            ) from error
        if not count:
            raise SourceChangedError(
                "the file was cut while it was read", path=source.path, offset=offset
            )
        view, offset = view[count:], offset + count


def _decode_plainly(source: Source, row: Any) -> bytes:
    """The bytes of a COMPRESSED row, by the second decoder."""
    from . import codecs

    start, length = int(row["file_offset"]), int(row["decoded_length"])
    packed = source.read(start, int(row["stored_length"]))
    unit = codecs.decode(int(row["codec"]), packed, length)
    if unit is None:
        raise CorruptImageError(
            f"the compressed data here does not decode to {length} bytes",
            path=source.path,
            offset=start,
        )
    skip = int(row["skip"])
    return unit[skip : skip + int(row["length"])]


def _pieces(left: Image, right: Image) -> Iterator[_Piece]:
    """The ranges worth reading of the part that both disks have, ascending."""
    end = min(left.virtual_size, right.virtual_size)
    maps: list[ExtentMap | None] = [None, None]
    images = (left, right)
    at = 0
    while at < end:
        windows = []
        for side in (0, 1):
            window = maps[side]
            if window is None or window.end <= at:
                window = images[side].extents(at, end - at)
                maps[side] = window
            windows.append(window)
        stop = min(windows[0].end, windows[1].end)
        rows = [clip(window.rows, at, stop - at) for window in windows]
        # Whole MiB, so that small rows come together.
        for low, high in busy_ranges(rows, MIB):
            low, high = max(at, low), min(stop, high)
            for offset in range(low, high, PIECE):
                size = min(PIECE, high - offset)
                yield _Piece(
                    offset, size, clip(rows[0], offset, size), clip(rows[1], offset, size)
                )
        at = stop


def compare_images(
    left: Image,
    right: Image,
    *,
    strict: bool = False,
    jobs: int | None = None,
    monitor: Monitor | None = None,
    what: str = "comparing",
    plain: bool = False,
) -> Comparison:
    """Compare two disks; the longer one's tail must be zero, or absent where strict.

    plain: read both sides in Python instead of native code.
    Raises what reading raises; a difference is an answer, not an error.
    """
    sizes = (left.virtual_size, right.virtual_size)
    if strict and sizes[0] != sizes[1]:
        return Comparison(False, None, "size", sizes, 0)
    make = _plain_reader if plain else _native_reader
    readers = (make(left), make(right))
    differences: list[int] = []
    compared = 0

    def work() -> Iterator[_Piece]:
        nonlocal compared
        for piece in _pieces(left, right):
            # Pieces come in ascending order: nothing after a difference can be the first one.
            if differences and piece.offset > min(differences):
                return
            compared += piece.length
            yield piece

    progress = [0]

    def do(piece: _Piece, scratch: memoryview) -> int:
        one, other = scratch[: piece.length], scratch[PIECE : PIECE + piece.length]
        readers[0](piece.left, piece.offset, one)
        readers[1](piece.right, piece.offset, other)
        at = _first_difference(one, other)
        if at is not None:
            differences.append(piece.offset + at)
        worth = max(0, piece.offset + piece.length - progress[0])
        progress[0] += worth
        return worth

    run(work(), do, what=what, total=min(sizes), jobs=jobs, monitor=monitor)
    if not differences and sizes[0] != sizes[1]:
        longer = 0 if sizes[0] > sizes[1] else 1
        tail = _first_data((left, right)[longer], min(sizes), readers[longer])
        if tail is not None:
            return Comparison(False, tail, "size", sizes, compared)
    if differences:
        return Comparison(False, min(differences), "content", sizes, compared)
    return Comparison(True, None, None, sizes, compared)


def _first_difference(one: Any, other: Any) -> int | None:
    left, right = np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)
    if np.array_equal(left, right):
        return None
    return int(np.argmax(left != right))


def _first_data(image: Image, offset: int, read: _Reader) -> int | None:
    """Offset of the first byte from `offset` on that is not zero, None where all are."""
    buffer = bytearray(PIECE)
    for window in image.windows(offset):
        for row in window.rows[window.rows["kind"] != Kind.ZERO]:
            start, end = int(row["offset"]), int(row["offset"]) + int(row["length"])
            for at in range(start, end, PIECE):
                view = memoryview(buffer)[: min(PIECE, end - at)]
                read(clip(window.rows, at, len(view)), at, view)
                found = np.frombuffer(view, np.uint8)
                if found.any():
                    return at + int(np.flatnonzero(found)[0])
    return None


def verify(source: Image, target: Image, jobs: int | None, monitor: Monitor | None) -> int:
    """Raise VerifyError where the target is not the source followed by zeros.

    Both images are freshly opened. Returns the bytes that were read of each side.
    """
    answer = compare_images(
        source, target, jobs=jobs, monitor=monitor, what="verifying", plain=True
    )
    if not answer.same:
        raise VerifyError(
            "the target differs from the source from here on",
            path=source.path,
            offset=answer.first_difference,
            hint="nothing was left behind; check the memory and the disk of this machine, then "
            "convert again",
        )
    return answer.compared
