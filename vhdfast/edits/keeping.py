"""The undo files of a file: where they lie, which one counts, and their beginning and end."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import UndoError, VhdfastError
from .locking import Held, failures
from .record import DONE, STATE_OFFSET, UNDOING, Record
from .system import System

__all__ = [
    "finish",
    "free_place",
    "last_record",
    "latest_undo_file",
    "mark",
    "nothing_kept",
    "save",
    "was_interrupted",
]

Path = str | os.PathLike[str]

# Undo files of one file: changes on top of each other, of which the last is undone first.
MAX_KEPT = 99


def _names(path: str, undo_file: str | None) -> list[str]:
    """Where undo files of a file may lie, the oldest first: one name where the user gave it."""
    if undo_file is not None:
        return [os.path.abspath(undo_file)]
    directory, name = os.path.split(path)
    # Hidden, and short enough for file systems that allow 255 bytes.
    short = os.fsdecode(os.fsencode(name)[:200])
    base = os.path.join(directory, f".{short}.vhdfast-undo")
    return [base, *(f"{base}-{number}" for number in range(2, MAX_KEPT + 1))]


def _open(undo_file: str, image: os.stat_result, access: int = os.O_RDWR) -> int | None:
    """A descriptor of an undo file, None where there is none.

    It decides what is written to the user's file, so it must be someone's who may write to that
    anyway. image: the status of the file that is changed. Raises UndoError.
    """
    flags = access | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        fd = os.open(undo_file, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UndoError(f"cannot be opened: {error.strerror}", path=undo_file) from error
    status = os.fstat(fd)
    if os.path.samestat(status, image):
        os.close(fd)
        raise UndoError(
            "this is the file that is changed, not an undo file",
            path=undo_file,
            hint="name another file, one that is not there yet",
        )
    trusted = status.st_uid in (os.geteuid(), 0, image.st_uid)
    loose = status.st_mode & ~image.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if stat.S_ISREG(status.st_mode) and trusted and not loose:
        return fd
    os.close(fd)
    raise UndoError(
        "this is no undo file to trust: another user may have written it",
        path=undo_file,
        hint="remove it if it is none of yours",
    )


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
        latest = latest_undo_file(file.path, os.fstat(file.fd), undo_file)
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


def free_place(file: Held, undo_file: Path | None, system: System) -> str:
    """Where the next undo file goes: behind those that are kept. Raises UndoError, OSError."""
    places = _names(file.path, None if undo_file is None else os.fspath(undo_file))
    latest = latest_undo_file(file.path, os.fstat(file.fd), undo_file)
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


def finish(kept: int, place: str, keep: bool, system: System) -> None:
    """The change is made: say so, or remove the undo file."""
    if keep:
        mark(kept, DONE, system)
    else:
        system.remove(place)
        system.sync_directory(place)


def was_interrupted(record: Record, path: str) -> VhdfastError:
    what = "the undoing of a change" if record.state == UNDOING else "an earlier change"
    return UndoError(
        f"{what} ({record.title}) was interrupted",
        path=path,
        hint="complete it with --apply or take it back with --undo; if its undo file belongs to "
        "another file, remove that",
    )
