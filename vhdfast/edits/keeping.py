"""The undo files of a file: where they lie, which one counts, and their beginning and end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import UndoError, VhdfastError
from .locking import Held, failures
from .naming import sibling
from .record import DONE, STATE_OFFSET, UNDOING, Record
from .system import System

__all__ = [
    "finish",
    "free_place",
    "last_place",
    "last_record",
    "latest_undo_file",
    "mark",
    "names_with_undo_files",
    "nothing_kept",
    "save",
    "was_interrupted",
    "where_it_is",
]

Path = str | os.PathLike[str]

# Undo files of one file: changes on top of each other, of which the last is undone first.
MAX_KEPT = 99
_UNDO_FILE = re.compile(r"\.(.+)\.vhdfast-undo(?:-[0-9]+)?", re.DOTALL)
MAX_NAME = 200  # bytes of the file's name in that of its undo file


def _names(path: str, undo_file: str | None) -> list[str]:
    """Where undo files of a file may lie, the oldest first: one name where the user gave it."""
    if undo_file is not None:
        return [os.path.abspath(undo_file)]
    directory, name = os.path.split(path)
    # Hidden, and short enough for file systems that allow 255 bytes.
    raw = os.fsencode(name)
    short = name
    if len(raw) > MAX_NAME:
        short = os.fsdecode(raw[:MAX_NAME]) + f"-{hashlib.sha256(raw).hexdigest()[:16]}"
    base = os.path.join(directory, f".{short}.vhdfast-undo")
    return [base, *(f"{base}-{number}" for number in range(2, MAX_KEPT + 1))]


def names_with_undo_files(path: str) -> list[str]:
    """What files in the directory of `path` are or were called of which undo files lie there.

    Names that are cut in those of their undo files are not among them.
    """
    directory = os.path.dirname(path)
    try:
        there = os.listdir(directory or ".")
    except OSError:
        return []
    found = (_UNDO_FILE.fullmatch(name) for name in there)
    return [os.path.join(directory, name) for name in sorted({one[1] for one in found if one})]


def _open(undo_file: str, image: os.stat_result | None, access: int = os.O_RDWR) -> int | None:
    """A descriptor of an undo file, None where there is none.

    It decides what is written to the user's file, so it must be someone's who may write to that
    anyway. image: the status of the file that is changed; None where it is not known yet, and the
    undo file is only to tell where it is. Raises UndoError.
    """
    flags = access | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        fd = os.open(undo_file, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UndoError(f"cannot be opened: {error.strerror}", path=undo_file) from error
    status = os.fstat(fd)
    if image is not None and os.path.samestat(status, image):
        os.close(fd)
        raise UndoError(
            "this is the file that is changed, not an undo file",
            path=undo_file,
            hint="name another file, one that is not there yet",
        )
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise UndoError(
            "this is no regular file, and so no undo file",
            path=undo_file,
            hint="name one that is not there yet",
        )
    image = image or status
    trusted = status.st_uid in (os.geteuid(), 0, image.st_uid)
    loose = status.st_mode & ~image.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if trusted and not loose:
        return fd
    os.close(fd)
    raise UndoError(
        "this is no undo file to trust: another user may have written it",
        path=undo_file,
        hint="remove it if it is none of yours",
    )


def where_it_is(path: Path, undo_file: Path | None) -> str:
    """A file's name without links; that which an interrupted change has given it, where it is so.

    A crash may fall between the rename and the end of the undo file, which knows both names.
    Raises UndoError, WriteError.
    """
    real = os.path.realpath(path)
    with failures(real, "the undo file cannot be read"):
        return real if os.path.lexists(real) else _moved(real, undo_file) or real


def _moved(path: str, undo_file: Path | None) -> str | None:
    for place in reversed(_names(path, None if undo_file is None else os.fspath(undo_file))):
        # Whose undo file it is is asked again, when it is opened for the file that was found.
        fd = _open(place, None, os.O_RDONLY)
        if fd is None:
            continue
        try:
            record = Record.read(fd, place)
        finally:
            os.close(fd)
        name = os.path.basename(path)
        if record is not None and record.state != DONE and name in record.names:
            (other,) = {*record.names} - {name}
            found = sibling(path, other)
            return found if os.path.lexists(found) else None
    return None


@dataclass(frozen=True, slots=True)
class Kept:
    """An undo file that is there; record is None where it was never finished."""

    fd: int
    path: str
    record: Record | None


def latest_undo_file(
    path: str, status: os.stat_result, undo_file: Path | None, access: int = os.O_RDWR
) -> Kept | None:
    """The undo file of the last change. The caller closes it. Raises UndoError, OSError."""
    places = _names(path, None if undo_file is None else os.fspath(undo_file))
    for place in reversed(places):
        fd = _open(place, status, access)
        if fd is None:
            continue
        try:
            kept = Kept(fd, place, Record.read(fd, place))
            # What lies under a name of ours is ours; under one that was given it may be anything.
            if kept.record is None and undo_file is not None and not Record.is_begun(fd):
                raise UndoError(
                    "this is no undo file, and is left as it is",
                    path=place,
                    hint="name one that is not there yet, or remove this one",
                )
            return kept
        except BaseException:
            os.close(fd)
            raise
    return None


@contextlib.contextmanager
def last_record(file: Held, undo_file: Path | None) -> Iterator[tuple[Record, int, str]]:
    with failures(file.path, "the undo file cannot be read"):
        latest = latest_undo_file(file.asked, os.fstat(file.fd), undo_file)
    if latest is None:
        raise nothing_kept(file.path)
    try:
        if latest.record is None:
            raise nothing_kept(file.path)
        yield latest.record, latest.fd, latest.path
    finally:
        os.close(latest.fd)


def nothing_kept(path: str) -> VhdfastError:
    return UndoError(
        "there is no undo file of it, and so nothing to undo or to complete",
        path=path,
        hint="name it with --undo-file, if it lies elsewhere",
    )


def free_place(file: Held, path: str, undo_file: Path | None, system: System) -> str:
    """Where the next undo file goes: behind those that are kept of the file called `path`.

    Raises UndoError, OSError.
    """
    places = _names(path, None if undo_file is None else os.fspath(undo_file))
    latest = latest_undo_file(path, os.fstat(file.fd), undo_file)
    if latest is None:
        return places[0]
    os.close(latest.fd)
    if latest.record is None:
        system.remove(latest.path)
        return latest.path
    if latest.record.state != DONE:
        raise was_interrupted(latest.record, latest.path)
    behind = places.index(latest.path) + 1
    if behind == len(places):
        raise UndoError(
            "the undo file of an earlier change is there"
            if undo_file is not None
            else f"there are {MAX_KEPT} undo files of this file",
            path=latest.path,
            hint="choose another name, or remove what you will never undo",
        )
    return places[behind]


def save(record: Record, place: str, system: System) -> int:
    """Write an undo file, durable with its name, and return its descriptor. Raises OSError."""
    try:
        fd = system.create(place)
    except FileExistsError as error:
        raise UndoError("an undo file appeared meanwhile", path=place) from error
    try:
        system.write(fd, record.pack(), 0)
        system.sync(fd)
        system.sync_directory(place)
    except BaseException:
        os.close(fd)
        with contextlib.suppress(OSError):
            system.remove(place)
        raise
    return fd


def mark(kept: int, state: bytes, system: System) -> None:
    system.write(kept, state, STATE_OFFSET)
    system.sync(kept)


def last_place(
    file: Held, record: Record, place: str, undo_file: Path | None, keep: bool, system: System
) -> str | None:
    """Where an undo file lies at the end, beside the file under its new name; None: it is removed.

    Raises UndoError where it cannot lie there, OSError.
    """
    if not keep or not record.names or undo_file is not None:
        return place if keep else None
    path = sibling(file.path, record.names[1])
    return place if place in _names(path, None) else free_place(file, path, None, system)


def finish(kept: int, place: str, last: str | None, system: System) -> None:
    """The change is made: say so in the undo file, which then lies at `last`, or remove it."""
    if last is not None:
        if last != place:
            system.rename(place, last, False)
            system.sync_directory(last)
        mark(kept, DONE, system)
    else:
        system.remove(place)
        system.sync_directory(place)


def was_interrupted(record: Record, path: str) -> VhdfastError:
    what = "the undoing of a change" if record.state == UNDOING else "an earlier change"
    again = "convert --in-place" if record.title.startswith("convert ") else "repair --apply"
    return UndoError(
        f"{what} ({record.title}) was interrupted",
        path=path,
        hint=f"complete it: vhdfast {again}, or take it back: vhdfast repair --undo; if its undo "
        "file belongs to another file, remove that",
    )
