"""Examinations of a directory, with a file to try things on that never has a name for long."""

from __future__ import annotations

import contextlib
import os
import tempfile
from abc import abstractmethod
from collections.abc import Iterator

from .base import Examination, Item, Request

__all__ = ["DirectoryExamination", "scratch_file"]


class DirectoryExamination(Examination):
    """One that makes a file; where none can be made, `Directory` has said so."""

    group = "directory"

    @abstractmethod
    def look(self, directory: str) -> Iterator[Item]:
        """What is found. May raise OSError."""

    def run(self, request: Request) -> Iterator[Item]:
        try:
            with scratch_file(request.directory):
                pass
        except OSError:
            return
        yield from self.look(request.directory)


@contextlib.contextmanager
def scratch_file(directory: str, flags: int = 0) -> Iterator[int]:
    """A descriptor of an empty file that is gone as soon as it is closed. Raises OSError."""
    fd = -1
    if hasattr(os, "O_TMPFILE"):
        with contextlib.suppress(OSError):  # not every file system has such files
            fd = os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC | flags, 0o600)
    if fd < 0:
        fd, path = tempfile.mkstemp(prefix=".vhdfast-doctor-", dir=directory)
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
