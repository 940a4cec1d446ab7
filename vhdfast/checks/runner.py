"""Running checks over an image, and what they come to together."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UsageError, VhdfastError
from ..formats import OpenOptions
from .base import CHECKS, Check, Finding, Outcome, Severity
from .subject import CheckOptions, Subject, open_subject

__all__ = ["CheckedImage", "Selection", "check_image"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which checks run: ids, groups, or patterns of ids such as "footer-*".

    select: only these; all where it is empty. ignore: not these, also where select names them.
    """

    select: Sequence[str] = ()
    ignore: Sequence[str] = ()

    def checks(self) -> list[type[Check]]:
        """The chosen checks, in the order of their report. Raises UsageError for a name of none."""
        from . import GROUPS

        groups = [group.replace("_", "-") for group in GROUPS]
        chosen = self._named(self.select) if self.select else set(CHECKS)
        chosen -= self._named(self.ignore)
        return sorted(
            (CHECKS[name] for name in chosen),
            key=lambda check: (groups.index(check.group()), check.order, check.id),
        )

    @staticmethod
    def _named(patterns: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for pattern in patterns:
            names = {
                name
                for name, check in CHECKS.items()
                if fnmatch.fnmatchcase(name, pattern) or check.group() == pattern
            }
            if not names:
                raise UsageError(
                    f"there is no check {pattern!r}", hint="vhdfast check --list names all of them"
                )
            found |= names
        return found


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """What the checks say about one image; sizes in bytes."""

    path: str
    format: str | None  # None where it could not be opened
    subformat: str | None
    virtual_size: int | None
    file_size: int
    judged_as_is: bool  # False: as a source of `convert`
    findings: tuple[Finding, ...]

    def of(self, outcome: Outcome, severity: Severity | None = None) -> list[Finding]:
        return [
            finding
            for finding in self.findings
            if finding.outcome is outcome and severity in (None, finding.severity)
        ]

    @property
    def obstacles(self) -> list[Finding]:
        """What Azure would refuse, or what is lost."""
        return self.of(Outcome.FAIL, Severity.ERROR)

    @property
    def undecided(self) -> list[Finding]:
        """What would be an obstacle, and could not be looked at."""
        return self.of(Outcome.UNKNOWN, Severity.ERROR)

    def verdict(self) -> str:
        """Whether Azure will take the disk: never a promise."""
        obstacles = self.obstacles
        if obstacles:
            more = f" (and {len(obstacles) - 1} more)" if len(obstacles) > 1 else ""
            return f"obstacle: {obstacles[0].message}{more}"
        if self.undecided:
            return f"not judged: {self.undecided[0].message}"
        return "no known obstacle" if self.judged_as_is else "no known obstacle after conversion"

    def exit_code(self, strict: bool = False) -> int:
        """0: nothing against it; 1: an obstacle, under strict a warning too; 3: undecided."""
        warned = strict and self.of(Outcome.FAIL, Severity.WARNING)
        if self.obstacles or warned:
            return 1
        return 3 if self.undecided else 0


def check_image(
    path: str,
    format: str | None = None,
    how: OpenOptions | None = None,
    options: CheckOptions | None = None,
    selection: Selection | None = None,
) -> CheckedImage:
    """Run the chosen checks over an image.

    Raises UsageError, and for a file that cannot be read ReadError or ImageError; whatever else is
    wrong with it is a finding.
    """
    checks = (selection or Selection()).checks()
    with open_subject(path, format, how or OpenOptions(), options or CheckOptions()) as subject:
        findings = [finding for check in checks for finding in _run(check(), subject)]
        return CheckedImage(
            path,
            subject.format if subject.error is None else None,
            subject.subformat if subject.error is None else None,
            subject.virtual_size,
            subject.file_size,
            subject.is_judged_as_is,
            tuple(findings),
        )


def _run(check: Check, subject: Subject) -> list[Finding]:
    try:
        findings = list(check.run(subject))
    except VhdfastError as error:
        return [check.unknown(f"could not be looked at: {error}", remedy=error.hint)]
    if subject.is_judged_as_is or not check.cured_by_convert:
        return findings
    return [
        dataclasses.replace(
            finding, severity=Severity.NOTE, remedy=finding.remedy or subject.convert_command
        )
        if finding.outcome is Outcome.FAIL
        else finding
        for finding in findings
    ]
