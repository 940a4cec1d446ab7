"""What checks found, made by hand for the tests of reports."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from vhdfast.checks import (
    CHECKS,
    CheckedImage,
    Evidence,
    Finding,
    Grade,
    Outcome,
    Selection,
    Severity,
)
from vhdfast.report import Report, Run, report_of

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
PASS, FAIL, UNKNOWN, SKIPPED = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN, Outcome.SKIPPED


def finding(
    check: str = "whole-mib",
    outcome: Outcome = FAIL,
    severity: Severity = ERROR,
    message: str = "it is odd",
    *evidence: Evidence,
    **more: Any,
) -> Finding:
    return Finding(check, CHECKS[check].title, outcome, severity, message, evidence, **more)


def image(*findings: Finding, path: str = "disk.vhd", **more: Any) -> CheckedImage:
    return CheckedImage(path, "vhd", "fixed", 20971520, 20972032, True, findings, **more)


def run_of(*grades: Grade, strict: bool = False) -> Run:
    checks = [CHECKS[name] for name in ("whole-mib", "tables", "notices")]
    started = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    return Run(checks, Selection(grades=grades), strict, started)


def written(form: str, run: Run, *calls: Callable[[Report], None], exit_code: int = 0) -> str:
    """The text of a report of that form that was told these things."""
    out = io.BytesIO()
    report = report_of(form)(out, run)
    report.begin()
    for call in calls:
        call(report)
    report.end(exit_code)
    report.close()
    return out.getvalue().decode("utf-8")


def told(*images: CheckedImage) -> list[Callable[[Report], None]]:
    """Calls for `written`, one an image."""
    return [lambda report, one=one: report.image(one) for one in images]  # type: ignore[misc]
