"""Where a stream is unpacked to: a sparse temporary file, which then is a source like any other."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from .. import _native
from ..errors import NoSpaceError, ReadError, TargetTooLargeError, WriteError
from ..files import Source, pread_all
from ..monitor import Monitor
from ..units import MAX_OFFSET, SECTOR

__all__ = ["Spool", "Unpacking"]

GRANULE = 4096


@dataclass(frozen=True, slots=True)
class Unpacking:
    """How streams are unpacked: what the caller of `open_format` wants of it.

    beside: a file (a target) in whose directory the temporary file is made, so that it can become
        that file; where the user chose another directory that is taken instead.
    before: called with the compressed source before a stream is unpacked, to refuse early.
    """

    monitor: Monitor | None = None
    jobs: int | None = None
    rate: int | None = None
    beside: str | None = None
    before: Callable[[Source], None] | None = None


class Spool(Source):
    """The unpacked bytes of a stream, in a file that has no name or is removed when it is closed.

    packed: the compressed file, which it owns. For messages and for files that the image refers to
    it stands for that file.
    """

    knows_holes = True

    def __init__(
        self, packed: Source, stream: str, content_name: str, directory: str, beside: str | None
    ) -> None:
        """beside: the file that this one may become, in `directory`; None where it stays nameless.

        Raises WriteError, NoSpaceError.
        """
        self.packed = packed
        self.path = packed.path
        self.stream = stream
        self._content_name = content_name
        self.size = 0
        self.directory = directory
        self.may_be_kept = beside is not None
        self._fd = -1
        self._name: str | None = None
        self._lock = threading.Lock()
        try:
            self._open(os.path.basename(beside or "unpacked"))
        except OSError as error:
            if self._fd < 0:
                self._name = None  # whatever has it is none of ours
            self.discard()
            raise self._failed(error, 0) from error
        except BaseException:
            self.discard()
            raise

    def _open(self, name: str) -> None:
        mode = 0o666 if self.may_be_kept else 0o600
        flags = os.O_RDWR | os.O_CLOEXEC
        if hasattr(os, "O_TMPFILE"):
            keep = 0 if self.may_be_kept else os.O_EXCL
            try:
                self._fd = os.open(self.directory, flags | os.O_TMPFILE | keep, mode)
                return
            except OSError as error:
                # EISDIR from kernels, EOPNOTSUPP and others from file systems that have no such.
                if error.errno in (errno.ENOENT, errno.EACCES, errno.ENOSPC, errno.EROFS):
                    raise
        short = os.fsdecode(os.fsencode(name)[:200])
        path = os.path.join(self.directory, f".{short}.{secrets.token_hex(4)}.part")
        self._name = path  # before it exists: a signal may come between
        self._fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
        if not self.may_be_kept:
            os.unlink(path)
            self._name = None

    # ---- being filled ---------------------------------------------------------------------------

    def write(self, offset: int, piece: bytes) -> None:
        """Put a piece in its place, granules of zeros becoming holes. From several threads."""
        view = memoryview(piece)
        head = min(-offset % GRANULE, len(view))
        if not _native.is_zero(view[:head]):
            self._write_all(offset, view[:head])
        rest = view[head:]
        for at, length in _native.data_runs(rest, GRANULE):
            self._write_all(offset + head + at, rest[at : at + length])

    def _write_all(self, offset: int, view: memoryview) -> None:
        while view:
            try:
                count = os.pwrite(self._fd, view, offset)
            except (OSError, OverflowError) as error:
                raise self._failed(error, offset) from error
            view, offset = view[count:], offset + count

    def complete(self, size: int) -> None:
        """All is written; the file has `size` bytes."""
        try:
            if size > MAX_OFFSET:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise self._failed(error, size) from error
        self.size = size

    def _failed(self, error: OSError | OverflowError, offset: int) -> Exception:
        number = error.errno if isinstance(error, OSError) else errno.EFBIG
        reason = os.strerror(number or errno.EIO)
        hint = "name a directory on another file system with --temporary"
        if number in (errno.ENOSPC, errno.EDQUOT):
            return NoSpaceError(
                f"no room to unpack it in {self.directory}, which has taken {offset} bytes of it: "
                f"{reason}",
                path=self.path,
                hint=f"free some space, or {hint}",
            )
        if number == errno.EFBIG:
            return TargetTooLargeError(
                f"unpacked it grows beyond what the file system of {self.directory} can hold: "
                f"{reason}",
                path=self.path,
                hint=hint,
            )
        return WriteError(
            f"cannot be unpacked in {self.directory}: {reason}", path=self.path, hint=hint
        )

    # ---- being kept -----------------------------------------------------------------------------

    @property
    def allocated(self) -> int:
        """Bytes that the file takes on its file system."""
        return os.fstat(self._fd).st_blocks * SECTOR

    def keep_as(self, path: str) -> int | None:
        """Give the file a name in its directory; returns a descriptor of it, the caller's own.

        From then on it is the caller's to remove. None where the system cannot.
        """
        descriptor = -1
        try:
            descriptor = os.dup(self._fd)
            if self._name is not None:
                os.rename(self._name, path)
                self._name = None
            else:
                # A directory descriptor makes Python use linkat, which alone follows the link.
                folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    own = f"/proc/self/fd/{self._fd}"
                    os.link(own, path, src_dir_fd=folder, follow_symlinks=True)
                finally:
                    os.close(folder)
            return descriptor
        except OSError:
            if descriptor >= 0:
                os.close(descriptor)
            return None

    # ---- a source -------------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._fd

    def read(self, offset: int, length: int) -> bytes:
        try:
            return pread_all(self._fd, offset, min(length, self.size - offset))
        except OSError as error:
            raise ReadError(
                f"reading the unpacked image failed: {error.strerror}",
                path=self.path,
                offset=offset,
            ) from error

    @property
    def name(self) -> str:
        return os.path.basename(self._content_name)

    @property
    def directories(self) -> tuple[str, ...]:
        return self.packed.directories

    @property
    def lies_on_device(self) -> bool:
        return self.packed.lies_on_device

    @property
    def identity(self) -> tuple[object, ...]:
        return self.packed.identity

    def is_same_file(self, path: str) -> bool:
        return self.packed.is_same_file(path)

    def check_unchanged(self) -> None:
        self.packed.check_unchanged()

    def discard(self) -> None:
        """Give up the temporary file; the compressed one stays open. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)
        name, self._name = self._name, None
        if name is not None:
            with contextlib.suppress(OSError):
                os.unlink(name)

    def close(self) -> None:
        self.discard()
        self.packed.close()
