"""The new name that a change gives a file, in the same directory: the last step of the change.

Where a crash falls between it and the end of the undo file, the file is found under the name that
it has by then: the undo file knows both.
"""

from __future__ import annotations

import os

from ..errors import TargetError, TargetExistsError
from .record import DONE, Record, names, open_record
from .system import System

__all__ = ["check_free", "give_name", "sibling", "where_it_is"]


def sibling(path: str, name: str) -> str:
    return os.path.join(os.path.dirname(path), name)


def check_free(fd: int, path: str, replace: bool) -> None:
    """Raise TargetError where the open file cannot be given this name.

    replace: a regular file there gives way.
    """
    if _is(fd, path) or not os.path.lexists(path):
        return
    if not replace:
        raise TargetExistsError(
            "the name that the file would get is taken",
            path=path,
            hint="move that file away; --force replaces it, --keep-name leaves the name",
        )
    if os.path.islink(path) or not os.path.isfile(path):
        raise TargetError("what has the name that the file would get is no file", path=path)


def give_name(fd: int, path: str, other: str, replace: bool, system: System) -> None:
    """The open file, which is called `path` or `other`, is called `path`; durable on return.

    Raises TargetExistsError, OSError.
    """
    if _is(fd, path):
        if _is(fd, other):  # a rename by a hard link that was cut short
            system.remove(other)
    else:
        try:
            system.rename(other, path, replace)
        except FileExistsError as error:
            raise TargetExistsError(
                "a file of that name appeared meanwhile", path=path, hint="move it away"
            ) from error
    system.sync_directory(path)


def where_it_is(path: str, undo_file: str | None) -> str:
    """Where a file is, of which a change was interrupted that renames it; else `path` itself.

    Raises UndoError, OSError.
    """
    if os.path.lexists(path):
        return path
    for place in reversed(names(path, undo_file)):
        # Whose undo file it is is asked again, when it is opened for the file that was found.
        fd = open_record(place, None, os.O_RDONLY)
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
            return found if os.path.lexists(found) else path
    return path


def _is(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
