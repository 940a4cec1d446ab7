"""What every container format is: a subclass of ImageFormat, registered by existing.

A format reads metadata and never guest data. docs/hacking/adding-a-format.md walks through one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .._native import split_holes
from ..errors import UsageError
from ..extents import MAX_ROWS, ExtentMap, Rows
from ..files import Source, SourceFile

__all__ = ["FORMATS", "Glimpse", "ImageFormat", "ImageInfo", "Notice", "OpenOptions"]


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning about an image that is readable all the same.

    code: a stable word. message: what was found and what was done about it.
    """

    code: str
    message: str
    path: str | None = None
    offset: int | None = None

    def __str__(self) -> str:
        where = "" if self.offset is None else f" (at offset {self.offset:#x})"
        return f"{self.message}{where}"


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How to read an image; what a format has no use for it ignores."""

    chs_size: bool = False  # VHD: take the virtual size from the geometry, as old readers do
    ask_holes: bool = True  # what lies in holes of the source file is zero without reading it


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the headers of an image say; JSON-able (docs/json.md)."""

    format: str
    subformat: str
    path: str
    virtual_size: int
    file_size: int
    sector_size: int = 512
    block_size: int | None = None
    creator: str | None = None
    geometry: tuple[int, int, int] | None = None  # cylinders, heads, sectors per track
    identifiers: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)  # in the format's own words
    notices: tuple[Notice, ...] = ()


class Glimpse:
    """The places of a file that probes look at; each is read once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._parts: dict[tuple[int, int], bytes] = {}
        self.size = source.size
        self.path = source.path

    def at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`; from the end of the file where offset is negative."""
        if offset < 0:
            offset = max(0, self.size + offset)
        key = (offset, length)
        if key not in self._parts:
            self._parts[key] = self._source.read(offset, length)
        return self._parts[key]


class ImageFormat(ABC):
    """One container format over its open sources.

    Subclasses set the class variables, implement `probe`, `open`, `info` and `rows`, and set
    `virtual_size`, `sources` and, where it differs, `sector_size` when they are opened.
    """

    name: ClassVar[str]  # what --from takes
    title: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()

    virtual_size: int  # bytes
    sector_size: int = 512  # logical, bytes
    sources: list[Source]  # rows name them by index; extents() may add to the end

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            return  # a base shared by several formats
        if cls.name in FORMATS:
            raise TypeError(f"two formats call themselves {cls.name!r}")
        FORMATS[cls.name] = cls

    def __init__(self, source: SourceFile, options: OpenOptions) -> None:
        self.sources = [source]
        self.source = source
        self.options = options
        self.notices: list[Notice] = []

    @classmethod
    @abstractmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        """What shows that the file is of this format ("cookie 'conectix' at its start"), or None.

        Cheap and without judgement: a damaged image of the format is still of the format.
        """

    @classmethod
    def residue(cls, glimpse: Glimpse) -> str | None:
        """What shows that the file was of this format before it was damaged, or None.

        Asked where no format matches, so that a damaged image never passes for a raw disk.
        """
        return None

    @classmethod
    @abstractmethod
    def open(cls, source: SourceFile, options: OpenOptions) -> ImageFormat:
        """Read and check the metadata. Raises ImageError of the fitting kind, or ReadError.

        The image owns `source` once it is opened; on an error the caller still does.
        """

    @abstractmethod
    def info(self) -> ImageInfo:
        """What the headers say."""

    @abstractmethod
    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        """Rows that begin at `offset` and stay within [offset, offset + length), length > 0.

        Any contiguous prefix will do, of at least one row; about max_rows are wanted. No loop
        over blocks in Python. Raises CorruptImageError for what the tables get wrong.
        """

    def extents(
        self, offset: int = 0, length: int | None = None, max_rows: int = MAX_ROWS
    ) -> ExtentMap:
        """What lies in a contiguous prefix of [offset, offset + length), at most max_rows of it.

        Its `end` is where to go on. Raises UsageError for a window that is empty or leaves the
        disk, and what `rows` raises.
        """
        if length is None:
            length = self.virtual_size - offset
        if offset < 0 or length <= 0 or offset + length > self.virtual_size or max_rows < 1:
            raise UsageError(
                f"no window [{offset}, {offset + length}) of at least one row in a disk of "
                f"{self.virtual_size} bytes"
            )
        rows = self.rows(offset, length, max_rows)
        if self.options.ask_holes and not self.source.is_device:
            rows = split_holes(self.source, 0, rows, max_rows)
        sizes = [source.size for source in self.sources]
        return ExtentMap.checked(offset, length, rows, sizes, max_rows)

    def notice(self, code: str, message: str, offset: int | None = None) -> None:
        """Keep a warning, once for each code and place."""
        notice = Notice(code, message, self.source.path, offset)
        if notice not in self.notices:
            self.notices.append(notice)

    def close(self) -> None:
        """Close all sources. May be called twice."""
        for source in self.sources:
            source.close()


FORMATS: dict[str, type[ImageFormat]] = {}
