"""Making a change, completing one that was interrupted, and undoing one.

    undo file written, durable with its name
    state "begun", durable
    stage 1, durable … stage n, durable
    the file renamed, durable        where it gets another name
    undo file renamed likewise       where it is kept
    state "done", durable            or the undo file removed, where it is not kept

    state "being undone", durable
    stage n taken back, durable … stage 1 taken back, durable
    the old name, durable
    undo file removed

docs/internals/in-place.md says what each crash leaves and how it goes on from there.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import (
    NoSpaceError,
    SourceChangedError,
    TargetError,
    UndoError,
    VhdfastError,
    WriteError,
)
from ..files import Identity, SourceFile, pread_all
from .change import MAX_SAVED, Change, join, sizes
from .locking import open_alone
from .naming import check_free, give_name, sibling, where_it_is
from .record import BEGUN, DONE, MAX_KEPT, STATE_OFFSET, UNDOING, Record, names, open_record
from .scan import nonzero
from .states import States
from .system import System

__all__ = [
    "Completed",
    "apply",
    "check_not_interrupted",
    "complete",
    "interrupted",
    "last_change",
    "undo",
]

Path = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Completed:
    """What was completed. undo_file: where it is kept. record.state: what was interrupted."""

    record: Record
    undo_file: str | None


def apply(
    change: Change,
    undo_file: Path | None = None,
    *,
    keep: bool = True,
    system: System | None = None,
) -> str | None:
    """Make a change, so that a crash at any point can be completed or undone.

    undo_file: where the undo file goes, beside the file by default. keep: leave it there at the
    end, for `undo`. Returns its path where it is kept; it then lies beside the file under its new
    name, unless undo_file says where.

    Where it fails, what was done is taken back; where that fails too, the undo file stays and the
    error says so. Raises InUseError, TargetError (cannot be opened for writing), SourceChangedError
    (not as it was when the change was planned), UndoError (an undo file in the way),
    TargetExistsError (its new name is taken), NoSpaceError, WriteError.
    """
    change.check()
    system = system or System()
    with _held(change.path) as file:
        if Identity.of(file.fd) != change.seen:
            raise SourceChangedError(
                "the file was written to since the change was planned",
                path=change.path,
                hint="run it again",
            )
        name = os.path.basename(file.path)
        if change.new_name is not None:
            check_free(file.fd, sibling(file.path, change.new_name), change.replace)
        if change.new_name is not None and not change.stages:
            with _failures(file.path, "renaming failed"):
                new = sibling(file.path, change.new_name)
                give_name(file.fd, new, file.path, change.replace, system)
            return None
        with _failures(file.path, "the undo file cannot be written"):
            record = Record(
                change.title,
                name,
                change.old_size,
                _saved(file, change),
                change.stages,
                names=() if change.new_name is None else (name, change.new_name),
            )
            place = _free_place(file, file.path, undo_file, system)
            last_place = _last_place(file, record, place, undo_file, keep, system)
            kept = _save(record, place, system)
        try:
            _carry_out(file, States(record), kept, place, change.replace, system)
            with _failures(file.path, "the change is made; ending its undo file failed"):
                _end(kept, place, last_place, system)
        finally:
            os.close(kept)
    return last_place


def interrupted(path: Path, undo_file: Path | None = None) -> Record | None:
    """The change of a file, or the undoing of one, that was begun and not ended; None: none.

    Raises UndoError, where its undo file is damaged or not to be trusted; ImageError where there is
    no file.
    """
    real = os.path.realpath(path)
    with _failures(real, "the undo file cannot be read"):
        where = where_it_is(real, None if undo_file is None else os.fspath(undo_file))
    with (
        SourceFile(path if where == real else where) as source,
        _failures(source.path, "the undo file cannot be read"),
    ):
        found = _latest(real, os.fstat(source.fileno()), undo_file, os.O_RDONLY)
    if found is None:
        return None
    os.close(found.fd)
    return found.record if found.record and found.record.state != DONE else None


def check_not_interrupted(path: Path, undo_file: Path | None = None) -> None:
    """Raise UndoError where a change of the file was begun and not ended: nothing is planned then.

    Raises what `interrupted` does.
    """
    record = interrupted(path, undo_file)
    if record is not None:
        raise _interrupted(record, os.fspath(path))


def _interrupted(record: Record, path: str) -> VhdfastError:
    what = "the undoing of a change" if record.state == UNDOING else "an earlier change"
    verb = record.title.partition(" ")[0]
    again = "convert --in-place" if verb == "convert" else f"{verb} --apply"
    return UndoError(
        f"{what} ({record.title}) was interrupted",
        path=path,
        hint=f"complete it: vhdfast {again}, or take it back: vhdfast repair --undo; if its undo "
        "file belongs to another file, remove that",
    )


def complete(
    path: Path,
    undo_file: Path | None = None,
    *,
    keep: bool = True,
    replace: bool = False,
    system: System | None = None,
) -> Completed:
    """Bring what was interrupted to its end: the change, or its undoing.

    path: the file under its old name or its new one, whichever it has by now. keep: as for `apply`.
    replace: a file that has the name which the file is to get gives way. Raises UndoError where
    nothing was interrupted, or something else wrote to the file since; InUseError, TargetError,
    WriteError.
    """
    system = system or System()
    with _held(path, undo_file) as file, _found(file, undo_file) as (record, kept, place):
        if record.state == DONE:
            raise _nothing(file.path)
        states = States(record)
        with _failures(file.path, "completing the change failed"):
            if record.names:
                name = record.names[record.state != UNDOING]
                check_free(file.fd, sibling(file.path, name), replace)
            if record.state == UNDOING:
                stage = _stage(file, states)
                _check_cut(file, states, min(states.sizes[:stage]))
                _take_back(file, states, stage, place, replace, system)
                return Completed(record, None)
            last_place = _last_place(file, record, place, undo_file, keep, system)
            stage = _stage(file, states)
            _check_cut(file, states, min(states.sizes[stage:]))
            for number in range(stage, states.last + 1):
                _forward(file.fd, states, number, system)
            _give_name(file, record, 1, replace, system)
            _end(kept, place, last_place, system)
    return Completed(record, last_place)


def last_change(path: Path, undo_file: Path | None = None) -> Record | None:
    """The last change of a file that was made and that `undo` would take back; None: none.

    Raises what `interrupted` does.
    """
    real = os.path.realpath(path)
    with SourceFile(path) as source, _failures(source.path, "the undo file cannot be read"):
        found = _latest(real, os.fstat(source.fileno()), undo_file, os.O_RDONLY)
    if found is None:
        return None
    os.close(found.fd)
    return found.record if found.record and found.record.state == DONE else None


def undo(
    path: Path,
    undo_file: Path | None = None,
    *,
    replace: bool = False,
    system: System | None = None,
) -> Record:
    """Take the last change of a file back: its bytes, size and name. Returns the record of it.

    replace: a file that has its old name gives way.

    What lies elsewhere in the file stays as it is now. Raises UndoError where there is no undo
    file, or where the file does not hold what the change left: something else wrote to it;
    InUseError, TargetError, WriteError.
    """
    system = system or System()
    with _held(path, undo_file) as file, _found(file, undo_file) as (record, kept, place):
        states = States(record)
        with _failures(file.path, "undoing the change failed"):
            if record.names:
                check_free(file.fd, sibling(file.path, record.names[0]), replace)
            if record.state != DONE:
                stage = _stage(file, states)
            elif states.is_at(file.fd, states.last):
                stage = states.last
            else:
                raise _changed(file.path)
            _check_cut(file, states, min(states.sizes[:stage]))
            if record.state != UNDOING:
                _mark(kept, UNDOING, system)
            _take_back(file, states, stage, place, replace, system)
    return record


# ---- the file -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Held:
    """A file that is changed: locked, and its name without links when it was opened.

    asked: the name that was asked for, which its undo file may be called after: that of an
    interrupted change, before which or after which the file had that name.
    """

    fd: int
    path: str
    asked: str


@contextlib.contextmanager
def _held(path: Path, undo_file: Path | None = None) -> Iterator[_Held]:
    real = os.path.realpath(path)
    with _failures(real, "the undo file cannot be read"):
        where = where_it_is(real, None if undo_file is None else os.fspath(undo_file))
    fd = open_alone(where)
    try:
        yield _Held(fd, where, real)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _failures(path: str, what: str) -> Iterator[None]:
    """OSError as the errors of this library."""
    try:
        yield
    except OSError as error:
        text = f"{what}: {error.strerror}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(text, path=path, hint="free some space") from error
        raise WriteError(text, path=path) from error


def _saved(file: _Held, change: Change) -> tuple[tuple[int, bytes], ...]:
    """What the change replaces or cuts off, without the zeros of the latter."""
    size = change.old_size
    ranges = [
        (write.offset, min(write.end, size)) for stage in change.stages for write in stage.writes
    ]
    total = sum(max(0, end - start) for start, end in ranges)
    for offset, data in nonzero(file.fd, min(sizes(size, change.stages)), size):
        ranges.append((offset, offset + len(data)))
        total += len(data)
        if total > MAX_SAVED:
            raise TargetError(
                f"more than {MAX_SAVED} bytes of data would be cut off, too many to keep for undo",
                path=file.path,
                hint="convert the image to a new file instead",
            )
    return tuple((start, pread_all(file.fd, start, end - start)) for start, end in join(ranges))


def _forward(fd: int, states: States, stage: int, system: System) -> None:
    """Stage k, from anywhere between the states k - 1 and k; durable on return."""
    for write in states.record.stages[stage - 1].writes:
        system.write(fd, write.data, write.offset)
    _finish_stage(fd, states.sizes[stage], system)


def _back(fd: int, states: States, stage: int, system: System) -> None:
    """The other way round."""
    for write in states.back(stage):
        system.write(fd, write.data, write.offset)
    _finish_stage(fd, states.sizes[stage - 1], system)


def _finish_stage(fd: int, size: int, system: System) -> None:
    if os.fstat(fd).st_size != size:
        system.set_size(fd, size)
    system.sync(fd)


def _give_name(file: _Held, record: Record, which: int, replace: bool, system: System) -> None:
    """Its old name (0) or its new one (1), where the change renames it."""
    if record.names:
        path, other = (sibling(file.path, record.names[one]) for one in (which, 1 - which))
        give_name(file.fd, path, other, replace, system)


def _carry_out(
    file: _Held, states: States, kept: int, place: str, replace: bool, system: System
) -> None:
    """All stages; on any failure or interruption, back."""
    stage = 0
    try:
        with _failures(file.path, "writing failed"):
            _mark(kept, BEGUN, system)
            for stage in range(1, states.last + 1):
                _forward(file.fd, states, stage, system)
            _give_name(file, states.record, 1, replace, system)
    except BaseException as error:
        try:
            if stage:
                _mark(kept, UNDOING, system)
            _take_back(file, states, stage, place, False, system)
        except OSError as second:
            raise WriteError(
                f"{error}; taking it back failed too: {second.strerror}, so the change is half "
                "made",
                path=file.path,
                hint=f"free space or mend the disk, then say --apply or --undo; {place} is needed",
            ) from error
        raise


def _take_back(
    file: _Held, states: States, stage: int, place: str, replace: bool, system: System
) -> None:
    for number in range(stage, 0, -1):
        _back(file.fd, states, number, system)
    _give_name(file, states.record, 0, replace, system)
    system.remove(place)
    system.sync_directory(place)


def _stage(file: _Held, states: States) -> int:
    """Where a crash left the file."""
    stage = states.find(file.fd)
    if stage is None:
        raise _changed(file.path)
    return stage


def _check_cut(file: _Held, states: States, size: int) -> None:
    """Nothing that others wrote meanwhile is cut off."""
    for offset, length in states.strangers(file.fd, size):
        raise UndoError(
            f"something else wrote {length} bytes or more behind the size of {size} bytes that "
            "the file would get",
            path=file.path,
            offset=offset,
            hint="the undo file no longer fits: convert the image to a new file instead",
        )


def _changed(path: str) -> VhdfastError:
    return UndoError(
        "the file holds neither what was there before the change nor what the change wrote: "
        "something else wrote to it, or it is another file",
        path=path,
        hint="nothing was changed now; if it is another file, remove the undo file",
    )


# ---- the undo file ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kept:
    """An undo file that is there; record is None where it was never finished."""

    fd: int
    path: str
    record: Record | None


def _latest(
    path: str, status: os.stat_result, undo_file: Path | None, access: int = os.O_RDWR
) -> _Kept | None:
    """The undo file of the last change. The caller closes it. Raises UndoError, OSError."""
    places = names(path, None if undo_file is None else os.fspath(undo_file))
    for place in reversed(places):
        fd = open_record(place, status, access)
        if fd is None:
            continue
        try:
            return _Kept(fd, place, Record.read(fd, place))
        except BaseException:
            os.close(fd)
            raise
    return None


@contextlib.contextmanager
def _found(file: _Held, undo_file: Path | None) -> Iterator[tuple[Record, int, str]]:
    with _failures(file.path, "the undo file cannot be read"):
        latest = _latest(file.asked, os.fstat(file.fd), undo_file)
    if latest is None:
        raise _nothing(file.path)
    try:
        if latest.record is None:
            raise _nothing(file.path)
        yield latest.record, latest.fd, latest.path
    finally:
        os.close(latest.fd)


def _nothing(path: str) -> VhdfastError:
    return UndoError(
        "there is no undo file of it, and so nothing to undo or to complete",
        path=path,
        hint="name it with --undo-file, if it lies elsewhere",
    )


def _free_place(file: _Held, path: str, undo_file: Path | None, system: System) -> str:
    """Where the next undo file goes: behind those that are kept of the file called `path`.

    Raises UndoError, OSError.
    """
    places = names(path, None if undo_file is None else os.fspath(undo_file))
    latest = _latest(path, os.fstat(file.fd), undo_file)
    if latest is None:
        return places[0]
    os.close(latest.fd)
    if latest.record is None:
        system.remove(latest.path)
        return latest.path
    if latest.record.state != DONE:
        raise _interrupted(latest.record, latest.path)
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


def _save(record: Record, place: str, system: System) -> int:
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


def _mark(kept: int, state: bytes, system: System) -> None:
    system.write(kept, state, STATE_OFFSET)
    system.sync(kept)


def _last_place(
    file: _Held, record: Record, place: str, undo_file: Path | None, keep: bool, system: System
) -> str | None:
    """Where an undo file lies at the end, beside the file under its new name; None: it is removed.

    Raises UndoError where it cannot lie there, OSError.
    """
    if not keep or not record.names or undo_file is not None:
        return place if keep else None
    path = sibling(file.path, record.names[1])
    return place if place in names(path, None) else _free_place(file, path, None, system)


def _end(kept: int, place: str, last_place: str | None, system: System) -> None:
    """The change is made: say so, or remove the undo file."""
    if last_place is not None:
        if last_place != place:
            system.rename(place, last_place, False)
            system.sync_directory(last_place)
        _mark(kept, DONE, system)
    else:
        system.remove(place)
        system.sync_directory(place)
