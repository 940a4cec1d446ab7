"""What every examination of the machine is: a subclass of Examination, registered by existing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

__all__ = ["EXAMINATIONS", "Examination", "Item", "Request", "State"]


class State(Enum):
    """What an item means."""

    OK = "ok"
    NOTE = "note"  # worth knowing; everything works
    WARNING = "warning"  # something is slower, or cannot be read, than could be
    PROBLEM = "problem"  # what was asked about does not work


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was found.

    name: a few words. message: what was found. remedy: what to do, a command where there is one;
    several ways are on lines of their own.
    details: the same for programs (docs/json.md).
    """

    name: str
    state: State
    message: str
    remedy: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""  # of the examination; filled in by `examine`


@dataclass(frozen=True, slots=True)
class Request:
    """What is examined."""

    qemu_img: str | None = None  # a path; what PATH leads to where None
    directory: str = "."  # where images are to be written


class Examination(ABC):
    """Looks at one side of the machine, and leaves nothing behind."""

    name: ClassVar[str]
    group: ClassVar[str]  # under which its items are shown
    order: ClassVar[int]  # lower ones first

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            return
        if cls.name in EXAMINATIONS:
            raise TypeError(f"two examinations call themselves {cls.name!r}")
        EXAMINATIONS[cls.name] = cls

    @abstractmethod
    def run(self, request: Request) -> Iterator[Item]:
        """What is found. May raise OSError, which becomes a problem, and UsageError."""


EXAMINATIONS: dict[str, type[Examination]] = {}
