"""What every container is: a subclass of Container, registered by existing.

A container says which disks it holds and how to open the bytes of each. What these bytes are is
the formats' business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import InvalidImageError, UnsupportedImageError, UsageError, printable
from ..files import FileSlice, Source
from ..formats.base import Glimpse, OpenOptions
from ..units import format_size

__all__ = ["CONTAINERS", "Container", "Disk", "Member", "choose", "no_disk", "read_text"]

# Disks that a message names.
MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk of a container.

    name: as the container has it. number: 1, 2 …. size: of its file in bytes, None where the
    container does not say. format: what the container says that it surely is, None: look.
    open: the disk's bytes; raises ImageError where this disk cannot be read in place.
    """

    name: str
    number: int
    size: int | None
    format: str | None
    open: Callable[[], Source]


class Member(FileSlice):
    """A part of a container's file; it lies in no directory, so it may name no other files."""

    @property
    def directories(self) -> tuple[str, ...]:
        return ()


class Container(ABC):
    """A file that holds disk images, or names those that belong together.

    Subclasses set the class variables and implement `probe` and `disks`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name in CONTAINERS:
            raise TypeError(f"two containers call themselves {cls.name!r}")
        CONTAINERS[cls.name] = cls

    @classmethod
    @abstractmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        """What shows that the file is such a container, or None. Cheap and without judgement."""

    @classmethod
    def is_named(cls, path: str) -> bool:
        """Whether the file's name says that it is such a container.

        Asked where the user names the format of the disk: a guest may write a container's
        signature into its raw disk, but does not name the file.
        """
        return path.lower().endswith(cls.suffixes)

    @classmethod
    def residue(cls, glimpse: Glimpse) -> str | None:
        """What shows that the file was such a container before it was damaged, or None."""
        return None

    @classmethod
    @abstractmethod
    def disks(cls, source: Source, options: OpenOptions) -> list[Disk]:
        """The disks, at least one. Raises ImageError of the fitting kind, or ReadError."""


CONTAINERS: dict[str, type[Container]] = {}


def choose(disks: Sequence[Disk], wanted: str | None, path: str) -> Disk:
    """The disk called `wanted`, or with that number; the only one where nothing is wanted.

    Raises UsageError, which lists the disks.
    """
    if wanted is None:
        if len(disks) == 1:
            return disks[0]
        raise _list(disks, f"{len(disks)} disks, and no word which of them", path)
    named = [disk for disk in disks if disk.name == wanted]
    if not named and wanted.isascii() and wanted.isdecimal():
        named = [disk for disk in disks if str(disk.number) == wanted.lstrip("0")]
    if len(named) == 1:
        return named[0]
    problem = f"{len(named)} disks are called" if named else "no disk is called"
    raise _list(disks, f"{problem} {printable(wanted)!r}", path)


def _list(disks: Sequence[Disk], problem: str, path: str) -> UsageError:
    lines = [
        f"{disk.number}: {printable(disk.name)}"
        + ("" if disk.size is None else f" ({format_size(disk.size)})")
        for disk in disks[:MAX_LISTED]
    ]
    if len(disks) > MAX_LISTED:
        lines.append(f"and {len(disks) - MAX_LISTED} more")
    return UsageError(
        f"{problem}; it holds {', '.join(lines)}",
        path=path,
        hint="say --disk NAME or --disk N",
    )


def read_text(source: Source, limit: int, what: str) -> bytes:
    """All of a small file. Raises InvalidImageError where it has more than `limit` bytes."""
    if source.size > limit:
        raise InvalidImageError(
            f"the {what} has {source.size} bytes, expected {limit} or fewer", path=source.path
        )
    return source.read_exact(0, source.size, what)


def no_disk(problem: str, path: str) -> UnsupportedImageError:
    return UnsupportedImageError(
        f"there is no disk in it: {problem}", path=path, hint="name the image itself"
    )
