"""The new name that a change gives a file, in the same directory: the last step of the change."""

from __future__ import annotations

import os

from ..errors import TargetError, TargetExistsError
from .system import System

__all__ = ["check_free", "give_name", "has_one_of", "sibling"]


def sibling(path: str, name: str) -> str:
    return os.path.join(os.path.dirname(path), name)


def has_one_of(fd: int, path: str, names: tuple[str, ...]) -> bool:
    """Whether the open file has one of these names: a third one, given by someone, stays."""
    return any(_is(fd, sibling(path, name)) for name in names)


def check_free(fd: int, path: str, replace: bool, hint: str = "move that file away") -> None:
    """Raise TargetError where the open file cannot be given this name.

    replace: a regular file there gives way. hint: what to do where it may not.
    """
    if _is(fd, path) or not os.path.lexists(path):
        return
    if not replace:
        raise TargetExistsError(
            "the name that the file would get is taken",
            path=path,
            hint=hint,
        )
    if os.path.islink(path) or not os.path.isfile(path):
        raise TargetError("what has the name that the file would get is no file", path=path)


def give_name(fd: int, path: str, other: str, replace: bool, system: System) -> None:
    """The open file, where it is called `other`, is called `path` instead; durable on return.

    One that someone has given a third name keeps that. Raises TargetExistsError, OSError.
    """
    if _is(fd, path):
        if _is(fd, other):  # a rename by a hard link that was cut short
            system.remove(other)
    elif _is(fd, other):
        try:
            system.rename(other, path, replace)
        except FileExistsError as error:
            raise TargetExistsError(
                "a file of that name appeared meanwhile", path=path, hint="move it away"
            ) from error
    system.sync_directory(path)


def _is(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
