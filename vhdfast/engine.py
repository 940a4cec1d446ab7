"""Running segments on threads: bounded memory, first error wins, stops when asked to.

Python owns the threads; each one calls native code that works without the GIL for as long as a
segment takes. docs/internals/engine.md says why.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from .monitor import Monitor
from .units import MIB

__all__ = ["SCRATCH_BYTES", "Turns", "default_jobs", "pace", "run", "should_stop"]

# One scratch buffer for each worker: together they stay at 16 MiB with the default jobs.
SCRATCH_BYTES = 2 * MIB
MAX_JOBS = 64
# How often the waiting thread looks at the counters and at signals.
TICK_S = 0.1

Work = TypeVar("Work")

_local = threading.local()


def should_stop() -> bool:
    """Whether the calling worker's run is over: what waits for a network ends its wait then."""
    stop: threading.Event | None = getattr(_local, "stop", None)
    return stop is not None and stop.is_set()


def pace(amount: int) -> None:
    """Wait until the rate of the calling worker's run lets `amount` more bytes pass.

    For a `do` that knows only then what it moves; the others tell `run` by its `cost`.
    """
    limit: _RateLimit | None = getattr(_local, "limit", None)
    if limit is not None:
        limit.wait(amount)


class Turns:
    """What workers must do one after the other, in the order of their work: number 0 goes first.

    Every item before one that waits is in the hands of another worker, so none waits for ever.
    """

    def __init__(self) -> None:
        self._next = 0
        self._changed = threading.Condition()

    def wait(self, number: int) -> bool:
        """Return when it is the turn of `number`, who calls `done` then; False: the run is over."""
        with self._changed:
            while self._next != number:
                if should_stop():
                    return False
                self._changed.wait(TICK_S)
        return True

    def done(self) -> None:
        """The next one's turn."""
        with self._changed:
            self._next += 1
            self._changed.notify_all()


def default_jobs() -> int:
    """Workers to keep a disk busy: writes wait for the device more than for the CPU."""
    return min(8, max(4, os.cpu_count() or 1))


class _RateLimit:
    """Lets bytes pass at no more than so many a second, averaged over the run."""

    def __init__(self, bytes_per_second: int | None, stop: threading.Event) -> None:
        self._rate = bytes_per_second
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def wait(self, amount: int) -> None:
        """Return when `amount` bytes may be moved, or when the run stops."""
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            start = max(self._free_at, now)
            self._free_at = start + amount / self._rate
        self._stop.wait(max(0.0, start - now))


def run(
    work: Iterator[Work],
    do: Callable[[Work, memoryview], int],
    *,
    what: str,
    total: int,
    jobs: int | None = None,
    rate: int | None = None,
    cost: Callable[[Work], int] = lambda _: 0,
    monitor: Monitor | None = None,
    scratch_bytes: int = SCRATCH_BYTES,
    stop: threading.Event | None = None,
) -> None:
    """Call do(item, scratch) for each item of `work` on `jobs` threads.

    do: returns the bytes of progress that the item was worth; scratch is its thread's own
        page-aligned buffer.
    total, what: for the monitor, which is told of all of it once nothing is left to do.
    rate: bytes a second at most, cost(item) of them each.
    stop: set when the workers are to end, for a `do` that waits or takes long.

    The first exception stops all workers at their next item and is raised here once they have
    ended; so is an interruption (KeyboardInterrupt or whatever a signal handler raises).
    """
    monitor = monitor or Monitor()
    stop = stop or threading.Event()
    limit = _RateLimit(rate, stop)
    lock = threading.Lock()  # guards `work`, `done` and `failures`
    done = 0
    failures: list[BaseException] = []

    def worker() -> None:
        nonlocal done
        _local.stop, _local.limit = stop, limit
        try:
            # Not closed by hand: the traceback of a failure may still hold slices of it.
            scratch = memoryview(mmap.mmap(-1, scratch_bytes))
            while not stop.is_set():
                with lock:
                    item = next(work, None)
                if item is None:
                    return
                limit.wait(cost(item))
                if stop.is_set():
                    return
                worth = do(item, scratch)
                with lock:
                    done += worth
        except BaseException as error:
            with lock:
                failures.append(error)
            stop.set()

    count = min(max(1, jobs or default_jobs()), MAX_JOBS)
    threads = [
        threading.Thread(target=worker, name=f"vhdfast-{index}", daemon=True)
        for index in range(count)
    ]
    monitor.start(what, total)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(TICK_S)
                monitor.advance(done)
        if not failures:
            monitor.advance(total)
    finally:
        stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        monitor.finish()
    if failures:
        raise failures[0]
