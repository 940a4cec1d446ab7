"""An open image: a virtual disk to read, whatever its format."""

from __future__ import annotations

import contextlib
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
from .errors import CorruptImageError, UsageError, printable
from .extents import MAX_ROWS, ExtentMap, Kind, Rows, clip
from .files import MemorySource, open_source
from .formats import ImageFormat, ImageInfo, Notice, OpenOptions, ReadOptions, open_format
from .monitor import Monitor
from .ranges import join_ranges
from .streams import Spool, Unpacking
from .units import KIB, MIB

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Image", "open_as", "open_image"]

# Maps that pread keeps: so many windows of at most so many rows.
CACHED_WINDOWS = 16
CACHED_ROWS = 4096
# Ranges closer than this are fetched from a network in one request.
FETCH_GAP = 64 * KIB
# The same where that would fetch more than WASTE times what is wanted.
SMALL_FETCH_GAP = 4 * KIB
WASTE = 2
# Bytes fetched at once: a segment's data, or what its compressed units take in the file.
FETCH_BYTES = 32 * MIB


class Image(io.RawIOBase):
    """A virtual disk, read-only and seekable like a binary file.

    Every method may be called from several threads at once, but `read`, `readinto`, `seek` and
    `tell` share one position. Close it, or use it as a context manager.
    """

    def __init__(self, layer: ImageFormat) -> None:
        super().__init__()
        self.layer = layer
        self._position = 0
        self._lock = threading.Lock()
        self._windows: OrderedDict[int, ExtentMap] = OrderedDict()
        self._table = _native.SourceTable(layer.sources)
        self._remote = [
            index
            for index, source in enumerate(layer.sources)
            if not source.can_be_read_natively
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
        source, container = self.layer.source, self.layer.options.container
        return dataclasses.replace(
            info,
            parent=below[0] if below else None,
            chain=below,
            details=info.details if container is None else {**info.details, "container": container},
            notices=self.notices,
            stream=source.stream,
            file_size=source.packed.size if isinstance(source, Spool) else info.file_size,
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
        if not self._remote:
            _native.read_segment(self._table, rows, offset, buffer, _decoder_for(rows))
            return
        end = offset + len(buffer)
        batches = self._batches(clip(rows, offset, len(buffer)))
        starts = [offset, *(int(batch[0]["offset"]) for batch in batches[1:]), end]
        view = memoryview(buffer)
        for batch, low, high in zip(batches, starts, starts[1:], strict=False):
            table, near = self._reachable(batch)
            part = view[low - offset : high - offset]
            with self._placed(batch, near):
                _native.read_segment(table, near, low, part, _decoder_for(near))

    def copy_rows(self, rows: Rows, sink: _native.Sink, scratch: Any) -> tuple[int, int, int]:
        """Copy rows of this image's map to a sink: (bytes read, written, found to be zero).

        scratch: the calling thread's own, page-aligned. Raises what reading and writing raise.
        """
        if not self._remote:
            return _native.copy_segment(self._table, rows, sink, scratch, _decoder_for(rows))
        read = written = zeros = 0
        for batch in self._batches(rows):
            table, near = self._reachable(batch)
            with self._placed(batch, near):
                counts = _native.copy_segment(table, near, sink, scratch, _decoder_for(near))
            read, written, zeros = read + counts[0], written + counts[1], zeros + counts[2]
        return read, written, zeros

    @contextlib.contextmanager
    def _placed(self, rows: Rows, near: Rows) -> Iterator[None]:
        """Errors name the place in the source, not that in what was fetched of it."""
        try:
            yield
        except CorruptImageError as error:
            fetched = near["file"] >= len(self.layer.sources)
            at = np.flatnonzero(fetched & (near["file_offset"] == (error.offset or 0)))
            if len(at):
                error.offset = int(rows[at[0]]["file_offset"])
            raise

    def _batches(self, rows: Rows) -> list[Rows]:
        """The rows in parts for which about FETCH_BYTES are fetched each; one part at least.

        No two parts touch the same MiB of the disk, as segments do not.
        """
        stored = rows["kind"] >= Kind.DATA
        packed = rows["kind"] == Kind.COMPRESSED
        needs = np.where(packed, rows["stored_length"], rows["length"]) * stored
        totals = np.cumsum(needs, dtype=np.uint64)
        if not len(rows) or totals[-1] <= FETCH_BYTES:
            return [rows]
        block = np.uint64(MIB)
        ends = (rows["offset"] + rows["length"] - np.uint64(1)) // block
        cuts = np.append(np.flatnonzero(ends[:-1] < rows["offset"][1:] // block) + 1, len(rows))
        parts: list[Rows] = []
        start = 0
        while start < len(rows):
            before = int(totals[start - 1]) if start else 0
            full = int(np.searchsorted(totals, np.uint64(before + FETCH_BYTES), side="right"))
            # The last cut that keeps to the budget, or the first one there is.
            last = int(np.searchsorted(cuts, full, side="right")) - 1
            first = int(np.searchsorted(cuts, start, side="right"))
            stop = int(cuts[max(first, last)])
            parts.append(rows[start:stop])
            start = stop
        return parts

    def _reachable(self, rows: Rows) -> tuple[_native.SourceTable, Rows]:
        """Sources and rows as native code can read them: what only Python reaches is fetched."""
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
            spans = join_ranges(starts, ends, FETCH_GAP)
            if spans.total > WASTE * int((ends - starts).sum()):
                # Small rows with wide gaps: what is fetched must not outgrow what is wanted.
                spans = join_ranges(starts, ends, SMALL_FETCH_GAP)
            lengths = spans.highs - spans.lows
            wanted = list(zip(spans.lows.tolist(), lengths.tolist(), strict=True))
            parts = source.read_ranges(wanted, "disk's data")
            places = np.cumsum(lengths) - lengths - spans.lows
            order = spans.order
            rows["file_offset"][chosen[order]] = starts[order] + places[spans.group]
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
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    monitor: Monitor | None = None,
    **options: Unpack[ReadOptions],
) -> Image:
    """Open a disk image for reading.

    path: a file, a block device or a URL (docs/formats/sources.md).
    format: "raw", "vhd", "qcow2" …; detected where it is None. options: ReadOptions.
    monitor: told of unpacking, where the file is compressed.

    Raises ImageError (missing, unknown, ambiguous, unsupported, corrupt, unsafe or missing
    reference …), ReadError, UsageError; for a compressed file NoSpaceError and WriteError too.
    """
    how = dataclasses.replace(OpenOptions.of(options), unpacking=Unpacking(monitor))
    return open_as(path, format, how)


def open_as(path: str | os.PathLike[str], format: str | None, how: OpenOptions) -> Image:
    """`open_image` for callers within the library."""
    source = open_source(path)
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
    return Image(layer)
