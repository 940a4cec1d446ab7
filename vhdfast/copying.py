"""From an image to a target, on the engine's threads."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from . import _native
from .cloning import Cloning
from .engine import SCRATCH_BYTES, Turns, pace, run, should_stop
from .extents import Kind, Rows
from .image import Image
from .monitor import Monitor
from .outputs import FileOutput
from .plan import Segment, Survey, blocks, segment_budget, segments
from .units import round_down, round_up

__all__ = ["Copied", "copy"]

Counts = tuple[int, int, int]  # bytes read, written, found to be zero


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did, in bytes."""

    read: int  # from the sources, compressed ones as they are stored
    written: int
    zeros_found: int  # among what was read
    cloned: int = 0  # neither read nor written: the target shares their blocks with the sources
    decoded: int = 0  # of the disk, from compressed data


def copy(
    image: Image,
    output: FileOutput,
    found: Survey,
    jobs: int | None,
    rate: int | None,
    monitor: Monitor | None,
    cloning: Cloning | None = None,
) -> Copied:
    """Copy what the map says is stored.

    found: the survey of the image, with the output's block size and the same cloning.
    cloning: how blocks are shared instead of copied, for an output without blocks.
    """
    # Blocks are made ahead until so much of the data turns out to be zeros that giving them back
    # costs more than having them early gains.
    eager, careful = output.sink(allocate_ahead=True), output.sink(allocate_ahead=False)
    totals = [0, 0, 0, 0, 0]
    lock = threading.Lock()
    write: Callable[[int, Segment, _native.Sink, memoryview], Counts]
    if output.block_size:
        parts = blocks(image, output.block_size, found.whole)
        write = functools.partial(_copy_block, image, output, Turns())
        scratch_bytes = len(output.block_head) + output.block_size
    else:
        parts = segments(image, found.whole, segment_budget(found))
        write = functools.partial(_copy_rows, image)
        scratch_bytes = SCRATCH_BYTES

    def do(work: tuple[int, Segment], scratch: memoryview) -> int:
        number, segment = work
        read, _, zeros, _, _ = totals
        sink = careful if zeros * 4 > read else eager
        cloned, to_copy = 0, segment
        if cloning is not None:
            cloned, rest = cloning.clone(segment.rows, sink)
            to_copy = replace(segment, rows=rest, stored=segment.stored - cloned)
        pace(to_copy.stored)
        counts = (0, 0, 0)
        if to_copy.stored and not should_stop():
            counts = write(number, to_copy, sink, scratch)
        with lock:
            for column, count in enumerate((*counts, cloned, _decoded_bytes(to_copy.rows))):
                totals[column] += count
        return segment.stored

    run(
        enumerate(part for part in parts if part.stored), do, what="copying", total=found.data,
        jobs=jobs, rate=rate, monitor=monitor, scratch_bytes=scratch_bytes,
    )  # fmt: skip
    return Copied(*totals)


def _copy_rows(
    image: Image, number: int, segment: Segment, sink: _native.Sink, scratch: memoryview
) -> Counts:
    return image.copy_rows(segment.rows, sink, scratch)


def _copy_block(
    image: Image,
    output: FileOutput,
    turns: Turns,
    number: int,
    segment: Segment,
    sink: _native.Sink,
    scratch: memoryview,
) -> Counts:
    """Read a block, and write it unless it is all zero.

    Where it goes depends on how many blocks before it were: workers read side by side, ask for
    places in turn, and write side by side.
    """
    granule = _native.GRANULE
    head = len(output.block_head)
    rows = segment.rows
    low = round_down(int(rows[0]["offset"]) - segment.offset, granule)
    high = round_up(int(rows[-1]["offset"] + rows[-1]["length"]) - segment.offset, granule)
    busy = scratch[head + low : head + high]
    image.read_rows(rows, segment.offset + low, busy)
    is_empty = _native.is_zero(busy)
    if not turns.wait(number):
        return 0, 0, 0
    place = 0 if is_empty else output.place(segment.offset // output.block_size)
    turns.done()
    read = _stored_bytes(rows)
    if is_empty:
        return read, 0, segment.stored
    scratch[:head] = output.block_head
    if low == 0:
        written, _ = _native.write_data(sink, scratch[: head + high], place)
        written -= head
    else:
        _native.write_data(sink, scratch[:head], place)
        written, _ = _native.write_data(sink, busy, place + head + low)
    return read, written, max(0, segment.stored - written)


def _decoded_bytes(rows: Rows) -> int:
    return int(rows["length"][rows["kind"] == Kind.COMPRESSED].sum(dtype=np.uint64))


def _stored_bytes(rows: Rows) -> int:
    """Bytes that are read for these rows: of a compressed unit once, as it is stored."""
    packed = rows[rows["kind"] == Kind.COMPRESSED]
    plain = int(rows["length"][rows["kind"] == Kind.DATA].sum(dtype=np.uint64))
    if not len(packed):
        return plain
    fresh = np.ones(len(packed), dtype=bool)
    fresh[1:] = (packed["file"][1:] != packed["file"][:-1]) | (
        packed["file_offset"][1:] != packed["file_offset"][:-1]
    )
    return plain + int(packed["stored_length"][fresh].sum(dtype=np.uint64))
