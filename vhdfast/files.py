"""Sources: files, parts of files, block devices and memory that stored bytes are read from.

Never written. What comes over a network is in `vhdfast.remote`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from .errors import CUT_SHORT, CorruptImageError, ImageError, ReadError, SourceChangedError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "FileSlice",
    "Identity",
    "MemorySource",
    "Source",
    "SourceFile",
    "is_url",
    "open_source",
    "pread_all",
    "url_name",
]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Places closer than this are gathered in one request where a request costs more than bytes.
GATHER_GAP = 64 << 10


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a user's name for a source is a URL; "./" before it makes it a file's name."""
    return _URL.match(os.fspath(path)) is not None


def url_name(url: str) -> str:
    """What a file made from a URL may be called: its last part that is a name, or "disk"."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "disk"
    for part in (unquote(parts.path.rsplit("/", 1)[-1]), parts.netloc.rpartition("@")[2]):
        name = os.path.basename(part).partition(":")[0]
        if name.strip(".") and name.isprintable():
            return name
    return "disk"


def open_source(path: str | os.PathLike[str]) -> Source:
    """What a user names: a file, a block device or a URL. Raises ImageError, ReadError."""
    if not is_url(path):
        return SourceFile(path)
    from .remote import open_remote

    return open_remote(os.fspath(path))


def pread_all(fd: int, offset: int, length: int) -> bytes:
    """Up to `length` bytes of a file at `offset`: short only at its end. Raises OSError."""
    parts: list[bytes] = []
    while length > 0 and (part := os.pread(fd, length, offset)):
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Identity:
    """What must stay the same while a source is read."""

    device: int
    inode: int
    size: int
    modified_ns: int | None  # None for devices, whose time says nothing

    @classmethod
    def of(cls, fd: int) -> Identity:
        """That of an open file or block device. Raises OSError."""
        status = os.fstat(fd)
        if stat.S_ISBLK(status.st_mode):
            size = os.lseek(fd, 0, os.SEEK_END)
            return cls(status.st_dev, status.st_ino, size, None)
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class Source:
    """Random access to stored bytes: `size`, `path` (for messages) and `read`.

    fileno() is a descriptor that native code reads from, or None: then `memory` holds the bytes,
    or, where that is None too, only `read` gives them (they come over a network).
    """

    path: str
    size: int
    memory: bytes | None = None
    start: int = 0  # where in the file of fileno() the first byte lies
    is_device: bool = False
    knows_holes: bool = False  # whether the file system may be asked for holes
    knows_zeros: bool = False  # whether `find_zeros` may be asked
    stream: str | None = None  # the compressed stream that the bytes were unpacked from

    @property
    def name(self) -> str:
        """What it is called, without where it lies: its suffix may speak for the content."""
        return os.path.basename(self.path)

    def fileno(self) -> int | None:
        raise NotImplementedError

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes: short only at the end of the source. Raises ReadError."""
        raise NotImplementedError

    @property
    def can_be_read_natively(self) -> bool:
        """Whether the descriptor or the memory give the same bytes as `read`."""
        return self.memory is not None or self.fileno() is not None

    @property
    def directories(self) -> tuple[str, ...]:
        """Where files that the image names are looked for; empty where it lies in no directory."""
        return ()

    @property
    def lies_on_device(self) -> bool:
        """Whether its bytes come from a block device, unpacked or not."""
        return self.is_device

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for two sources that are the same bytes of the same file."""
        return (id(self),)

    def is_same_file(self, path: str) -> bool:
        """Whether `path` leads to the file or device that this source reads."""
        return False

    def check_unchanged(self) -> None:
        """Raise SourceChangedError where the source is not what it was when it was opened."""

    def read_exact(self, offset: int, length: int, what: str) -> bytes:
        """`length` bytes or CorruptImageError; `what` names the structure for the message."""
        data = self.read(offset, length)
        if len(data) != length:
            raise CorruptImageError(
                f"the {what} needs {length} bytes here, the file ends after {len(data)}",
                path=self.path,
                offset=offset,
                hint=CUT_SHORT,
            )
        return data

    def read_ranges(self, ranges: Sequence[tuple[int, int]], what: str) -> list[bytes]:
        """The bytes of each (offset, length), as `read_exact` gives them; in parallel at best."""
        return [self.read_exact(offset, length, what) for offset, length in ranges]

    def gather(self, offsets: npt.NDArray[np.uint64], size: int) -> npt.NDArray[np.uint8]:
        """`size` bytes at each offset, as an array of shape (len(offsets), size).

        All of them must lie in the source. Raises ReadError, CorruptImageError.
        """
        import numpy as np

        from . import _native

        if self.can_be_read_natively or not len(offsets):
            found: npt.NDArray[np.uint8] = _native.gather(self, offsets, size)
            return found
        from .ranges import join_ranges

        starts = offsets.astype(np.int64)
        spans = join_ranges(starts, starts + size, min(GATHER_GAP, size))
        lengths = spans.highs - spans.lows
        wanted = list(zip(spans.lows.tolist(), lengths.tolist(), strict=True))
        whole = np.frombuffer(b"".join(self.read_ranges(wanted, "table")), np.uint8)
        places = (np.cumsum(lengths) - lengths - spans.lows)[spans.group] + starts[spans.order]
        out = np.empty((len(offsets), size), np.uint8)
        windows = np.lib.stride_tricks.sliding_window_view(whole, size)
        out[spans.order] = windows[places]
        return out

    def find_zeros(self, offset: int, length: int) -> tuple[npt.NDArray[np.int64], int]:
        """(ranges that read as zeros, where the answer ends), for a prefix of the range.

        Ranges are rows of (start, end), ascending, within the prefix; where it does not know,
        nothing is zero. length > 0, and the prefix has at least one byte. Raises ReadError.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Give the descriptor back. May be called twice."""


class MemorySource(Source):
    """Bytes that exist nowhere else, such as sectors replayed from a log."""

    def __init__(self, memory: bytes, path: str) -> None:
        self.memory = memory
        self.size = len(memory)
        self.path = path

    def fileno(self) -> None:
        return None

    def read(self, offset: int, length: int) -> bytes:
        assert self.memory is not None
        return self.memory[offset : offset + length]


class FileSlice(Source):
    """The bytes [offset, offset + length) of another source.

    It owns that source. Raises CorruptImageError where the range leaves it.
    """

    def __init__(self, whole: Source, offset: int, length: int, path: str) -> None:
        if offset < 0 or length < 0 or offset + length > whole.size:
            raise CorruptImageError(
                f"{path} is said to take [{offset:#x}, {offset + length:#x}), the file has "
                f"{whole.size} bytes",
                path=whole.path,
                hint="the file is cut short: copy it again and compare checksums",
            )
        self.whole = whole
        self.start = whole.start + offset
        self.size = length
        self.path = path
        self.knows_holes = whole.knows_holes
        self.knows_zeros = whole.knows_zeros
        self.stream = whole.stream
        self._offset = offset

    def fileno(self) -> int | None:
        return self.whole.fileno()

    def read(self, offset: int, length: int) -> bytes:
        return self.whole.read(self._offset + offset, max(0, min(length, self.size - offset)))

    def read_ranges(self, ranges: Sequence[tuple[int, int]], what: str) -> list[bytes]:
        if any(offset + length > self.size for offset, length in ranges):
            return super().read_ranges(ranges, what)  # which says where the slice ends
        moved = [(self._offset + offset, length) for offset, length in ranges]
        return self.whole.read_ranges(moved, what)

    def find_zeros(self, offset: int, length: int) -> tuple[npt.NDArray[np.int64], int]:
        ranges, end = self.whole.find_zeros(self._offset + offset, length)
        return ranges - self._offset, end - self._offset

    @property
    def directories(self) -> tuple[str, ...]:
        return self.whole.directories

    @property
    def lies_on_device(self) -> bool:
        return self.whole.lies_on_device

    @property
    def identity(self) -> tuple[object, ...]:
        return (*self.whole.identity, self.start, self.size)

    def is_same_file(self, path: str) -> bool:
        return self.whole.is_same_file(path)

    def check_unchanged(self) -> None:
        self.whole.check_unchanged()

    def close(self) -> None:
        self.whole.close()


class SourceFile(Source):
    """A file or block device opened for reading.

    follow: whether the file may be a symbolic link. Raises ImageError where it is missing, a
    directory or not readable.
    """

    def __init__(self, path: str | os.PathLike[str], follow: bool = True) -> None:
        self.path = os.fspath(path)
        # Without O_NONBLOCK the open of a pipe would wait for a writer that may never come.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
        try:
            self._fd = os.open(self.path, flags)
        except OSError as error:
            raise _cannot_open(self.path, error) from error
        try:
            status = os.fstat(self._fd)
            if stat.S_ISDIR(status.st_mode):
                raise ImageError(
                    "this is a directory, not a disk image",
                    path=self.path,
                    hint="name one of the images in it",
                )
            self.is_device = stat.S_ISBLK(status.st_mode)
            if not self.is_device and not stat.S_ISREG(status.st_mode):
                raise ImageError(
                    "neither a regular file nor a block device; an image is read out of order",
                    path=self.path,
                    hint="save the stream to a file first",
                )
            self.knows_holes = not self.is_device
            self.seen = Identity.of(self._fd)
            self.size = self.seen.size
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        return self._fd

    def read(self, offset: int, length: int) -> bytes:
        try:
            return pread_all(self._fd, offset, min(length, self.size - offset))
        except OSError as error:
            raise ReadError(
                f"reading failed: {error.strerror}", path=self.path, offset=offset
            ) from error

    @property
    def directories(self) -> tuple[str, ...]:
        """That of the name it was opened by; then, where that is a link, the file's own."""
        named = os.path.dirname(os.path.abspath(self.path))
        real = os.path.dirname(os.path.realpath(self.path))
        return (named,) if real == os.path.realpath(named) else (named, real)

    @property
    def identity(self) -> tuple[object, ...]:
        return (self.seen.device, self.seen.inode)

    def is_same_file(self, path: str) -> bool:
        try:
            status = os.stat(path)
        except OSError:
            return False
        if self.is_device:
            return stat.S_ISBLK(status.st_mode) and status.st_rdev == os.fstat(self._fd).st_rdev
        return (status.st_dev, status.st_ino) == (self.seen.device, self.seen.inode)

    def check_unchanged(self) -> None:
        now = Identity.of(self._fd)
        if now == self.seen:
            return
        if now.size != self.seen.size:
            what = f"its size went from {self.seen.size} to {now.size} bytes"
        else:
            what = "it was written to"
        raise SourceChangedError(
            f"the source changed while it was read: {what}",
            path=self.path,
            hint="stop what uses the image (a running machine?) or copy a snapshot of it",
        )

    def close(self) -> None:
        fd, self._fd = getattr(self, "_fd", -1), -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def __enter__(self) -> SourceFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _cannot_open(path: str, error: OSError) -> ImageError:
    hints = {
        FileNotFoundError: "check the name",
        PermissionError: "you may not read it: check its permissions",
    }
    hint = hints.get(type(error))
    if error.errno in (errno.EMFILE, errno.ENFILE):
        hint = "allow more open files (ulimit -n), or join the parts of the disk first"
    return ImageError(f"cannot be opened: {error.strerror}", path=path, hint=hint)
