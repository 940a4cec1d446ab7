"""Examinations of a directory, with a file to try things on that never has a name for long."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

from ..scratch import scratch_file
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
