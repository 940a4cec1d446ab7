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

import os
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import SourceChangedError, TargetError, UndoError, VhdfastError, WriteError
from ..files import Identity, SourceFile, pread_all
from .change import MAX_SAVED, Change, join, sizes
from .keeping import (
    finish,
    free_place,
    last_place,
    last_record,
    latest_undo_file,
    mark,
    nothing_kept,
    save,
    was_interrupted,
    where_it_is,
)
from .locking import Held, failures, held
from .naming import check_free, give_name, has_one_of, sibling
from .record import BEGUN, DONE, UNDOING, Record
from .scan import nonzero
from .states import States
from .system import System

__all__ = [
    "Completed",
    "apply",
    "check_not_interrupted",
    "check_undo",
    "complete",
    "interrupted",
    "last_change",
    "undo",
]

Path = str | os.PathLike[str]
# Called with a file's descriptor and the change of it that is to be taken back.
CheckCut = Callable[[int, Record], None]


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
    with held(change.path) as file:
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
            with failures(file.path, "renaming failed"):
                new = sibling(file.path, change.new_name)
                give_name(file.fd, new, file.path, change.replace, system)
            return None
        with failures(
            file.path, "the undo file cannot be written", "say with --undo-file where it may lie"
        ):
            record = Record(
                change.title,
                name,
                change.old_size,
                _saved(file, change),
                change.stages,
                names=() if change.new_name is None else (name, change.new_name),
            )
            place = free_place(file, file.path, undo_file, system)
            last = last_place(file, record, place, undo_file, keep, system)
            kept = save(record, place, system)
        try:
            _carry_out(file, States(record), kept, place, change.replace, system)
            with failures(file.path, "the change is made; ending its undo file failed"):
                finish(kept, place, last, system)
        finally:
            os.close(kept)
    return last


def interrupted(path: Path, undo_file: Path | None = None) -> Record | None:
    """The change of a file, or the undoing of one, that was begun and not ended; None: none.

    Raises UndoError, where its undo file is damaged or not to be trusted; ImageError where there is
    no file.
    """
    real = os.path.realpath(path)
    where = where_it_is(path, undo_file)
    with (
        SourceFile(path if where == real else where) as source,
        failures(source.path, "the undo file cannot be read"),
    ):
        found = latest_undo_file(real, os.fstat(source.fileno()), undo_file, os.O_RDONLY)
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
        raise was_interrupted(record, os.fspath(path))


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
    where = where_it_is(path, undo_file)
    with held(path, where) as file, last_record(file, undo_file) as (record, kept, place):
        if record.state == DONE:
            raise nothing_kept(file.path)
        states = States(record)
        with failures(file.path, "completing the change failed"):
            if has_one_of(file.fd, file.path, record.names):
                name = record.names[record.state != UNDOING]
                check_free(file.fd, sibling(file.path, name), replace)
            if record.state == UNDOING:
                stage = _stage(file, states)
                _check_cut(file, states, min(states.sizes[:stage]))
                _take_back(file, states, stage, place, replace, system)
                return Completed(record, None)
            last = last_place(file, record, place, undo_file, keep, system)
            stage = _stage(file, states)
            _check_cut(file, states, min(states.sizes[stage:]))
            for number in range(stage, states.last + 1):
                _forward(file.fd, states, number, system)
            _give_name(file, record, 1, replace, system)
            finish(kept, place, last, system)
    return Completed(record, last)


def last_change(path: Path, undo_file: Path | None = None) -> Record | None:
    """The last change of a file that was made and that `undo` would take back; None: none.

    Raises what `interrupted` does.
    """
    real = os.path.realpath(path)
    with SourceFile(path) as source, failures(source.path, "the undo file cannot be read"):
        found = latest_undo_file(real, os.fstat(source.fileno()), undo_file, os.O_RDONLY)
    if found is None:
        return None
    os.close(found.fd)
    return found.record if found.record and found.record.state == DONE else None


def check_undo(path: Path, check_cut: CheckCut | None = None) -> None:
    """Raise what `undo` would, where the last change of the file was made and not interrupted.

    Nothing is asked where there is none.
    """
    with SourceFile(path) as source, failures(source.path, "the file cannot be read"):
        file = Held(source.fileno(), source.path, os.path.realpath(path))
        found = latest_undo_file(file.asked, os.fstat(file.fd), None, os.O_RDONLY)
        if found is None:
            return
        try:
            if found.record is None or found.record.state != DONE:
                return
            states = States(found.record)
            if not states.is_at(file.fd, states.last):
                raise _changed(file.path)
            _ask(file, found.fd, states, check_cut)
            _check_cut(file, states, min(states.sizes[: states.last]))
        finally:
            os.close(found.fd)


def undo(
    path: Path,
    undo_file: Path | None = None,
    *,
    check_cut: CheckCut | None = None,
    replace: bool = False,
    system: System | None = None,
) -> Record:
    """Take the last change of a file back: its bytes, size and name. Returns the record of it.

    replace: a file that has its old name gives way.

    What lies elsewhere in the file stays as it is now. check_cut: called with the file's descriptor
    and the change, where the file would become smaller and was written to since the change was
    made; it raises where the end is needed. Raises UndoError where there is no undo file, or where
    the file does not hold what the change left: something else wrote to it; InUseError,
    TargetError, WriteError.
    """
    system = system or System()
    where = where_it_is(path, undo_file)
    with held(path, where) as file, last_record(file, undo_file) as (record, kept, place):
        states = States(record)
        with failures(file.path, "undoing the change failed"):
            if has_one_of(file.fd, file.path, record.names):
                check_free(file.fd, sibling(file.path, record.names[0]), replace)
            if record.state != DONE:
                stage = _stage(file, states)
            elif states.is_at(file.fd, states.last):
                stage = states.last
            else:
                raise _changed(file.path)
            _ask(file, kept, states, check_cut)
            _check_cut(file, states, min(states.sizes[:stage]))
            if record.state != UNDOING:
                mark(kept, UNDOING, system)
            _take_back(file, states, stage, place, replace, system)
    return record


# ---- the stages --------------------------------------------------------------------------------


def _saved(file: Held, change: Change) -> tuple[tuple[int, bytes], ...]:
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
        try:
            system.write(fd, write.data, write.offset)
        except OSError:
            # Where the first write into a hole found no space, there is none for its zeros either.
            if pread_all(fd, write.offset, len(write.data)) != write.data:
                raise
    _finish_stage(fd, states.sizes[stage - 1], system)


def _finish_stage(fd: int, size: int, system: System) -> None:
    if os.fstat(fd).st_size != size:
        system.set_size(fd, size)
    system.sync(fd)


def _give_name(file: Held, record: Record, which: int, replace: bool, system: System) -> None:
    """Its old name (0) or its new one (1), where the change renames it."""
    if record.names:
        path, other = (sibling(file.path, record.names[one]) for one in (which, 1 - which))
        give_name(file.fd, path, other, replace, system)


def _carry_out(
    file: Held, states: States, kept: int, place: str, replace: bool, system: System
) -> None:
    """All stages; on any failure or interruption, back."""
    stage = 0
    try:
        with failures(file.path, "writing failed"):
            mark(kept, BEGUN, system)
            for stage in range(1, states.last + 1):
                _forward(file.fd, states, stage, system)
            _give_name(file, states.record, 1, replace, system)
    except BaseException as error:
        try:
            if stage:
                mark(kept, UNDOING, system)
            _take_back(file, states, stage, place, False, system)
        except OSError as second:
            raise WriteError(
                f"{_told(error)}; taking it back failed too: {second.strerror}, so the change is "
                "half made",
                path=file.path,
                hint="free space or mend the disk, then run the same command again, or vhdfast "
                f"repair --undo; {place} is needed",
            ) from error
        raise


def _told(error: BaseException) -> str:
    return error.message if isinstance(error, VhdfastError) else "interrupted"


def _take_back(
    file: Held, states: States, stage: int, place: str, replace: bool, system: System
) -> None:
    for number in range(stage, 0, -1):
        _back(file.fd, states, number, system)
    _give_name(file, states.record, 0, replace, system)
    system.remove(place)
    system.sync_directory(place)


def _stage(file: Held, states: States) -> int:
    """Where a crash left the file."""
    stage = states.find(file.fd)
    if stage is None:
        raise _changed(file.path)
    return stage


def _ask(file: Held, kept: int, states: States, check_cut: CheckCut | None) -> None:
    """Let the caller judge an end that is cut off of a file that was used since the change."""
    record = states.record
    is_newer = os.fstat(file.fd).st_mtime_ns > os.fstat(kept).st_mtime_ns
    is_smaller = record.old_size < states.sizes[-1]
    if check_cut is not None and record.state == DONE and is_newer and is_smaller:
        check_cut(file.fd, record)


def _check_cut(file: Held, states: States, size: int) -> None:
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
