"""What every check is: a subclass of Check, registered by existing; and what it finds.

docs/hacking/adding-a-check.md walks through one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from .subject import Subject

__all__ = ["CHECKS", "Check", "Evidence", "Finding", "Outcome", "Reference", "Severity"]


class Severity(Enum):
    """What a failed check means."""

    ERROR = "error"  # Azure refuses the disk, or what is on it is lost
    WARNING = "warning"  # it may work, and should not be relied on
    NOTE = "note"  # worth knowing; nothing is wrong with the disk


class Outcome(Enum):
    """What a check came to."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"  # what it needs could not be read
    SKIPPED = "skipped"  # it does not apply to this image


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was looked at: where it is, what is there, and what should be."""

    what: str  # "checksum"
    found: str
    expected: str | None = None
    path: str | None = None  # the file; that of the image where None
    offset: int | None = None  # bytes in that file

    def __str__(self) -> str:
        where = "" if self.path is None else f"{self.path}: "
        where += "" if self.offset is None else f"at offset {self.offset:#x}: "
        wanted = "" if self.expected is None else f", expected {self.expected}"
        return f"{where}{self.what}: {self.found}{wanted}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says about one image."""

    check: str  # its id
    title: str
    outcome: Outcome
    severity: Severity  # of the check here: what convert cures is a note in a source
    message: str  # one sentence without a full stop
    evidence: tuple[Evidence, ...] = ()
    remedy: str | None = None  # a command, or what else to do
    graded: str | None = None  # why the severity is another than the check's own: the user's words

    @property
    def is_obstacle(self) -> bool:
        return self.outcome is Outcome.FAIL and self.severity is Severity.ERROR


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a rule comes from."""

    title: str
    url: str


class Check(ABC):
    """One rule about an image, with what it means and how it is met."""

    id: ClassVar[str]  # stable: what --select and `vhdfast explain` take
    title: ClassVar[str]  # the rule: "the footer's checksum is right"
    severity: ClassVar[Severity]
    what: ClassVar[str]  # what is looked at, sentences
    why: ClassVar[str]  # what happens where the rule is broken
    fix: ClassVar[str]  # how it is met
    references: ClassVar[tuple[Reference, ...]] = ()
    # Whether `convert` makes it right, so that it says nothing against an image that is a source.
    cured_by_convert: ClassVar[bool] = False
    order: ClassVar[int] = 100  # within its group: lower ones are reported first

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "id" not in cls.__dict__:
            return  # a base shared by several checks
        if cls.id in CHECKS:
            raise TypeError(f"two checks call themselves {cls.id!r}")
        CHECKS[cls.id] = cls

    @classmethod
    def group(cls) -> str:
        """The package it lies in: "azure", "qemu-img", "structure"."""
        return cls.__module__.split(".")[2].replace("_", "-")

    @abstractmethod
    def run(self, subject: Subject) -> Iterator[Finding]:
        """At least one finding. May raise VhdfastError where what it needs cannot be read."""

    # ---- what subclasses yield ------------------------------------------------------------------

    def passed(self, message: str, *evidence: Evidence) -> Finding:
        return Finding(self.id, self.title, Outcome.PASS, self.severity, message, evidence)

    def failed(self, message: str, *evidence: Evidence, remedy: str | None = None) -> Finding:
        return Finding(self.id, self.title, Outcome.FAIL, self.severity, message, evidence, remedy)

    def unknown(self, message: str, *evidence: Evidence, remedy: str | None = None) -> Finding:
        return Finding(
            self.id, self.title, Outcome.UNKNOWN, self.severity, message, evidence, remedy
        )

    def skipped(self, message: str) -> Finding:
        return Finding(self.id, self.title, Outcome.SKIPPED, self.severity, message)


CHECKS: dict[str, type[Check]] = {}
