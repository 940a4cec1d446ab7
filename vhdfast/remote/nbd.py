"""NBD: an export of a server, through libnbd where it is installed.

Source: the NBD URI specification; the NBD protocol. Connections are opened as threads need them,
where the server says that several see the same (multi-conn), and shared by sources of one URI.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt

from ..engine import should_stop
from ..errors import ReadError, SourceChangedError, UsageError
from ..units import KIB
from . import _libnbd
from ._libnbd import Connection
from .base import RemoteSource, shown_url, stopped

__all__ = ["NbdSource"]

CONNECT_TIMEOUT_S = 30.0
EXTRA_TIMEOUT_S = 2.0  # for further connections: without them things go on
MAX_CONNECTIONS = 8
# A question for extents must on average tell of so many bytes, or reading them costs less.
WORTH_ASKING = 256 * KIB
QUESTIONS_AT_LEAST = 64


class _Pool:
    """The connections to one export."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.users = 0
        self.shown = shown_url(uri)
        self._library = _libnbd.load(self.shown)
        self._changed = threading.Condition()
        self._idle: list[Connection] = []
        self._count = 0
        self._closed = False
        password = urlsplit(uri).password
        self._secrets = [text for text in (password, unquote(password or "")) if text]
        first = self._connect(CONNECT_TIMEOUT_S)
        self.size = first.size
        self.knows_extents = first.knows_extents
        self.minimum = first.minimum
        self._limit = MAX_CONNECTIONS if first.is_shared else 1
        self._idle.append(first)
        self._count = 1

    def _connect(self, timeout: float) -> Connection:
        return Connection(self._library, self.uri, self.shown, self._clean, timeout)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """One connection for this thread; waits where all are in use. Raises ReadError."""
        chosen = self._take()
        try:
            yield chosen
        finally:
            with self._changed:
                if chosen.alive and not self._closed:
                    self._idle.append(chosen)
                else:
                    chosen.close()
                    self._count -= 1
                self._changed.notify()

    def _take(self) -> Connection:
        while True:
            with self._changed:
                # Waits end by themselves now and then, so that signals are seen.
                while not self._closed and not self._idle and self._count >= self._limit:
                    self._changed.wait(0.1)
                    if should_stop():
                        raise stopped(self.shown)
                if self._closed:
                    raise ReadError("the source is closed", path=self.shown)
                if self._idle:
                    return self._idle.pop()
                is_extra = self._count > 0
                self._count += 1
            try:
                made = self._connect(EXTRA_TIMEOUT_S if is_extra else CONNECT_TIMEOUT_S)
            except BaseException as error:
                with self._changed:
                    self._count -= 1
                    others = self._count
                    if isinstance(error, ReadError) and is_extra and others:
                        # The server takes no more: those that there are must do.
                        self._limit = others
                    self._changed.notify()
                if not isinstance(error, ReadError) or not is_extra or not others:
                    raise
                continue
            if made.size != self.size:
                self._give_up(made)
                raise self.changed(made.size)
            return made

    def _give_up(self, made: Connection) -> None:
        made.close()
        with self._changed:
            self._count -= 1
            self._changed.notify()

    def changed(self, size: int) -> SourceChangedError:
        return SourceChangedError(
            f"the source changed while it was read: its size went from {self.size} to {size} bytes",
            path=self.shown,
            hint="stop what uses the disk (a running machine?) or export a snapshot of it",
        )

    def check_size(self) -> None:
        """Raise SourceChangedError where a new connection sees another size."""
        if self._limit == 1:
            return  # the size belongs to a connection, and the server allows no second one
        with self._changed:  # nor may it allow more than there are
            spare, self._idle = self._idle[1:], self._idle[:1]
            self._count -= len(spare)
        for connection in spare:
            connection.close()
        try:
            made = self._connect(EXTRA_TIMEOUT_S)
        except ReadError:
            return
        size = made.size
        made.close()
        if size != self.size:
            raise self.changed(size)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for connection in idle:
            connection.close()


_pools: dict[str, _Pool] = {}
_pools_lock = threading.Lock()


def _join_pool(uri: str) -> _Pool:
    # A server may allow one client: --verify opens the source a second time.
    with _pools_lock:
        pool = _pools.get(uri)
        if pool is None:
            pool = _pools[uri] = _Pool(uri)
        pool.users += 1
        return pool


def _leave_pool(pool: _Pool) -> None:
    with _pools_lock:
        pool.users -= 1
        if pool.users:
            return
        del _pools[pool.uri]
    pool.close()


class NbdSource(RemoteSource):
    """An export of an NBD server."""

    schemes = ("nbd", "nbds", "nbd+unix", "nbds+unix", "nbd+vsock", "nbds+vsock")

    def __init__(self, url: str) -> None:
        super().__init__(url)
        if "\0" in url:
            raise UsageError("a URL with a zero byte in it", path=self.path)
        self._pool: _Pool | None = _join_pool(url)
        try:
            self.opened(self._pool.size)
        except BaseException:
            self.close()
            raise
        self.knows_zeros = self._pool.knows_extents
        self._lock = threading.Lock()  # guards what follows
        self._answer = (0, 0, np.zeros((0, 2), np.int64))  # start, end and zeros of the last one
        self._questions = 0
        self._told = 0  # bytes that answers spoke of

    def _connections(self) -> _Pool:
        if self._pool is None:
            raise ReadError("the source is closed", path=self.path)
        return self._pool

    def fetch_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        with self._connections().connection() as connection:
            return connection.read(ranges)

    def find_zeros(self, offset: int, length: int) -> tuple[npt.NDArray[np.int64], int]:
        end = offset + length
        with self._lock:
            low, high, zeros = self._answer
            if not low <= offset < high:
                if not self.knows_zeros:
                    return zeros[:0], end
                low, high, zeros = self._answer = self._ask(offset)
            stop = min(end, high)
        first = int(np.searchsorted(zeros[:, 1], offset, side="right"))
        last = int(np.searchsorted(zeros[:, 0], stop, side="left"))
        return np.clip(zeros[first:last], offset, stop), stop

    def _ask(self, offset: int) -> tuple[int, int, Any]:
        """(start, end, zeros) of what the server tells from `offset` on."""
        nothing = np.zeros((0, 2), np.int64)
        pool = self._connections()
        start = offset // pool.minimum * pool.minimum
        with pool.connection() as connection:
            try:
                zeros, end = connection.zeros(start, self.size - start)
            except ReadError:
                if connection.broken:
                    raise
                zeros, end = nothing, start  # a server that only cannot tell is still read
        self._questions += 1
        self._told += end - start
        needed = self._questions >= QUESTIONS_AT_LEAST
        if end <= offset or (needed and self._told < self._questions * WORTH_ASKING):
            # No answer, or so many small ones that reading is cheaper than asking.
            self.knows_zeros = False
        return (start, end, zeros) if end > offset else (start, self.size, nothing)

    @property
    def identity(self) -> tuple[object, ...]:
        return (self.url,)

    def check_unchanged(self) -> None:
        self._connections().check_size()

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            _leave_pool(pool)
