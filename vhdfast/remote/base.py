"""What every remote source is: a subclass of RemoteSource, registered by its schemes.

It fetches ranges; this module keeps what small reads need again. docs/formats/sources.md.
"""

from __future__ import annotations

import re
import threading
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from ..errors import CorruptImageError, ImageError, ReadError, printable
from ..files import Source, url_name
from ..units import KIB, MAX_OFFSET, MIB

__all__ = ["SCHEMES", "BlockCache", "RemoteSource", "shown_url", "stopped"]

BLOCK = 64 * KIB
CACHED_BLOCKS = 256  # 16 MiB
# Reads from this length on go past the cache.
LARGE_READ = MIB
# Bytes fetched at once at most where small reads follow each other.
MAX_AHEAD = 4 * MIB
# Ends of fetches that are remembered, to see that reads follow each other.
MAX_RUNS = 16

_PASSWORD = re.compile(r"^([^:/?#]*://[^/?#:]*):[^/?#]*@")
_PRINTED = 512  # characters of a URL in messages


def shown_url(url: str) -> str:
    """The URL fit for a message: without its password, query and fragment.

    What stands behind "?" of an HTTP URL is often a signature that lets its bearer in.
    """
    bare = url if url.lower().startswith("nbd") else re.split(r"[?#]", url, maxsplit=1)[0]
    return printable(_PASSWORD.sub(r"\1:***@", bare), _PRINTED)


def stopped(shown: str) -> ReadError:
    """What a worker's wait ends with once its run is over; nobody sees it."""
    return ReadError("reading was stopped", path=shown)


class BlockCache:
    """Small reads from a source whose every request is slow. Any thread may read.

    fetch(offset, length): the bytes of a range within [0, size).
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._lock = threading.Lock()
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        # Blocks at which fetches ended, with their lengths: a read that begins there goes on.
        self._runs: OrderedDict[int, int] = OrderedDict()

    def read(self, offset: int, length: int) -> bytes:
        """The bytes of a range within [0, size), length > 0."""
        first, end = offset // BLOCK, -(-(offset + length) // BLOCK)
        parts: dict[int, bytes] = {}
        with self._lock:
            for index in range(first, end):
                block = self._blocks.get(index)
                if block is not None:
                    self._blocks.move_to_end(index)
                    parts[index] = block
            missing = [index for index in range(first, end) if index not in parts]
            if missing:
                low, high = missing[0], self._end_of_fetch(missing[0], missing[-1] + 1)
        if missing:
            # Two threads may fetch the same block: that costs less than making one wait.
            start = low * BLOCK
            data = self._fetch(start, min(high * BLOCK, self._size) - start)
            fresh = {
                index: data[index * BLOCK - start : (index + 1) * BLOCK - start]
                for index in range(low, high)
            }
            parts.update((index, fresh[index]) for index in missing)
            with self._lock:
                self._keep(fresh, low, high)
        whole = b"".join(parts[index] for index in range(first, end))
        return whole[offset - first * BLOCK : offset - first * BLOCK + length]

    def _end_of_fetch(self, low: int, high: int) -> int:
        """Where a fetch from block `low` ends: further, where reads have been coming in order."""
        before = self._runs.pop(low, 0)
        if before:
            high = max(high, low + min(2 * before, MAX_AHEAD // BLOCK))
        return min(high, -(-self._size // BLOCK))

    def _keep(self, fresh: dict[int, bytes], low: int, high: int) -> None:
        self._blocks.update(fresh)
        while len(self._blocks) > CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        self._runs[high] = high - low
        while len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)


class RemoteSource(Source):
    """A source with neither descriptor nor memory: `fetch_ranges` gets its bytes.

    Subclasses set `schemes`, and call `opened` once they know the size.
    """

    schemes: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for scheme in cls.schemes:
            if scheme in SCHEMES:
                raise TypeError(f"two sources call themselves {scheme}://")
            SCHEMES[scheme] = cls

    def __init__(self, url: str) -> None:
        """Raises ImageError for what is no URL."""
        self.url = url
        self.path = shown_url(url)
        try:
            _ = urlsplit(url).port
        except ValueError as error:
            # What is wrong may be a password with a slash in it: nothing of it is shown.
            raise ImageError(
                "this is no valid URL: it has no host and port that can be read",
                path=f"{url.partition('://')[0]}://",
                hint="write characters such as / @ : in a password as %2F %40 %3A",
            ) from error

    def opened(self, size: int) -> None:
        """Take the size that the server tells. Raises ImageError where no file can have it."""
        if not 0 <= size <= MAX_OFFSET:
            raise ImageError(
                f"the server tells a size of {size} bytes, expected 0 to {MAX_OFFSET}",
                path=self.path,
            )
        self.size = size
        self._cache = BlockCache(lambda offset, length: self._fetch(offset, length), size)

    @property
    def name(self) -> str:
        return url_name(self.url)

    def fileno(self) -> None:
        return None

    @abstractmethod
    def fetch_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of each (offset, length) within the source, length > 0; several at once.

        Called by several threads at a time. Raises ReadError, SourceChangedError.
        """

    def _fetch(self, offset: int, length: int) -> bytes:
        (data,) = self.fetch_ranges([(offset, length)])
        return data

    def read(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        if length >= LARGE_READ:
            return self._fetch(offset, length)
        return self._cache.read(offset, length)

    def read_ranges(self, ranges: Sequence[tuple[int, int]], what: str) -> list[bytes]:
        for offset, length in ranges:
            if offset + length > self.size:
                raise CorruptImageError(
                    f"the {what} needs {length} bytes here, the source ends at {self.size:#x}",
                    path=self.path,
                    offset=offset,
                )
        if len(ranges) == 1:
            return [self.read(*ranges[0])]
        return self.fetch_ranges(ranges)


SCHEMES: dict[str, type[RemoteSource]] = {}
