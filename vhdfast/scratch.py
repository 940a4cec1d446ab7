"""Files to try things on, gone as soon as they are closed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

__all__ = ["scratch_file"]


@contextlib.contextmanager
def scratch_file(directory: str, flags: int = 0) -> Iterator[int]:
    """A descriptor of an empty file that never has a name for long. Raises OSError."""
    fd = -1
    if hasattr(os, "O_TMPFILE"):
        with contextlib.suppress(OSError):  # not every file system has such files
            fd = os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC | flags, 0o600)
    if fd < 0:
        fd, path = tempfile.mkstemp(prefix=".vhdfast-", dir=directory)
        try:
            if flags:
                os.close(fd)
                fd = -1
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags)
        finally:
            os.unlink(path)
    try:
        yield fd
    finally:
        os.close(fd)
