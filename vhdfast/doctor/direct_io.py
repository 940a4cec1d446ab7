"""Direct I/O, past the page cache: what large writes of data use where it works."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator

from .base import Item, State
from .scratch import DirectoryExamination, scratch_file

__all__ = ["DirectIo"]

# Offsets and lengths that are tried; native code writes whole granules of 4096 bytes.
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 65536)
GRANULE = 4096


class DirectIo(DirectoryExamination):
    """The smallest write that the file system takes."""

    name = "direct-io"
    order = 32

    def look(self, directory: str) -> Iterator[Item]:
        try:
            with scratch_file(directory, getattr(os, "O_DIRECT", 0)) as fd:
                alignment = _alignment(fd) if hasattr(os, "O_DIRECT") else None
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            alignment = None
        details = {"alignment": alignment}
        if alignment is None:
            yield Item(
                "direct I/O", State.NOTE, "not possible here: data goes through the page cache",
                None, details,
            )  # fmt: skip
        elif alignment > GRANULE:
            yield Item(
                "direct I/O", State.NOTE,
                f"only in units of {alignment} bytes: most data goes through the page cache",
                None, details,
            )  # fmt: skip
        else:
            yield Item(
                "direct I/O", State.OK, f"works, in units of {alignment} bytes", None, details
            )


def _alignment(fd: int) -> int | None:
    """Bytes; found by trying, since the system tells only from Linux 6.1 on, and not everywhere."""
    with mmap.mmap(-1, LENGTHS[-1]) as buffer:
        for length in LENGTHS:
            view = memoryview(buffer)[:length]
            try:
                # Its own length as offset: an offset of 0 is aligned to everything.
                if os.pwrite(fd, view, length) == length:
                    return length
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
            finally:
                view.release()
    return None
