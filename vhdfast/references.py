"""Files that an image names (its parent, its extents): which of them may be opened.

An image is data from a stranger, and so is every name in it. By default an image may refer only to
files that lie directly in its own directory; docs/internals/safety.md says more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import stat
from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

from .errors import (
    ImageError,
    InvalidImageError,
    MissingReferenceError,
    UnsafeReferenceError,
    printable,
)
from .files import Source, SourceFile, open_source

__all__ = ["MAX_DEPTH", "MAX_FILES", "References"]

AnySource = TypeVar("AnySource", bound=Source)

MAX_DEPTH = 128  # images on top of each other
MAX_FILES = 4096  # files of one image, with those of its parents
MAX_NAME = 4096  # bytes
SHOWN_NAME = 256  # characters of a name where a message lists several

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
        return self.keep(self._open_at(path, referrer, name, what))

    def open_first(
        self,
        referrer: Source,
        names: Sequence[str],
        what: str,
        not_these: Collection[tuple[object, ...]] = (),
    ) -> SourceFile:
        """Open the first of several names for one file that leads to one, each as `open` would.

        A name that may not be followed does not stand in the way of a later one that may.
        not_these: identities of files that are only taken where no name leads to another one.

        Raises UnsafeReferenceError where a name was refused, MissingReferenceError otherwise,
        naming all that was looked for; and what `open` raises for a file that is there.
        """
        refusals: list[ImageError] = []
        with contextlib.ExitStack() as spare:
            last_resort: SourceFile | None = None
            for name in names:
                try:
                    path = self._path(referrer, name, what)
                    source = self._open_at(path, referrer, name, what)
                except (UnsafeReferenceError, MissingReferenceError, InvalidImageError) as error:
                    refusals.append(error)
                    continue
                if source.identity not in not_these:
                    return self.keep(source)
                last_resort = spare.enter_context(source)
            if last_resort is not None:
                return self.keep(SourceFile(last_resort.path, follow=False))
        raise _none_of(names, refusals, referrer, what)

    def _open_at(self, path: str, referrer: Source, name: str, what: str) -> SourceFile:
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError):
            mode = 0  # SourceFile says what is wrong
        # Opening some devices does something to them: a name must not lead there.
        if stat.S_ISCHR(mode):
            raise UnsafeReferenceError(
                f"the {what} {printable(name)!r} is a character device, expected a file",
                path=referrer.path,
                hint="make the image refer to a disk",
            )
        # An image that is read from /dev/stdin lies in /dev, too.
        if stat.S_ISBLK(mode) and not self._is_allowed(path):
            raise UnsafeReferenceError(
                f"the {what} {printable(name)!r} is a block device, expected a file",
                path=referrer.path,
                hint=f"if you trust the image, say --allow-reference "
                f"{shlex.quote(printable(path, MAX_NAME))}",
            )
        try:
            # Links were followed before it was decided: one that is there now is another file.
            return SourceFile(path, follow=False)
        except ImageError as error:
            cause = error.__cause__
            if isinstance(cause, FileNotFoundError | NotADirectoryError):
                raise MissingReferenceError(
                    f"the {what} {printable(name)!r} is not there (looked for {printable(path)})",
                    path=referrer.path,
                    hint="put it beside the image under this name",
                ) from error
            if isinstance(cause, OSError) and cause.errno == errno.ENAMETOOLONG:
                raise _impossible(referrer, name, what) from error
            raise

    def open_named(self, path: str) -> Source:
        """Open what the user named, a URL too: no question whether it is allowed."""
        return self.keep(open_source(path))

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
            raise _impossible(referrer, name, what)
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
        if name.startswith("//"):  # which POSIX would keep
            name = "/" + name.lstrip("/")
        choices = [os.path.join(directory, name) for directory in referrer.directories]
        path = os.path.realpath(next((p for p in choices if os.path.lexists(p)), choices[0]))
        if not self._allows(path, referrer):
            raise UnsafeReferenceError(
                f"the {what} is {printable(name)!r}, which lies outside the image's own directory",
                path=referrer.path,
                hint="if you trust the image, say --allow-reference "
                f"{shlex.quote(printable(path, MAX_NAME))}",
            )
        return path

    def _allows(self, path: str, referrer: Source) -> bool:
        own = {os.path.realpath(directory) for directory in referrer.directories}
        # Beside a device lie the machine's other disks.
        if os.path.dirname(path) in own and not referrer.lies_on_device:
            return True
        return self._is_allowed(path)

    def _is_allowed(self, path: str) -> bool:
        """Whether the user said so."""
        return self._allow_all or any(
            path == allowed or path.startswith(allowed.rstrip(os.sep) + os.sep)
            for allowed in self._allowed
        )


def _none_of(
    names: Sequence[str], refusals: Sequence[ImageError], referrer: Source, what: str
) -> ImageError:
    """Why none of several names led to a file: the gravest reason, and all the names."""
    missing = [error for error in refusals if isinstance(error, MissingReferenceError)]
    if len(refusals) == 1 and not missing:
        return refusals[0]
    unsafe = next((error for error in refusals if isinstance(error, UnsafeReferenceError)), None)
    listed = ", ".join(repr(printable(name, SHOWN_NAME)) for name in names)
    if unsafe is not None:
        return UnsafeReferenceError(
            f"{unsafe.message}, and no other name leads to it (looked for {listed})",
            path=referrer.path,
            hint=unsafe.hint,
        )
    if not missing:
        return refusals[0]
    several = len(names) > 1
    return MissingReferenceError(
        f"the {what} is not there (looked for {listed})" if several else missing[0].message,
        path=referrer.path,
        hint="put it beside the image under "
        f"{'one of these names' if several else 'this name'}, or name it with --parent FILE",
    )


def _impossible(referrer: Source, name: str, what: str) -> InvalidImageError:
    return InvalidImageError(
        f"the {what} has the name {printable(name)!r}, which no file can have", path=referrer.path
    )


def _can_be_a_name(name: str) -> bool:
    try:
        return 0 < len(os.fsencode(name)) <= MAX_NAME and "\0" not in name
    except UnicodeEncodeError:  # half of a UTF-16 pair
        return False
