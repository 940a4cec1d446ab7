"""An open image: a virtual disk to read, whatever its format."""

from __future__ import annotations

import dataclasses
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _native
from .errors import UsageError, printable
from .extents import MAX_ROWS, ExtentMap, Kind, Rows, clip
from .files import MemorySource, SourceFile
from .formats import ImageFormat, ImageInfo, Notice, OpenOptions, ReadOptions, open_format
from .units import KIB, MIB

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Image", "open_image"]

# Maps that pread keeps: so many windows of at most so many rows.
CACHED_WINDOWS = 16
CACHED_ROWS = 4096
# Ranges closer than this are fetched from a network in one request.
FETCH_GAP = 64 * KIB


class Image(io.RawIOBase):
    """A virtual disk, read-only and seekable like a binary file.

    Every method may be called from several threads at once, but `read`, `readinto`, `seek` and
    `tell` share one position. Close it, or use it as a context manager.
    """

    def __init__(self, layer: ImageFormat, opened_as: str | None = None) -> None:
        super().__init__()
        self.layer = layer
        # What opens it again; `path` may name a disk inside that file.
        self.opened_as = layer.source.path if opened_as is None else opened_as
        self._position = 0
        self._lock = threading.Lock()
        self._windows: OrderedDict[int, ExtentMap] = OrderedDict()
        self._table = _native.SourceTable(layer.sources)
        self._remote = [
            index
            for index, source in enumerate(layer.sources)
            if source.memory is None and source.fileno() is None
        ]

    # ---- what it is -----------------------------------------------------------------------------

    @property
    def virtual_size(self) -> int:
        """Bytes of the virtual disk."""
        return self.layer.virtual_size

    @property
    def sector_size(self) -> int:
        """Logical sector size that the disk was made for, in bytes."""
        return self.layer.sector_size

    @property
    def path(self) -> str:
        return self.layer.source.path

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Warnings about the image and its parents so far; reading more of it may add to them."""
        return tuple(notice for layer in self.layer.chain() for notice in layer.notices)

    def info(self) -> ImageInfo:
        """What the headers say."""
        info = self.layer.info()
        below = tuple(layer.source.path for layer in self.layer.chain())[1:]
        container = self.layer.options.container
        return dataclasses.replace(
            info,
            parent=below[0] if below else None,
            chain=below,
            details=info.details if container is None else {**info.details, "container": container},
            notices=self.notices,
        )

    def extents(
        self, offset: int = 0, length: int | None = None, max_rows: int = MAX_ROWS
    ) -> ExtentMap:
        """What lies in a contiguous prefix of [offset, offset + length), bytes.

        length: to the end of the disk by default. The answer holds at most max_rows rows and at
        least one; its `end` is where to go on. Raises UsageError for a window that is empty or
        leaves the disk, ImageError where the image's tables are wrong.
        """
        return self.layer.extents(offset, length, max_rows)

    def windows(
        self, offset: int = 0, length: int | None = None, max_rows: int = MAX_ROWS
    ) -> Iterator[ExtentMap]:
        """The maps of [offset, offset + length), one after the other."""
        end = self.virtual_size if length is None else offset + length
        while offset < end:
            window = self.extents(offset, end - offset, max_rows)
            yield window
            offset = window.end

    def is_same_file(self, path: str) -> bool:
        """Whether `path` leads to a file that this image reads."""
        return any(source.is_same_file(path) for source in self.layer.sources)

    def check_unchanged(self) -> None:
        """Raise SourceChangedError where a source was written to since the image was opened."""
        for source in self.layer.sources:
            source.check_unchanged()

    # ---- its bytes ------------------------------------------------------------------------------

    def pread(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes of the virtual disk at `offset`: fewer only at its end.

        Raises UsageError for a negative offset or length, ReadError, ImageError.
        """
        if offset < 0 or length < 0:
            raise UsageError(f"no {length} bytes at offset {offset}")
        buffer = bytearray(max(0, min(length, self.virtual_size - offset)))
        self.pread_into(offset, buffer)
        return bytes(buffer)

    def pread_into(self, offset: int, buffer: Any) -> int:
        """Fill a writable buffer from `offset` on; returns the bytes filled."""
        if offset < 0:
            raise UsageError(f"no bytes at offset {offset}")
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self.virtual_size - offset))
        done = 0
        while done < count:
            window = self._window_at(offset + done)
            part = min(count - done, window.end - offset - done)
            self.read_rows(window.rows, offset + done, view[done : done + part])
            done += part
        return count

    def read_rows(self, rows: Rows, offset: int, buffer: Any) -> None:
        """Fill a buffer with the disk's bytes at `offset`, as rows of this image's map say.

        Where no row speaks, zeros. Raises ReadError, SourceChangedError, CorruptImageError.
        """
        if self._remote:
            rows = clip(rows, offset, len(buffer))
        table, rows = self._reachable(rows)
        _native.read_segment(table, rows, offset, buffer, _decoder_for(rows))

    def copy_rows(self, rows: Rows, sink: _native.Sink, scratch: Any) -> tuple[int, int, int]:
        """Copy rows of this image's map to a sink: (bytes read, written, found to be zero).

        scratch: the calling thread's own, page-aligned. Raises what reading and writing raise.
        """
        table, rows = self._reachable(rows)
        return _native.copy_segment(table, rows, sink, scratch, _decoder_for(rows))

    def _reachable(self, rows: Rows) -> tuple[_native.SourceTable, Rows]:
        """Sources and rows as native code can read them: what only Python reaches is fetched."""
        if not self._remote:
            return self._table, rows
        rows = rows.copy()
        sources = [*self.layer.sources]
        for file in self._remote:
            chosen = np.flatnonzero((rows["file"] == file) & (rows["kind"] >= Kind.DATA))
            if not len(chosen):
                continue
            source = self.layer.sources[file]
            packed = rows["kind"][chosen] == Kind.COMPRESSED
            starts = rows["file_offset"][chosen].astype(np.int64)
            sizes = np.where(packed, rows["stored_length"][chosen], rows["length"][chosen])
            ends = np.minimum(starts + sizes.astype(np.int64), source.size)
            order = np.argsort(starts, kind="stable")
            reach = np.maximum.accumulate(ends[order])
            fresh = np.flatnonzero(starts[order][1:] > reach[:-1] + FETCH_GAP) + 1
            group = np.searchsorted(fresh, np.arange(len(order)), side="right")
            lows = starts[order][np.concatenate(([0], fresh))]
            highs = reach[np.concatenate((fresh - 1, [len(order) - 1]))]
            parts = [
                source.read_exact(int(low), int(high - low), "disk's data")
                for low, high in zip(lows, highs, strict=True)
            ]
            places = np.cumsum(np.concatenate(([0], (highs - lows)[:-1])))
            rows["file_offset"][chosen[order]] = starts[order] - lows[group] + places[group]
            rows["file"][chosen] = len(sources)
            sources.append(MemorySource(b"".join(parts), source.path))
        return _native.SourceTable(sources), rows

    def _window_at(self, offset: int) -> ExtentMap:
        """A map that begins at or before `offset` and ends after it, kept for the next call."""
        with self._lock:
            for key, window in self._windows.items():
                if window.offset <= offset < window.end:
                    self._windows.move_to_end(key)
                    return window
        start = offset // MIB * MIB
        window = self.extents(start, max_rows=CACHED_ROWS)
        while window.end <= offset:
            start = window.end
            window = self.extents(start, max_rows=CACHED_ROWS)
        with self._lock:
            self._windows[window.offset] = window
            self._windows.move_to_end(window.offset)
            while len(self._windows) > CACHED_WINDOWS:
                self._windows.popitem(last=False)
        return window

    # ---- as a binary file -----------------------------------------------------------------------

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {
            os.SEEK_SET: 0,
            os.SEEK_CUR: self._position,
            os.SEEK_END: self.virtual_size,
        }.get(whence)
        if base is None:
            raise ValueError(f"whence {whence} is not supported")
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self.closed:
            raise ValueError("read of a closed image")
        count = self.pread_into(self._position, buffer)
        self._position += count
        return count

    # ---- its end --------------------------------------------------------------------------------

    def close(self) -> None:
        if not self.closed:
            self.layer.close()
        super().close()

    def __enter__(self) -> Image:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Image {self.layer.name} {self.path!r}, {self.virtual_size} bytes>"


def _decoder_for(rows: Rows) -> _native.Decoder | None:
    """This thread's decoder where a row needs one; the libraries are loaded when one does."""
    if not (rows["kind"] == Kind.COMPRESSED).any():
        return None
    from .codecs import decoder

    return decoder()


def open_image(
    path: str | os.PathLike[str], format: str | None = None, **options: Unpack[ReadOptions]
) -> Image:
    """Open a disk image for reading.

    format: "raw", "vhd", "qcow2" …; detected where it is None. options: ReadOptions.

    Raises ImageError (missing, unknown, ambiguous, unsupported, corrupt, unsafe or missing
    reference …), ReadError, UsageError.
    """
    how = OpenOptions.of(options)
    source = SourceFile(path)
    try:
        layer = open_format(source, format, how)
        # Another disk's bytes in the place of an image's zeros would be no one's disk.
        parents = sum(1 for _ in layer.chain()) - 1
        if len(how.parents) > parents:
            raise UsageError(
                f"{printable(how.parents[parents])!r} is named as parent, and the image has "
                f"{parents or 'none'}",
                path=layer.source.path,
                hint="leave it out",
            )
    except BaseException:
        source.close()
        how.references.close()
        raise
    return Image(layer, os.fspath(path))
