"""What every output is: a subclass of Output, registered by existing.

The life of a target: `constraints` decide its size, `create` makes it under a name of its own,
workers write through `sink`, `seal` makes it durable and complete, `publish` gives it its final
name; `abort` leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import _native
from ..errors import (
    InternalError,
    NoSpaceError,
    TargetError,
    TargetExistsError,
    TargetTooLargeError,
    WriteError,
)
from ..renaming import rename_without_replacing
from ..streams import Spool
from ..units import SECTOR, format_bytes

__all__ = [
    "NO_SPACE",
    "OUTPUTS",
    "Constraints",
    "FileOutput",
    "Output",
    "TargetOptions",
]


NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Constraints:
    """What an output demands of the virtual disk, in bytes."""

    alignment: int  # what sizes are rounded up to unless the user says otherwise
    max_size: int  # of the virtual disk
    overhead: int  # what the file holds beyond the virtual disk


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """How a target is made."""

    force: bool = False  # replace an existing file, by the rename at the end
    allocate: bool = False  # reserve every byte
    unique_id: str | None = None  # UUID of the disk, random where None
    timestamp: float | None = None  # Unix seconds, now where None


class Output(ABC):
    """One kind of target."""

    name: ClassVar[str]  # what --to takes
    title: ClassVar[str]
    suffix: ClassVar[str]
    constraints: ClassVar[Constraints]
    note: ClassVar[str] = ""  # what people should know before they choose it

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            return
        if cls.name in OUTPUTS:
            raise TypeError(f"two outputs call themselves {cls.name!r}")
        OUTPUTS[cls.name] = cls

    def __init__(self, path: str, virtual_size: int, options: TargetOptions) -> None:
        self.path = path
        self.virtual_size = virtual_size
        self.options = options

    @abstractmethod
    def create(self) -> None:
        """Make the target, empty and reading as zeros, under a temporary name."""

    @abstractmethod
    def sink(self, allocate_ahead: bool) -> _native.Sink:
        """What workers write to.

        allocate_ahead: whether blocks are made before it is known that all of them are needed;
        that is faster where most are.
        """

    @abstractmethod
    def seal(self) -> None:
        """All data is written: make it durable and complete it, still under its temporary name."""

    @property
    @abstractmethod
    def sealed_path(self) -> str:
        """Where the target can be read between `seal` and `publish`."""

    @abstractmethod
    def publish(self) -> None:
        """Give the target its final name, durably."""

    @abstractmethod
    def abort(self) -> None:
        """Leave nothing behind. May be called at any time and more than once."""


OUTPUTS: dict[str, type[Output]] = {}


class FileOutput(Output):
    """A regular file, written beside its final name and renamed at the end.

    It holds the disk as it is, target offset = virtual offset, or, where there is a block_size,
    the blocks of the disk that are not all zero, each where `place` says.
    """

    format_name: ClassVar[str]  # the image format that reads it back
    block_size: ClassVar[int] = 0  # bytes
    block_head: ClassVar[bytes] = b""  # stands before a block's bytes: whole granules

    def __init__(self, path: str, virtual_size: int, options: TargetOptions) -> None:
        super().__init__(os.path.realpath(path), virtual_size, options)
        directory, name = os.path.split(self.path)
        self.directory = directory
        # Hidden, and short enough for file systems that allow 255 bytes.
        short = os.fsdecode(os.fsencode(name)[:200])
        self._temporary = os.path.join(directory, f".{short}.{secrets.token_hex(4)}.part")
        self._fd = -1
        self._direct_fd = -1
        self._created = False
        chosen = options.unique_id
        self.unique_id = uuid.uuid4() if chosen is None else uuid.UUID(chosen)

    @property
    def file_size(self) -> int:
        """Bytes of the file with all that is placed so far."""
        return self.virtual_size + self.constraints.overhead

    def overhead(self, blocks: int) -> int:
        """Bytes of the file besides the disk's, where it holds so many blocks."""
        return self.constraints.overhead

    def largest_file(self, blocks: int) -> int:
        """Bytes that the file has at most, where so many blocks hold data."""
        held = blocks * self.block_size if self.block_size else self.virtual_size
        return held + self.overhead(blocks)

    def place(self, block: int) -> int:
        """Where in the file block_head and then this block go: a multiple of the granule.

        Called once for each block that is not all zero, in ascending order, so that the same disk
        makes the same file.
        """
        raise NotImplementedError

    @property
    def sealed_path(self) -> str:
        return self._temporary

    def check_target(self) -> None:
        """Raise TargetError where the final name cannot become a file of ours."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            if not os.path.isdir(self.directory):
                raise TargetError(
                    f"the directory {self.directory} does not exist",
                    path=self.path,
                    hint="create it, or choose another target",
                ) from None
            if not os.access(self.directory, os.W_OK | os.X_OK):
                raise self._not_writable("you may not write to its directory") from None
            return
        except OSError as error:
            raise TargetError(f"cannot be used: {error.strerror}", path=self.path) from error
        if stat.S_ISBLK(status.st_mode):
            raise TargetError(
                "the target is a block device, which this version does not write to",
                path=self.path,
                hint="write a file, then copy it with dd",
            )
        if not stat.S_ISREG(status.st_mode):
            raise TargetError("the target is not a regular file", path=self.path)
        if not self.options.force:
            raise TargetExistsError(
                "the target exists", path=self.path, hint="choose another name, or say --force"
            )
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise self._not_writable("you may not write to its directory")

    def _not_writable(self, reason: str) -> TargetError:
        return TargetError(
            f"cannot be created: {reason}", path=self.path, hint="choose another directory"
        )

    def create(self) -> None:
        self.check_target()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._created = True  # before the name exists: a signal may come between
        try:
            self._fd = os.open(self._temporary, flags, 0o666)
        except OSError as error:
            self._created = False
            raise self._not_writable(error.strerror or "unknown error") from error
        try:
            self._set_size()
        except (OSError, OverflowError) as error:
            raise self._cannot_hold(error) from error
        with contextlib.suppress(OSError, AttributeError):
            self._direct_fd = os.open(self._temporary, os.O_WRONLY | os.O_CLOEXEC | os.O_DIRECT)

    def adopt(self, spool: Spool, disk_size: int) -> bool:
        """Take an unpacked stream as the target: its first disk_size bytes are the disk.

        The same as `create` and a copy of all of them; what lies behind the disk is cut off. False
        where the system cannot give the file a name: then nothing has changed.
        """
        self.check_target()
        self._created = True  # before the name exists: a signal may come between
        fd = spool.keep_as(self._temporary)
        if fd is None:
            self._created = False
            return False
        self._fd = fd
        try:
            # Bytes behind the disk must read as zeros afterwards, so they go before it grows.
            os.ftruncate(self._fd, disk_size)
            self._set_size()
        except (OSError, OverflowError) as error:
            raise self._cannot_hold(error) from error
        return True

    def _set_size(self) -> None:
        os.ftruncate(self._fd, self.file_size)
        if self.options.allocate:
            os.posix_fallocate(self._fd, 0, self.file_size)

    def _cannot_hold(self, error: OSError | OverflowError) -> Exception:
        number = error.errno if isinstance(error, OSError) else errno.EFBIG
        size = format_bytes(self.file_size)
        if number in NO_SPACE:
            return NoSpaceError(
                f"the file system has no room for {size}",
                path=self.path,
                hint="free some space or choose another file system",
            )
        if number in (errno.EFBIG, errno.EINVAL):
            return TargetTooLargeError(
                f"the file system cannot hold a file of {size}",
                path=self.path,
                hint="choose another file system (ext4 holds 16 TiB, XFS 8 EiB)",
            )
        return WriteError(f"cannot be sized: {error}", path=self.path)

    def sink(self, allocate_ahead: bool) -> _native.Sink:
        return _native.Sink(
            self._fd,
            self.largest_file(-(-self.virtual_size // self.block_size) if self.block_size else 0),
            self.path,
            self._direct_fd,
            # What is allocated already must not be given back where it is zero.
            allocate_ahead=allocate_ahead and not self.options.allocate,
        )

    def patch(self, offset: int, data: bytes) -> None:
        """Put other bytes in the place of the disk's, after the copy and before `seal`.

        Raises InternalError for what leaves the disk, WriteError, NoSpaceError.
        """
        if offset < 0 or offset + len(data) > self.virtual_size:
            raise InternalError(f"a patch of {len(data)} bytes at {offset} leaves the disk")
        view = memoryview(data)
        try:
            while view:
                count = os.pwrite(self._fd, view, offset)
                view, offset = view[count:], offset + count
        except OSError as error:
            raise self._write_failed(error) from error

    def _write_failed(self, error: OSError) -> Exception:
        if error.errno in NO_SPACE:
            return self._cannot_hold(error)
        return WriteError(f"writing failed: {error.strerror}", path=self.path)

    def trailer(self) -> bytes:
        """What stands behind the disk's bytes; written once they are durable."""
        return b""

    def last_writes(self) -> list[tuple[int, bytes]]:
        """(offset, bytes) of all but the disk's, in the order of writing, once that is durable."""
        trailer = self.trailer()
        return [(self.virtual_size, trailer)] if trailer else []

    def seal(self) -> None:
        try:
            if self.block_size:  # how large the file becomes is known now
                self._set_size()
            os.fsync(self._fd)
            last = self.last_writes()
            for offset, data in last:
                if os.pwrite(self._fd, data, offset) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if last:
                os.fsync(self._fd)
        except OSError as error:
            raise self._write_failed(error) from error

    def allocated(self) -> int:
        """Bytes that the file takes on its file system."""
        return os.fstat(self._fd).st_blocks * SECTOR

    def publish(self) -> None:
        try:
            if self.options.force:
                os.replace(self._temporary, self.path)
            else:
                rename_without_replacing(self._temporary, self.path)
            self._created = False
            self._sync_directory()
        except FileExistsError as error:
            raise TargetExistsError(
                "the target appeared while it was being written",
                path=self.path,
                hint="choose another name, or say --force",
            ) from error
        except OSError as error:
            raise WriteError(f"renaming failed: {error.strerror}", path=self.path) from error
        self._close()

    def _sync_directory(self) -> None:
        # Some network file systems refuse this; the file itself is durable, and has its name.
        with contextlib.suppress(OSError):
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _close(self) -> None:
        for fd in (self._fd, self._direct_fd):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self._fd = self._direct_fd = -1

    def abort(self) -> None:
        self._close()
        if self._created:
            self._created = False
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
