"""Running checks over an image, and what they come to together."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UsageError, VhdfastError
from ..files import is_url
from ..formats import OpenOptions
from ..monitor import Monitor
from ..remote import shown_url
from .base import CHECKS, Check, Evidence, Finding, Outcome, Severity
from .subject import CheckOptions, Subject, open_subject

__all__ = ["CheckedImage", "Grade", "Selection", "check_image", "named_checks"]


@dataclass(frozen=True, slots=True)
class Grade:
    """How severe the failure of a check is to the user, and why."""

    id: str  # of the check
    severity: Severity | None  # None: the check is off
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Which checks run: ids, groups, or patterns of ids such as "footer-*".

    select: only these; all where it is empty. ignore: not these, also where select names them.
    grades: severities other than the checks' own; of several for one check the last counts.
    """

    select: Sequence[str] = ()
    ignore: Sequence[str] = ()
    grades: Sequence[Grade] = ()

    def checks(self) -> list[type[Check]]:
        """The chosen checks, in the order of their report. Raises UsageError for a name of none."""
        from . import GROUPS

        groups = [group.replace("_", "-") for group in GROUPS]
        chosen = named_checks(self.select) if self.select else set(CHECKS)
        chosen -= named_checks(self.ignore)
        return sorted(
            (CHECKS[name] for name in chosen),
            key=lambda check: (groups.index(check.group()), check.order, check.id),
        )

    def grade_of(self, check: type[Check]) -> Grade | None:
        """What the user makes of a failure of it."""
        return {grade.id: grade for grade in self.grades}.get(check.id)


def named_checks(patterns: Sequence[str]) -> set[str]:
    """The ids that names mean: ids, groups, patterns. Raises UsageError for a name of none."""
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
    # Where either is given, offsets of evidence are not those of the file at `path`.
    stream: str | None = None  # of what compression it was unpacked
    container: str | None = None  # what it lies in, for people

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
    monitor: Monitor | None = None,
) -> CheckedImage:
    """Run the chosen checks over an image. monitor: told of the walk through its map.

    Raises UsageError, and for a file that cannot be read ReadError or ImageError; whatever else is
    wrong with it is a finding.
    """
    selection = selection or Selection()
    checks = selection.checks()
    with open_subject(path, format, how or OpenOptions(), options or CheckOptions()) as subject:
        subject.monitor = monitor or Monitor()
        findings = [
            finding
            for check in checks
            for finding in _run(check(), subject, selection.grade_of(check))
        ]
        return CheckedImage(
            shown_url(path) if is_url(path) else path,
            subject.format if subject.error is None else None,
            subject.subformat if subject.error is None else None,
            subject.virtual_size,
            subject.file_size,
            subject.is_judged_as_is,
            tuple(findings),
            subject.source.stream,
            None if subject.image is None else subject.image.layer.options.container,
        )


def _run(check: Check, subject: Subject, grade: Grade | None) -> list[Finding]:
    if grade is not None and grade.severity is None:
        off = check.skipped("this check is switched off")
        return [dataclasses.replace(off, graded=grade.reason)]
    try:
        findings = list(check.run(subject))
    except VhdfastError as error:
        # What it says of where and what to do has places of its own.
        where = Evidence("error", error.message, path=error.path, offset=error.offset)
        message = f"could not be looked at: {error.message}"
        findings = [check.unknown(message, where, remedy=error.hint)]
    if grade is not None:
        findings = [_graded(finding, grade) for finding in findings]
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


def _graded(finding: Finding, grade: Grade) -> Finding:
    assert grade.severity is not None
    return dataclasses.replace(finding, severity=grade.severity, graded=grade.reason)
