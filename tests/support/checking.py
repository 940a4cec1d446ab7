"""Running one check over an image, and what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vhdfast import api
from vhdfast.checks import CheckOptions, Finding, Outcome, Selection, Severity

Verdict = tuple[Outcome, Severity]
PASS = Outcome.PASS
SKIPPED = Outcome.SKIPPED
UNKNOWN = Outcome.UNKNOWN
ERROR = (Outcome.FAIL, Severity.ERROR)
WARNING = (Outcome.FAIL, Severity.WARNING)
NOTE = (Outcome.FAIL, Severity.NOTE)


def findings(path: Path, name: str, format: str | None = None, **options: Any) -> list[Finding]:
    """What the check of this id says."""
    selection = Selection([name])
    checked = api.check(
        path, from_format=format, options=CheckOptions(**options), selection=selection
    )
    assert {finding.check for finding in checked.findings} == {name}
    return list(checked.findings)


def one(path: Path, name: str, format: str | None = None, **options: Any) -> Finding:
    """The only finding of a check."""
    (finding,) = findings(path, name, format, **options)
    return finding


def verdict(finding: Finding) -> Verdict | Outcome:
    """The outcome; of a failure with its severity."""
    if finding.outcome is Outcome.FAIL:
        return finding.outcome, finding.severity
    return finding.outcome
