"""libnbd, opened at run time, and one connection over it.

Every wait is a poll with a short timeout: Python sees signals in between, and a silent server is
given up. Source: the manual pages of libnbd; the NBD protocol, "Structured replies" and
"Metadata querying".
"""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import cffi  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from ..engine import should_stop
from ..errors import ImageError, ReadError, printable
from ..units import MIB, round_down, round_up
from .base import stopped

__all__ = ["Connection", "load"]

LIBRARY = "libnbd.so.0"
TICK_MS = 100
SILENCE_TIMEOUT_S = 60.0
REQUEST = 2 * MIB  # in one request, where the server allows as much
IN_FLIGHT = 16  # requests of a connection: what qemu-nbd works on at once
MAX_BLOCK = 64 << 10  # the smallest request that a server may insist on, says the protocol
MAX_STATUS = (1 << 32) - MAX_BLOCK  # bytes in one question for extents
MAX_ENTRIES = 65536  # of an answer to it that are looked at
_CONTEXT = b"base:allocation"
_STATE_ZERO = 2
_SIZE_MINIMUM, _SIZE_MAXIMUM = 0, 2

_DECLARATIONS = """
typedef struct {
  int (*callback) (void *user_data, int *error);
  void *user_data;
  void (*free) (void *user_data);
} nbd_completion_callback;
typedef struct {
  int (*callback) (void *user_data, const char *metacontext, uint64_t offset, uint32_t *entries,
                   size_t nr_entries, int *error);
  void *user_data;
  void (*free) (void *user_data);
} nbd_extent_callback;
struct nbd_handle;
struct nbd_handle *nbd_create (void);
void nbd_close (struct nbd_handle *h);
const char *nbd_get_error (void);
int nbd_supports_tls (struct nbd_handle *h);
int nbd_supports_uri (struct nbd_handle *h);
int nbd_set_uri_allow_local_file (struct nbd_handle *h, bool allow);
int nbd_set_pread_initialize (struct nbd_handle *h, bool request);
int nbd_add_meta_context (struct nbd_handle *h, const char *name);
int nbd_can_meta_context (struct nbd_handle *h, const char *metacontext);
int nbd_can_multi_conn (struct nbd_handle *h);
int64_t nbd_get_size (struct nbd_handle *h);
int64_t nbd_get_block_size (struct nbd_handle *h, int size_type);
int nbd_aio_connect_uri (struct nbd_handle *h, const char *uri);
int nbd_aio_is_connecting (struct nbd_handle *h);
int nbd_aio_is_ready (struct nbd_handle *h);
int nbd_aio_is_dead (struct nbd_handle *h);
int nbd_aio_is_closed (struct nbd_handle *h);
int nbd_aio_disconnect (struct nbd_handle *h, uint32_t flags);
int nbd_poll (struct nbd_handle *h, int timeout);
int64_t nbd_aio_pread (struct nbd_handle *h, void *buf, size_t count, uint64_t offset,
                       nbd_completion_callback completion_callback, uint32_t flags);
int64_t nbd_aio_block_status (struct nbd_handle *h, uint64_t count, uint64_t offset,
                              nbd_extent_callback extent_callback,
                              nbd_completion_callback completion_callback, uint32_t flags);
int64_t nbd_aio_peek_command_completed (struct nbd_handle *h);
int nbd_aio_command_completed (struct nbd_handle *h, uint64_t cookie);
"""

ffi = cffi.FFI()
_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t]
_new_bytes.restype = ctypes.py_object


def _unfilled(size: int) -> bytes:
    """New bytes to be filled before anyone else sees them, as Python's C API allows.

    A bytearray would have to be copied afterwards, which costs as much as the reading.
    """
    made: bytes = _new_bytes(None, size)
    return made


@functools.lru_cache(maxsize=1)
def _library() -> Any:
    ffi.cdef(_DECLARATIONS)
    return ffi.dlopen(LIBRARY)


def load(shown: str) -> Any:
    """The library. Raises ImageError where it is not installed."""
    try:
        return _library()
    except OSError as error:
        raise ImageError(
            f"reading over NBD needs {LIBRARY}, which is not installed",
            path=shown,
            hint="apt install libnbd0 (dnf install libnbd), or attach the export as a block "
            "device with nbd-client and read that",
        ) from error


class Connection:
    """A connection to an export. One thread at a time.

    alive: False once it is closed, which any error does. broken: it ended by itself, or the server
    fell silent; else an error was the server's answer to one request.
    """

    def __init__(
        self, library: Any, uri: str, shown: str, clean: Callable[[str], str], timeout: float
    ) -> None:
        """Raises ReadError where the server cannot be reached within `timeout` seconds, ImageError
        for an export whose end its server does not read.
        """
        self._library = library
        self._shown = shown
        self._clean = clean
        self._handle = library.nbd_create()
        if self._handle == ffi.NULL:
            raise MemoryError("no memory for a connection")
        self.alive = True
        self.broken = False
        try:
            self._connect(uri, timeout)
            # As the server says it: the library has no room for the largest.
            self.size = int(library.nbd_get_size(self._handle)) & (1 << 64) - 1
            minimum = int(library.nbd_get_block_size(self._handle, _SIZE_MINIMUM))
            maximum = int(library.nbd_get_block_size(self._handle, _SIZE_MAXIMUM))
            self.minimum = minimum if 0 < minimum <= MAX_BLOCK else 1
            if self.size % self.minimum:
                raise ImageError(
                    f"the export has {self.size} bytes, and its server reads only multiples of "
                    f"{self.minimum}: the last {self.size % self.minimum} cannot be had",
                    path=self._shown,
                    hint="have the server give a size that is a multiple, or take smaller requests",
                )
            self.request = REQUEST if maximum <= 0 else min(REQUEST, maximum)
            self.request = max(self.minimum, round_down(self.request, self.minimum))
            self.is_shared = library.nbd_can_multi_conn(self._handle) == 1
            self.knows_extents = library.nbd_can_meta_context(self._handle, _CONTEXT) == 1
        except BaseException:
            self.close()
            raise

    def _connect(self, uri: str, timeout: float) -> None:
        library, handle = self._library, self._handle
        if library.nbd_supports_uri(handle) != 1:
            raise ImageError(
                "this build of libnbd reads no URIs (it was made without libxml2)",
                path=self._shown,
                hint="install your distribution's libnbd",
            )
        library.nbd_set_uri_allow_local_file(handle, True)  # the user named the PSK file
        # libnbd counts the bytes of an answer, not which they are: for a server that sends one half
        # twice, what lay in memory before would pass for the other.
        library.nbd_set_pread_initialize(handle, True)
        library.nbd_add_meta_context(handle, _CONTEXT)
        if library.nbd_aio_connect_uri(handle, uri.encode()) == -1:
            raise self._cannot_connect()
        until = time.monotonic() + timeout
        while library.nbd_aio_is_ready(handle) != 1:
            if library.nbd_poll(handle, TICK_MS) == -1:
                raise self._cannot_connect()
            if library.nbd_aio_is_dead(handle) == 1 or library.nbd_aio_is_closed(handle) == 1:
                raise self._cannot_connect()
            if should_stop():
                raise stopped(self._shown)
            if time.monotonic() > until:
                raise ReadError(
                    f"the server did not let us in within {timeout:.0f} s",
                    path=self._shown,
                    hint="it may serve one client at a time (qemu-nbd --shared=0 serves many), or "
                    "be no NBD server",
                )

    def _cannot_connect(self) -> ReadError:
        return ReadError(
            f"no connection: {self._reason()}",
            path=self._shown,
            hint="check the address and the name of the export, and that the server is running "
            "(nbdinfo --list URI)",
        )

    def _reason(self) -> str:
        text = self._library.nbd_get_error()
        if text == ffi.NULL:
            return "unknown error"
        return printable(self._clean(ffi.string(text).decode(errors="replace")), 300)

    # ---- commands -------------------------------------------------------------------------------

    def _failed(self, offset: int) -> ReadError:
        """The error of the command that failed last."""
        reason = self._reason()
        library, handle = self._library, self._handle
        if library.nbd_aio_is_dead(handle) == 1 or library.nbd_aio_is_closed(handle) == 1:
            self.broken = True
            return ReadError(
                f"the connection to the server broke: {reason}",
                path=self._shown,
                offset=offset,
                hint="check that the server is still running, then try again",
            )
        return ReadError(
            f"the server refused a request: {reason}", path=self._shown, offset=offset
        )

    def _run(self, commands: Sequence[tuple[int, Callable[[], int]]]) -> None:
        """Run commands, each (offset, what issues it and gives its cookie), several at a time."""
        library, handle = self._library, self._handle
        flying: dict[int, int] = {}
        waiting = iter(commands)
        more = True
        heard = time.monotonic()
        while True:
            while more and len(flying) < IN_FLIGHT:
                command = next(waiting, None)
                if command is None:
                    more = False
                    break
                cookie = command[1]()
                if cookie == -1:
                    raise self._failed(command[0])
                flying[cookie] = command[0]
            # -1 where nothing is in flight or the connection has ended, 0 where nothing is done.
            while flying and (cookie := library.nbd_aio_peek_command_completed(handle)) > 0:
                offset = flying.pop(cookie)
                if library.nbd_aio_command_completed(handle, cookie) != 1:
                    raise self._failed(offset)
            if more and len(flying) < IN_FLIGHT:
                continue
            if not flying:
                return
            answer = library.nbd_poll(handle, TICK_MS)
            if answer == -1:
                raise self._failed(next(iter(flying.values())))
            if should_stop():
                raise stopped(self._shown)
            now = time.monotonic()
            if answer:
                heard = now
            elif now - heard > SILENCE_TIMEOUT_S:
                self.broken = True
                raise ReadError(
                    f"the server was silent for {SILENCE_TIMEOUT_S:.0f} s",
                    path=self._shown,
                    offset=next(iter(flying.values())),
                    hint="check the network and the server, then try again",
                )

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of each (offset, length) within the export. Raises ReadError."""
        library, handle = self._library, self._handle
        nothing = ffi.new("nbd_completion_callback *")[0]
        buffers: list[tuple[bytes, int, int]] = []
        commands: list[tuple[int, Callable[[], int]]] = []
        for offset, length in ranges:
            low = round_down(offset, self.minimum)
            high = min(round_up(offset + length, self.minimum), self.size)
            buffer = _unfilled(high - low)
            place = ffi.from_buffer(buffer)
            buffers.append((buffer, offset - low, length))
            for at in range(low, high, self.request):
                size = min(self.request, high - at)
                commands.append(
                    (
                        at,
                        functools.partial(
                            library.nbd_aio_pread, handle, place + (at - low), size, at, nothing, 0
                        ),
                    )
                )
        self._guarded(commands)
        return [buffer[skip : skip + length] for buffer, skip, length in buffers]

    def zeros(self, offset: int, length: int) -> tuple[npt.NDArray[np.int64], int]:
        """(ranges of zeros as rows of (start, end), where the answer ends) of a prefix.

        offset: aligned to `minimum`. Raises ReadError.
        """
        entries: list[npt.NDArray[np.uint64]] = []
        length = min(length, MAX_STATUS)

        def keep(context: Any, found: npt.NDArray[np.uint64]) -> None:
            # A server speaks once of a context; more of it would have no place to go.
            if not entries and ffi.string(context) == _CONTEXT:
                entries.append(found)

        self._guarded([(offset, self._question(offset, length, keep))])
        if not entries or not len(entries[0]):
            return np.zeros((0, 2), np.int64), offset
        lengths = np.minimum(entries[0][:, 0], np.uint64(length)).astype(np.int64)
        ends = np.minimum(np.cumsum(lengths), length) + offset
        starts = np.concatenate((np.array([offset], np.int64), ends[:-1]))
        zero = (entries[0][:, 1] & np.uint64(_STATE_ZERO)).astype(bool) & (ends > starts)
        return np.stack((starts[zero], ends[zero]), axis=1), int(ends[-1])

    def _question(
        self, offset: int, length: int, keep: Callable[[Any, npt.NDArray[np.uint64]], None]
    ) -> Callable[[], int]:
        """Asks for extents; keep(context, rows of (length, flags)) is called with the answer."""
        handle, call = self._handle, self._library.nbd_aio_block_status
        nothing = ffi.new("nbd_completion_callback *")[0]

        # Newer libraries have a call for extents beyond 4 GiB; no question here is as long.
        @ffi.callback("int(void *, const char *, uint64_t, uint32_t *, size_t, int *)")  # type: ignore[untyped-decorator]
        def answer(_: Any, context: Any, at: int, found: Any, count: int, __: Any) -> int:
            numbers = min(count // 2, MAX_ENTRIES) * 2
            raw = bytes(ffi.buffer(found, numbers * 4))
            keep(context, np.frombuffer(raw, np.uint32).reshape(-1, 2).astype(np.uint64))
            return 0

        extents = ffi.new("nbd_extent_callback *", {"callback": answer})

        def ask() -> int:
            cookie: int = call(handle, length, offset, extents[0], nothing, 0)
            return cookie

        ask.kept = answer  # type: ignore[attr-defined]  # as long as the command may call it
        return ask

    def _guarded(self, commands: Sequence[tuple[int, Callable[[], int]]]) -> None:
        """Run commands; on any failure the connection ends, and with it what still flies."""
        try:
            self._run(commands)
        except BaseException:
            # The buffers of commands in flight are freed once this returns.
            self.close()
            raise

    def close(self) -> None:
        """End the connection. May be called twice."""
        self.alive = False
        handle, self._handle = self._handle, ffi.NULL
        if handle != ffi.NULL and self._library.nbd_aio_is_ready(handle) == 1:
            self._library.nbd_aio_disconnect(handle, 0)
        self._library.nbd_close(handle)
