"""The locks that qemu's programs hold on images, so that two of them do not spoil one.

Source: QEMU, docs/interop and docs/system on image locking: open file description locks on single
bytes, from byte 100 on for what a process does with the file, from byte 200 on for what it does not
want others to do; the second and the fourth of each are writing and resizing.
"""

from __future__ import annotations

import fcntl
import struct

__all__ = ["is_opened_elsewhere", "is_written_elsewhere"]

# struct flock: type, whence, start, length, process.
_FLOCK = struct.Struct("hhqqi4x")
WRITES = 101
RESIZES = 103
DENIES_READING = 200


def is_written_elsewhere(fd: int) -> bool:
    """Whether a process has locked the file to write to it, or so that none may read it."""
    return any(_is_locked(fd, byte) for byte in (WRITES, RESIZES, DENIES_READING))


def _is_locked(fd: int, byte: int) -> bool:
    # As a reader asks: only a lock that a shared one would conflict with is told. Locks of qemu
    # are shared ones, so an exclusive one is asked for; reading suffices to ask.
    request = _FLOCK.pack(fcntl.F_WRLCK, 0, byte, 1, 0)
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, request)
    except OSError:
        return False  # a file system without locks: qemu goes on without them, too
    kind: int = _FLOCK.unpack(answer)[0]
    return kind != fcntl.F_UNLCK


def is_opened_elsewhere(fd: int) -> bool:
    """Whether anything else has the file open, this process included: then it may not be replaced.

    A write lease is given only where nothing has. True where the file system cannot tell.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return True
    return False
