"""Files that an image names (its parent, its extents): which of them may be opened.

An image is data from a stranger, and so is every name in it. By default an image may refer only to
files that lie directly in its own directory; docs/internals/safety.md says more.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TypeVar

from .errors import (
    ImageError,
    InvalidImageError,
    MissingReferenceError,
    UnsafeReferenceError,
    printable,
)
from .files import Source, SourceFile

__all__ = ["MAX_DEPTH", "MAX_FILES", "References"]

AnySource = TypeVar("AnySource", bound=Source)

MAX_DEPTH = 128  # images on top of each other
MAX_FILES = 4096  # files of one image, with those of its parents
MAX_NAME = 4096  # bytes

# Two letters at least: a drive letter of Windows begins no URL.
_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


class References:
    """What the images of one opening may refer to, and the files that were opened for them.

    allowed: files, or directories with everything below them, that may be named by any image.
    allow_all: every file may be named.
    """

    def __init__(
        self, allowed: Iterable[str | os.PathLike[str]] = (), allow_all: bool = False
    ) -> None:
        self._allowed = tuple(os.path.realpath(path) for path in allowed)
        self._allow_all = allow_all
        self._opened: list[Source] = []

    def open(self, referrer: Source, name: str, what: str) -> SourceFile:
        """Open the file that an image names, relative to the image's own directory.

        name: as it stands in the image, with slashes. what: "backing file", "extent" …, for
        messages. Raises UnsafeReferenceError, MissingReferenceError, InvalidImageError, ImageError.
        """
        path = self._path(referrer, name, what)
        try:
            source = SourceFile(path)
        except ImageError as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                raise MissingReferenceError(
                    f"the {what} {printable(name)!r} is not there (looked for {path})",
                    path=referrer.path,
                    hint="put it beside the image under this name",
                ) from error
            raise
        return self.keep(source)

    def open_named(self, path: str) -> SourceFile:
        """Open a file that the user named: no question whether it is allowed."""
        return self.keep(SourceFile(path))

    def keep(self, source: AnySource) -> AnySource:
        """Remember a source, so that a failed opening can close it. Raises InvalidImageError."""
        self._opened.append(source)
        if len(self._opened) > MAX_FILES:
            raise InvalidImageError(
                f"the image refers to more than {MAX_FILES} files", path=source.path
            )
        return source

    def close(self) -> None:
        """Close what was opened: for an opening that failed."""
        for source in self._opened:
            source.close()
        self._opened.clear()

    def _path(self, referrer: Source, name: str, what: str) -> str:
        if not _can_be_a_name(name):
            raise InvalidImageError(
                f"the {what} has the name {printable(name)!r}, which no file can have",
                path=referrer.path,
            )
        protocol = _PROTOCOL.match(name)
        if protocol is not None and protocol.group(1).lower() == "file":
            name = name[protocol.end() :]
        elif protocol is not None:
            raise UnsafeReferenceError(
                f"the {what} is {printable(name)!r}: only plain files are followed, no URLs and no "
                f"{protocol.group(1)}: descriptions",
                path=referrer.path,
                hint="copy that disk to a file beside the image, and make the image refer to it",
            )
        if not referrer.directories:
            raise UnsafeReferenceError(
                f"the {what} is {printable(name)!r}, and the image itself lies in no directory",
                path=referrer.path,
                hint="copy the image and what it refers to into one directory first",
            )
        choices = [os.path.join(directory, name) for directory in referrer.directories]
        path = os.path.realpath(next((p for p in choices if os.path.lexists(p)), choices[0]))
        if not self._allows(path, referrer):
            raise UnsafeReferenceError(
                f"the {what} is {printable(name)!r}, which lies outside the image's own directory",
                path=referrer.path,
                hint=f"if you trust the image, say --allow-reference {path}",
            )
        return path

    def _allows(self, path: str, referrer: Source) -> bool:
        if self._allow_all:
            return True
        own = {os.path.realpath(directory) for directory in referrer.directories}
        if os.path.dirname(path) in own:
            return True
        return any(
            path == allowed or path.startswith(allowed.rstrip(os.sep) + os.sep)
            for allowed in self._allowed
        )


def _can_be_a_name(name: str) -> bool:
    try:
        return 0 < len(os.fsencode(name)) <= MAX_NAME and "\0" not in name
    except UnicodeEncodeError:  # half of a UTF-16 pair
        return False
