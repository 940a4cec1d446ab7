"""Whether another program uses a file, and keeping others away while it is changed.

Source: fcntl(2), "Leases" and "Open file description locks"; qemu's image locking (its manual,
"Disk image file locking"): qemu holds read locks on single bytes of every image that it has open.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import InUseError, NoSpaceError, TargetError, WriteError

__all__ = ["Held", "failures", "held", "open_alone"]

_FLOCK = struct.Struct("@hhqqi0q")  # struct flock: type, whence, start, length, process
_BUSY = (errno.EAGAIN, errno.EACCES)
HINT = "shut down the machine that uses the disk, or what else has the file open"


def open_alone(path: str) -> int:
    """A descriptor to read and write, locked against others until it is closed.

    Raises InUseError where another program has the file open for writing or holds a lock on it, as
    a running qemu does; TargetError where it is no regular file or may not be written. File systems
    that know neither leases nor locks cannot tell.
    """
    try:
        _look_at_it(path)
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        raise TargetError(
            f"cannot be opened for writing: {error.strerror}",
            path=path,
            hint="check its permissions, and those of what it lies on",
        ) from error
    try:
        _lock(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _look_at_it(path: str) -> None:
    """Raise where the file cannot be changed, or where another program may write to it.

    A read lease is granted only where no descriptor of any process may.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise TargetError(
                "this is no regular file; only those are changed in place",
                path=path,
                hint="copy the device to a file first",
            )
        # Who opens it while the lease lasts has a signal sent to us: one that is ignored.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except (OSError, AttributeError) as error:
        # EACCES: another user's file, on which only root gets a lease.
        if getattr(error, "errno", None) == errno.EAGAIN:
            raise InUseError(
                "another program has the file open for writing", path=path, hint=HINT
            ) from error
    finally:
        os.close(fd)


def _lock(fd: int, path: str) -> None:
    """Against another vhdfast, and against a qemu that starts meanwhile: all bytes, to any size."""
    # Not flock besides: network file systems turn that into a lock that this one would run into.
    try:
        if hasattr(fcntl, "F_OFD_SETLK"):
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        else:  # systems other than Linux
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            raise InUseError(
                "another program holds a lock on the file", path=path, hint=HINT
            ) from error


@dataclass(frozen=True, slots=True)
class Held:
    """A file that is changed: locked, and its name without links when it was opened.

    asked: the name that was asked for, without links, which its undo file may be called after: that
    of an interrupted change that renames it may have been called so before, or afterwards.
    """

    fd: int
    path: str
    asked: str


@contextlib.contextmanager
def held(path: str | os.PathLike[str], where: str | None = None) -> Iterator[Held]:
    """where: the name that the file has, if not `path` (`keeping.where_it_is`)."""
    real = os.path.realpath(path)
    fd = open_alone(where or real)
    try:
        yield Held(fd, where or real, real)
    finally:
        os.close(fd)


@contextlib.contextmanager
def failures(path: str, what: str, hint: str | None = None) -> Iterator[None]:
    """OSError as the errors of this library."""
    try:
        yield
    except OSError as error:
        text = f"{what}: {error.strerror}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(text, path=path, hint="free some space") from error
        raise WriteError(text, path=path, hint=hint) from error
