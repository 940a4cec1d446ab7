"""HTTP and HTTPS: ranges of a file, through fsspec where it is installed.

Source: RFC 9110, section 14 "Range Requests". fsspec owns the event loop and the session; requests
are made here, because its own take whatever a server sends for a range.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import random
import re
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine import should_stop
from ..errors import ImageError, ReadError, SourceChangedError, VhdfastError, printable
from ..units import MIB
from .base import RemoteSource, stopped

__all__ = ["HttpSource"]

MAX_REQUEST = 8 * MIB
PARALLEL_REQUESTS = 8  # of one call; workers make calls at the same time
TRIES = 5
BACKOFF_S = 0.5  # before the second try, doubled for each further one
MAX_WAIT_S = 10.0  # what a server may ask for with Retry-After
CONNECT_TIMEOUT_S = 30.0
SILENCE_TIMEOUT_S = 60.0  # without a byte
TICK_S = 0.1  # how often a waiting thread looks whether it should stop
MAX_HEADER = 256  # bytes of a header that are looked at

_TRANSIENT = (408, 429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)")


@dataclass(frozen=True, slots=True)
class _Version:
    """What tells one state of the file from another."""

    size: int
    etag: str | None
    modified: str | None


class _Transient(Exception):
    """Something that may be over when it is tried again."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class HttpSource(RemoteSource):
    """A file on a web server that answers ranges."""

    schemes = ("http", "https")

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._url = url.partition("#")[0]
        self._client, self._fs = _file_system(self._url, self.path)
        self._closed = threading.Event()
        try:
            version = self._call(lambda: self._try("bytes=0-0", self._look))
            self._version: _Version = version
            self.opened(version.size)
        except BaseException:
            self.close()
            raise

    def _call(self, make: Callable[[], Awaitable[Any]]) -> Any:
        """The result of a coroutine that runs on fsspec's loop."""

        async def run() -> Any:
            return await make()

        if self._closed.is_set():
            raise ReadError("the source is closed", path=self.path)
        task = asyncio.run_coroutine_threadsafe(run(), self._fs.loop)
        try:
            while not concurrent.futures.wait([task], TICK_S).done:
                if should_stop():
                    raise stopped(self.path)
            return task.result()
        finally:
            task.cancel()

    # ---- one request ----------------------------------------------------------------------------

    async def _try(self, wanted: str, take: Callable[[Any], Awaitable[Any]]) -> Any:
        """take(answer) for a request of a range, tried again where that may help."""
        errors = (self._client.ClientError, asyncio.TimeoutError, OSError)
        for attempt in range(TRIES):
            try:
                return await self._request(wanted, take)
            except (self._client.InvalidURL, self._client.TooManyRedirects) as error:
                # Their texts hold the URL.
                what = type(error).__name__
                raise ImageError(f"the request is not possible: {what}", path=self.path) from None
            except self._client.ClientSSLError as error:
                raise ReadError(
                    f"no safe connection: {_reason(error)}",
                    path=self.path,
                    hint="where the server's certificate is your own, name its authority in the "
                    "environment variable SSL_CERT_FILE",
                ) from error
            except (_Transient, *errors) as error:
                reason = _reason(error)
                wait = BACKOFF_S * 2**attempt * random.uniform(0.75, 1.25)
                if isinstance(error, _Transient):
                    wait = max(wait, min(error.wait, MAX_WAIT_S))
            if attempt + 1 < TRIES:
                await asyncio.sleep(wait)
        raise ReadError(
            f"the server did not answer as it should, {TRIES} times: {reason}",
            path=self.path,
            hint="check the network and the server, then try again",
        )

    async def _request(self, wanted: str, take: Callable[[Any], Awaitable[Any]]) -> Any:
        session = await self._fs.set_session()
        headers = {"Range": wanted, "Accept-Encoding": "identity"}
        async with session.get(self._fs.encode_url(self._url), headers=headers) as answer:
            hops = [*answer.history, answer]
            if self._url.lower().startswith("https:") and any(
                hop.url.scheme != "https" for hop in hops
            ):
                raise ImageError(
                    "the server sends us from https:// to a place without encryption",
                    path=self.path,
                    hint="give that place's own URL, if you trust the network",
                )
            if answer.status in _TRANSIENT:
                raise _Transient(f"status {answer.status}", _retry_after(answer))
            return await take(answer)

    async def _look(self, answer: Any) -> _Version:
        """What the file is, from the answer to a request for its first byte."""
        if answer.status in (401, 403):
            raise ImageError(
                f"the server says {answer.status}: you may not read this",
                path=self.path,
                hint="a signed URL may have expired; a name and password go before the host: "
                "https://NAME:PASSWORD@host/…",
            )
        if answer.status in (404, 410):
            raise ImageError(
                f"the server says {answer.status}: it has no such file",
                path=self.path,
                hint="check the URL",
            )
        if answer.status == 200:
            raise self._without_ranges("it answers a range with the whole file")
        if answer.status not in (206, 416):
            raise ImageError(
                f"the server says {answer.status}, expected 206 (a part of the file)",
                path=self.path,
            )
        start, _, size = _content_range(answer)
        if size is None:
            raise self._without_ranges("it does not tell the size of the file")
        if answer.status == 206 and start != 0:
            raise self._without_ranges("it answers with another range than it was asked for")
        if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise self._without_ranges("it packs what it sends, though asked not to")
        return _Version(size, _header(answer, "ETag"), _header(answer, "Last-Modified"))

    def _without_ranges(self, why: str) -> ImageError:
        return ImageError(
            f"the server does not give parts of the file: {why}",
            path=self.path,
            hint="download the file first (curl -O URL), and convert that",
        )

    def _check(self, answer: Any, offset: int, length: int) -> None:
        """Raise where an answer is not the range that was asked for, of the file we opened."""
        size = self._version.size
        if answer.status in (404, 410, 412, 416):
            raise self._changed(f"the server says {answer.status} now", offset)
        if answer.status != 206:
            raise ReadError(
                f"the server says {answer.status}, expected 206 (a part of the file)",
                path=self.path,
                offset=offset,
                hint="a signed URL may have expired" if answer.status in (401, 403) else None,
            )
        start, end, total = _content_range(answer)
        if total is not None and total != size:
            raise self._changed(f"its size went from {size} to {total} bytes", offset)
        if start != offset or end is None or end + 1 < offset + length:
            raise _Transient("another range than the one that was asked for")
        now = _Version(size, _header(answer, "ETag"), _header(answer, "Last-Modified"))
        if now != self._version:
            raise self._changed("its ETag or its time is another one", offset)
        if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise _Transient("it packs what it sends, though asked not to")

    def _changed(self, what: str, offset: int | None = None) -> SourceChangedError:
        return SourceChangedError(
            f"the source changed while it was read: {what}",
            path=self.path,
            offset=offset,
            hint="wait until the file is uploaded completely, then try again",
        )

    # ---- many requests --------------------------------------------------------------------------

    async def _get(self, offset: int, length: int) -> bytes:
        async def take(answer: Any) -> bytes:
            self._check(answer, offset, length)
            try:
                data: bytes = await answer.content.readexactly(length)
            except asyncio.IncompleteReadError as error:
                raise _Transient(
                    f"{len(error.partial)} of {length} bytes at offset {offset:#x}, then the end"
                ) from error
            return data

        answer: bytes = await self._try(f"bytes={offset}-{offset + length - 1}", take)
        return answer

    async def _get_all(self, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
        turn = asyncio.Semaphore(PARALLEL_REQUESTS)

        async def get(offset: int, length: int) -> bytes:
            async with turn:
                return await self._get(offset, length)

        tasks = [asyncio.ensure_future(get(*piece)) for piece in pieces]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    def fetch_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        pieces: list[tuple[int, int]] = []
        counts: list[int] = []
        for offset, length in ranges:
            starts = range(offset, offset + length, MAX_REQUEST)
            counts.append(len(starts))
            pieces += [(at, min(MAX_REQUEST, offset + length - at)) for at in starts]
        try:
            found: list[bytes] = self._call(lambda: self._get_all(pieces))
        except VhdfastError:
            raise
        except Exception as error:
            raise ReadError(
                f"reading failed: {_reason(error)}", path=self.path, offset=ranges[0][0]
            ) from error
        parts = iter(found)
        return [b"".join(next(parts) for _ in range(count)) for count in counts]

    @property
    def identity(self) -> tuple[object, ...]:
        return (self._url,)

    def check_unchanged(self) -> None:
        async def look(answer: Any) -> _Version:
            if self.size:
                self._check(answer, 0, 1)
                return self._version
            return await self._look(answer)

        if self._call(lambda: self._try("bytes=0-0", look)) != self._version:
            raise self._changed("it is no longer empty")

    def close(self) -> None:
        self._closed.set()
        session, self._fs._session = self._fs._session, None
        if session is not None:
            self._fs.close_session(self._fs.loop, session)


def _file_system(url: str, shown: str) -> tuple[Any, Any]:
    """(aiohttp, a file system of fsspec that is our own). Raises ImageError without them."""
    try:
        client = importlib.import_module("aiohttp")
        kind = importlib.import_module("fsspec.implementations.http").HTTPFileSystem
    except ImportError as error:
        raise ImageError(
            "reading over HTTP needs fsspec and aiohttp, which are not installed",
            path=shown,
            hint="pip install 'vhdfast[http]', or download the file first",
        ) from error
    timeout = client.ClientTimeout(
        total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S
    )
    # A signature in a URL is only valid as it was written.
    as_written = all("!" <= letter <= "~" for letter in url)
    made = kind(
        skip_instance_cache=True,
        use_listings_cache=False,
        cache_type="none",
        encoded=as_written,
        client_kwargs={"timeout": timeout, "auto_decompress": False, "trust_env": True},
    )
    return client, made


def _header(answer: Any, name: str) -> str | None:
    value = answer.headers.get(name)
    return None if value is None else str(value)[:MAX_HEADER]


def _content_range(answer: Any) -> tuple[int | None, int | None, int | None]:
    """(first byte, last byte, size) of the answer's Content-Range, None where it is silent."""
    match = _CONTENT_RANGE.fullmatch((_header(answer, "Content-Range") or "").strip())
    if match is None:
        return None, None, None
    first, last, size = match.groups()
    return (
        None if first is None else int(first),
        None if last is None else int(last),
        None if size == "*" else int(size),
    )


def _retry_after(answer: Any) -> float:
    text = _header(answer, "Retry-After") or ""
    return float(text) if text.isdecimal() and text.isascii() and len(text) < 6 else 0.0


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    return printable(str(error) or type(error).__name__, 200)
