"""What every container format is: a subclass of ImageFormat, registered by existing.

A format reads metadata and never guest data. docs/hacking/adding-a-format.md walks through one.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from .._native import split_holes
from ..errors import InvalidImageError, UnsafeReferenceError, UsageError, printable
from ..extents import MAX_ROWS, ExtentMap, Kind, Rows, clip, cut_at_file_end, end_of, merge, overlay
from ..files import Source
from ..ranges import split_zeros
from ..references import MAX_DEPTH
from ..siblings import newer_states
from ..sparse import SparseSource
from ..units import MAX_OFFSET, MIB
from .info import ImageInfo, Notice, Notify
from .options import OpenOptions

__all__ = [
    "FORMATS",
    "Glimpse",
    "ImageFormat",
    "ImageInfo",
    "Notice",
    "Notify",
    "OpenOptions",
]

# Rows of one window in all layers of a chain together: each keeps its own while it asks the next.
CHAIN_ROWS = 8 * MAX_ROWS
# Bytes that a layer over others makes rows of at once, where they answer of few.
MIN_STRIDE = MIB


class Glimpse:
    """The places of a file that probes look at; each is read once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._parts: dict[tuple[int, int], bytes] = {}
        self.size = source.size
        self.path = source.path
        self.name = source.name

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

    Subclasses set the class variables, implement `probe`, `info` and `rows`, and in `__init__`,
    which reads and checks the metadata, set `virtual_size` and what else differs from the defaults.
    """

    name: ClassVar[str]  # what --from takes
    title: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()
    has_snapshots: ClassVar[bool] = False  # whether `open` heeds options.snapshot

    virtual_size: int  # bytes
    sector_size: int = 512  # logical, bytes
    is_flat: bool = False  # whether a byte of the disk has the same offset in the first source
    unit_size: int = 0  # bytes of a compressed unit: work is not cut inside multiples of it
    sources: list[Source]  # rows name them by index; complete once the image is opened
    parent: ImageFormat | None = None  # what UNALLOCATED rows are looked up in
    layers: int = 1  # images of the chain from this one down
    # Bytes that rows are made of at once: about what the parent answers of, or they would be made
    # again for each short answer. Any thread may change it.
    _stride: int = MAX_OFFSET

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            return  # a base shared by several formats
        if cls.name in FORMATS:
            raise TypeError(f"two formats call themselves {cls.name!r}")
        FORMATS[cls.name] = cls

    def __init__(self, source: Source, options: OpenOptions) -> None:
        """Open the image. Raises ImageError of the fitting kind, or ReadError.

        The image owns `source` once it is opened; on an error the caller still does, and closes
        what was opened through options.references.
        """
        self.sources = [source]
        self.source = source
        self.options = options
        self.notices: list[Notice] = []
        self._noticed: set[Notice] = set()
        self._parent_sources = range(0)  # indices of the parent's sources in ours

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

    @abstractmethod
    def info(self) -> ImageInfo:
        """What the headers say."""

    def make_info(self, subformat: str, **fields: Any) -> ImageInfo:
        """ImageInfo with what is known of every image, and these fields."""
        return ImageInfo(
            format=self.name,
            subformat=subformat,
            path=self.source.path,
            virtual_size=self.virtual_size,
            file_size=self.source.size,
            sector_size=self.sector_size,
            notices=tuple(self.notices),
            **fields,
        )

    @abstractmethod
    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        """Rows that begin at `offset` and stay within [offset, offset + length), length > 0.

        What only the parent knows is UNALLOCATED; without a parent that reads as zeros. Any
        contiguous prefix will do, of at least one row; about max_rows are wanted. No loop
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
        if self.parent is not None:
            max_rows = min(max_rows, CHAIN_ROWS // self.layers)
            length = min(length, self._stride)
        rows = self._in_pieces(self.rows(offset, length, max_rows), max_rows)
        if self.options.ask_holes:
            rows = self._without_holes(rows, max_rows)
        if self.parent is None:
            rows = self._over_parent(rows, max_rows)
        else:
            rows = merge(rows)
            if len(rows) > max_rows:
                rows = rows[:max_rows].copy()
            made = end_of(rows)
            rows = self._over_parent(rows, max_rows)
            if end_of(rows) < made:
                self._stride = max(MIN_STRIDE, 2 * (end_of(rows) - offset))
            else:
                self._stride = min(MAX_OFFSET, 2 * self._stride)
        sizes = [source.size for source in self.sources]
        return ExtentMap.checked(offset, length, rows, sizes, max_rows)

    def _in_pieces(self, rows: Rows, max_rows: int) -> Rows:
        """The rows with holes of a source that is stored in pieces ZERO, and its pieces found."""
        source = self.source
        if not isinstance(source, SparseSource) or source.whole not in self.sources:
            return rows
        rows = split_zeros(source, 0, rows, max_rows)
        return source.locate(rows, 0, self.sources.index(source.whole))

    def _without_holes(self, rows: Rows, max_rows: int) -> Rows:
        for index in np.unique(rows["file"][rows["kind"] == Kind.DATA]):
            source = self.sources[index]
            if source.knows_holes:
                rows = split_holes(source, int(index), rows, max_rows)
            elif source.knows_zeros:
                rows = split_zeros(source, int(index), rows, max_rows)
        return rows

    def _over_parent(self, rows: Rows, max_rows: int) -> Rows:
        """The rows with the parent's in the place of UNALLOCATED ones, as far as it answers."""
        hidden = np.flatnonzero(rows["kind"] == Kind.UNALLOCATED)
        if not len(hidden):
            return rows
        first, last = rows[hidden[0]], rows[hidden[-1]]
        low, high = int(first["offset"]), int(last["offset"]) + int(last["length"])
        known = 0 if self.parent is None else min(high, self.parent.virtual_size)
        if self.parent is None or known <= low:
            rows["kind"][hidden] = Kind.ZERO
            return rows
        below = self.parent.extents(low, known - low, max_rows)
        base = below.rows.copy()
        stored = base["kind"] >= Kind.DATA
        base["file"][stored] += self._parent_sources.start
        if below.end < known:
            start = int(rows[0]["offset"])
            rows = clip(rows, start, below.end - start)
        return overlay(rows, base)

    # ---- other files of the image ---------------------------------------------------------------

    def open_file(self, name: str, what: str) -> Source:
        """Open a file that the image names and add it to `sources`, if it may be opened.

        Raises UnsafeReferenceError, MissingReferenceError, ImageError.
        """
        source = self.options.references.open(self.source, name, what)
        self.sources.append(source)
        return source

    def open_parent(
        self, name: str | Sequence[str] | None, format_name: str | None, what: str
    ) -> ImageFormat:
        """Open the image below this one, which UNALLOCATED rows are then looked up in.

        name: as it stands in this image (None: it names none, the user must have); several names
        are tried in turn, and one that leads back into the chain only where no other leads on.
        format_name: as it stands there, None where the image does not say.
        Raises what `open_file` and opening an image raise, InvalidImageError for a chain that is
        too long or comes back to itself.
        """
        from . import open_format

        options = self.options
        names = () if name is None else (name,) if isinstance(name, str) else tuple(name)
        trail = (*options.trail, self.source.identity)
        if options.parents:
            source = options.references.open_named(options.parents[0])
        elif not names:
            raise UnsafeReferenceError(
                f"the image does not say where its {what} is",
                path=self.source.path,
                hint="name it with --parent FILE",
            )
        else:
            source = options.references.open_first(self.source, names, what, trail)
        if source.identity in trail:
            raise InvalidImageError(
                f"the {what} {source.path} stands above itself in the chain",
                path=self.source.path,
                hint="the image was made wrong, or the wrong file lies under that name",
            )
        if len(trail) > MAX_DEPTH:
            raise InvalidImageError(
                f"more than {MAX_DEPTH} images lie on top of each other", path=self.source.path
            )
        if format_name is None:
            format_name = options.backing_format
            if format_name is None:
                raise UnsafeReferenceError(
                    f"the image does not say which format its {what} {source.path} has, and "
                    "guessing would let what a guest wrote decide",
                    path=self.source.path,
                    hint="say --backing-format raw (or qcow2 …); --backing-format auto guesses",
                )
        below = dataclasses.replace(
            options, parents=options.parents[1:], snapshot=None, disk=None, trail=trail
        )
        parent = open_format(source, None if format_name == "auto" else format_name, below)
        start = len(self.sources)
        self.sources.extend(parent.sources)
        self._parent_sources = range(start, len(self.sources))
        self.parent = parent
        self.layers = parent.layers + 1
        self.unit_size = max(self.unit_size, parent.unit_size)
        return parent

    def chain(self) -> Iterator[ImageFormat]:
        """This image, the one below it, and so on."""
        layer: ImageFormat | None = self
        while layer is not None:
            yield layer
            layer = layer.parent

    # ---- what is noticed ------------------------------------------------------------------------

    def notice(self, code: str, message: str, offset: int | None = None) -> None:
        """Keep a warning, once."""
        notice = Notice(code, printable(message, len(message)), self.source.path, offset)
        if notice not in self._noticed:
            self._noticed.add(notice)
            self.notices.append(notice)

    def cut_at_end(
        self, rows: Rows, unit: str, file: int = 0, size: int | None = None
    ) -> Rows:
        """The rows with what lies beyond the end of source number `file` made ZERO, and noticed.

        unit: what the format calls its blocks. size: where the source ends, where that is not its
        own size. For a last block that the file cuts short: one wholly beyond it is corrupt.
        """
        source = self.sources[file]
        size = source.size if size is None else size
        rows, lost = cut_at_file_end(rows, file, size)
        if lost:
            self.notice(
                "short-block",
                f"{source.path if file else 'the file'} ends inside a {unit}; what is missing of "
                "it reads as zeros",
                size,
            )
        return rows

    def notice_no_overlap_search(self, units: str) -> None:
        """units: what there is too much of: blocks, clusters, grains."""
        self.notice(
            "overlaps-not-checked", f"there are too many {units} to look for ones that overlap"
        )

    def notice_newer_states(self) -> None:
        """Say so where files beside it show that this image is an old state of a machine's disk."""
        children = [] if self.options.trail else newer_states(self.source)
        if children:
            self.notice(
                "snapshot-child",
                f"{children[-1]} lies beside it: the machine has snapshots, and this disk may be "
                "an old state; convert the file that the machine uses",
            )

    def close(self) -> None:
        """Close all sources. May be called twice."""
        for source in self.sources:
            source.close()


FORMATS: dict[str, type[ImageFormat]] = {}
