"""Sources that only Python reads, as those of a network, and that remember what they were asked."""

from __future__ import annotations

from collections.abc import Sequence

from vhdfast.files import Source
from vhdfast.remote import RemoteSource

__all__ = ["Far", "Listed"]


class Far(Source):
    """Bytes with neither descriptor nor memory; asked: (offset, length) of each read."""

    def __init__(self, data: bytes, path: str = "far") -> None:
        self.path, self.size, self.data = path, len(data), data
        self.asked: list[tuple[int, int]] = []

    def fileno(self) -> None:
        return None

    def read(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        return self.data[offset : offset + length]


class Listed(RemoteSource):
    """The same with the cache and the joined requests of all that comes over a network.

    requests: the ranges of each call.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__("listed://host/disk.raw")
        self.content = content
        self.requests: list[list[tuple[int, int]]] = []
        self.opened(len(content))

    def fetch_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.requests.append(list(ranges))
        return [self.content[at : at + length] for at, length in ranges]

    @property
    def largest(self) -> int:
        """Bytes of the largest call."""
        return max(sum(length for _, length in call) for call in self.requests)
