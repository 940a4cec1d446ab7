"""From a stream to its spool, on threads.

Where the stream shows parts, each worker decodes one and writes it to its place: known at once
where the file states the sizes of the parts before it, else as soon as those are decoded. Otherwise
one worker decodes at a time and the others write.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator

from ..engine import run
from ..errors import CorruptImageError
from ..files import Source
from ..monitor import Monitor
from ..units import MIB
from .base import Part, Stream
from .spool import Spool, Unpacking

__all__ = ["unpack"]

# Windows and dictionaries of all workers together.
MEMORY = 128 * MIB
# What all workers may hold of parts whose places are not known yet, and one of them.
HELD = 96 * MIB
HELD_BY_ONE = 32 * MIB
MAX_WORKERS = 8
# What no byte of any of these streams can decode to: a stated size beyond it is a lie.
MAX_RATIO = 1 << 16
# One decodes, the others look for zeros and write.
SERIAL_WORKERS = 3
TICK_S = 0.1


def unpack(
    stream: type[Stream],
    source: Source,
    content_name: str,
    directory: str | None,
    how: Unpacking,
) -> Spool:
    """Unpack a source into a temporary file; on an error it is gone and the source stays open.

    directory: where, as the user wants it. Raises CorruptImageError, UnsupportedImageError,
    NoSpaceError, WriteError, ReadError, SourceChangedError, and what how.before raises.
    """
    if how.before is not None:
        how.before(source)
    beside = how.beside if directory is None else None
    if beside is not None:
        directory = os.path.dirname(os.path.realpath(beside))
    spool = Spool(
        source,
        stream.name,
        content_name,
        directory or os.environ.get("TMPDIR") or "/var/tmp",
        beside,
    )
    try:
        spool.complete(_Unpacker(stream(source), spool, how).run())
        # What changed meanwhile may have decoded all the same.
        source.check_unchanged()
    except CorruptImageError:
        spool.discard()
        source.check_unchanged()
        raise
    except BaseException:
        spool.discard()
        raise
    return spool


class _Unpacker:
    def __init__(self, stream: Stream, spool: Spool, how: Unpacking) -> None:
        self.stream = stream
        self.spool = spool
        self.how = how
        self.stop = threading.Event()
        self.size = 0

    def run(self) -> int:
        """Decode and write everything; returns the decompressed size."""
        parts = self.stream.parts()
        if parts is None:
            self._run_serially()
            return self.size
        return self._run_parts(parts)

    # ---- one after the other --------------------------------------------------------------------

    def _run_serially(self) -> None:
        def do(work: tuple[int, bytes], scratch: memoryview) -> int:
            self.spool.write(*work)
            return 0

        run(
            self._pieces(), do, what="unpacking", total=self.stream.source.size,
            jobs=SERIAL_WORKERS, rate=self.how.rate, cost=lambda work: len(work[1]),
            monitor=_Consumption(self.how.monitor, self.stream), scratch_bytes=4096,
        )  # fmt: skip

    def _pieces(self) -> Iterator[tuple[int, bytes]]:
        """(place, piece): the engine asks for one at a time, from any thread."""
        for piece in self.stream.decode(0, self.stream.source.size):
            yield self.size, piece
            self.size += len(piece)

    # ---- side by side ---------------------------------------------------------------------------

    def _run_parts(self, parts: Iterator[Part]) -> int:
        first = next(parts)
        wanted = min(self.how.jobs or os.cpu_count() or 1, MAX_WORKERS)
        workers = max(1, min(wanted, MEMORY // max(1, first.memory)))
        self._share = MEMORY // workers
        self._may_hold = min(HELD // workers, HELD_BY_ONE)
        self._heavy = threading.Lock()
        self._places = _Places(self.stop)
        run(
            itertools.chain([first], parts), self._do_part, what="unpacking",
            total=self.stream.source.size, jobs=workers, rate=self.how.rate,
            cost=lambda part: part.length if part.size is None else part.size,
            monitor=_Consumption(self.how.monitor, self.stream), scratch_bytes=4096,
            stop=self.stop,
        )  # fmt: skip
        return self._places.end

    def _do_part(self, part: Part, scratch: memoryview) -> int:
        if part.size is not None:
            if part.size > part.length * MAX_RATIO:
                raise self._wrong_size(part)
            self._places.tell(part.index, part.size)
        place = self._places.find(part.index)
        is_heavy = part.memory > self._share
        if is_heavy and place is None:
            # With the lock in hand nobody waits for another part.
            place = self._places.wait(part.index)
        with self._heavy if is_heavy else contextlib.nullcontext():
            size = self._decode(part, place)
        if size is None:
            return 0
        if part.size is None:
            self._places.tell(part.index, size)
        elif size != part.size:
            raise self._wrong_size(part)
        self._places.forget(part.index)
        return 0

    def _decode(self, part: Part, place: int | None) -> int | None:
        """Bytes that the part decoded to; None where the run was stopped."""
        held: list[bytes] = []
        size = holding = 0
        for piece in self.stream.decode_part(part):
            if self.stop.is_set():
                return None
            if part.size is not None and size + len(piece) > part.size:
                raise self._wrong_size(part)
            if place is None:
                place = self._places.find(part.index)
            if place is None and holding + len(piece) > self._may_hold:
                place = self._places.wait(part.index)
                if place is None:
                    return None
            if place is None:
                held.append(piece)
                holding += len(piece)
            else:
                self._flush(place, held)
                self.spool.write(place + size, piece)
            size += len(piece)
        if held:
            place = self._places.wait(part.index)
            if place is None:
                return None
            self._flush(place, held)
        return size

    def _flush(self, place: int, held: list[bytes]) -> None:
        for piece in held:
            self.spool.write(place, piece)
            place += len(piece)
        held.clear()

    def _wrong_size(self, part: Part) -> CorruptImageError:
        return self.stream.damaged(
            f"the part here does not decode to the {part.size} bytes that are stated", part.offset
        )


class _Places:
    """Where parts begin in the unpacked file: known once the sizes of all before are."""

    def __init__(self, stop: threading.Event) -> None:
        self.end = 0  # of the parts whose places are known
        self._next = 0  # the part that begins there
        self._sizes: dict[int, int] = {}
        self._begins: dict[int, int] = {0: 0}
        self._changed = threading.Condition()
        self._stop = stop

    def tell(self, index: int, size: int) -> None:
        with self._changed:
            self._sizes[index] = size
            while self._next in self._sizes:
                self.end += self._sizes.pop(self._next)
                self._next += 1
                self._begins[self._next] = self.end
            self._changed.notify_all()

    def find(self, index: int) -> int | None:
        with self._changed:
            return self._begins.get(index)

    def forget(self, index: int) -> None:
        """The part is done: of millions of small ones only those at work are remembered."""
        with self._changed:
            self._begins.pop(index, None)

    def wait(self, index: int) -> int | None:
        """As `find`, but not before it is known; None where the run is stopped."""
        with self._changed:
            while index not in self._begins:
                if self._stop.is_set():
                    return None
                self._changed.wait(TICK_S)
            return self._begins[index]


class _Consumption(Monitor):
    """Progress in compressed bytes, which workers count while they read."""

    def __init__(self, monitor: Monitor | None, stream: Stream) -> None:
        self._monitor = monitor or Monitor()
        self._stream = stream

    def start(self, what: str, total: int) -> None:
        self._total = total
        self._monitor.start(what, total)

    def advance(self, done: int) -> None:
        self._monitor.advance(min(self._total, max(done, self._stream.consumed)))

    def finish(self) -> None:
        self._monitor.finish()
