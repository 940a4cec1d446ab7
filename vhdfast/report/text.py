"""A report of checks, made to be read in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..checks import CheckedImage, Finding, Outcome, Severity
from ..units import format_bytes

__all__ = ["lines"]

_MARKS = {
    Severity.ERROR: "FAIL",
    Severity.WARNING: "WARN",
    Severity.NOTE: "note",
}
_ORDER = [Severity.ERROR, Severity.WARNING, Severity.NOTE]


def lines(images: Sequence[CheckedImage], show_all: bool = False) -> Iterator[str]:
    """The lines of a report; with show_all also what passed or did not apply."""
    for index, image in enumerate(images):
        if index:
            yield ""
        yield from _image(image, show_all)


def _image(image: CheckedImage, show_all: bool) -> Iterator[str]:
    kind = "unknown format" if image.format is None else f"{image.format}, {image.subformat}"
    size = "" if image.virtual_size is None else f", {format_bytes(image.virtual_size)}"
    yield f"{image.path}: {kind}{size}"
    yield f"accepted by Azure: {image.verdict()}"
    shown = _shown(image, show_all)
    for finding in shown:
        yield ""
        yield from _finding(finding)
    passed = len(image.of(Outcome.PASS))
    skipped = len(image.of(Outcome.SKIPPED))
    yield ""
    counts = [f"{passed} checks passed"]
    for mark, found in (
        ("failed", image.obstacles),
        ("warnings", image.of(Outcome.FAIL, Severity.WARNING)),
        ("notes", image.of(Outcome.FAIL, Severity.NOTE)),
        ("undecided", image.of(Outcome.UNKNOWN)),
    ):
        if found:
            counts.append(f"{len(found)} {mark}")
    counts.append(f"{skipped} do not apply")
    yield ", ".join(counts)


def _shown(image: CheckedImage, show_all: bool) -> list[Finding]:
    """What is shown: the worst first, what passed last."""
    rank = {Outcome.FAIL: 0, Outcome.UNKNOWN: 1, Outcome.PASS: 2, Outcome.SKIPPED: 3}
    wanted = [
        finding
        for finding in image.findings
        if show_all or finding.outcome in (Outcome.FAIL, Outcome.UNKNOWN)
    ]
    return sorted(
        wanted, key=lambda finding: (rank[finding.outcome], _ORDER.index(finding.severity))
    )


def _finding(finding: Finding) -> Iterator[str]:
    mark = {
        Outcome.FAIL: _MARKS[finding.severity],
        Outcome.UNKNOWN: "????",
        Outcome.PASS: "pass",
        Outcome.SKIPPED: "skip",
    }[finding.outcome]
    yield f"{mark}  {finding.check}: {finding.message}"
    if finding.outcome in (Outcome.PASS, Outcome.SKIPPED):
        return
    for evidence in finding.evidence:
        if evidence.found not in finding.message:
            yield f"      {evidence}"
    if finding.remedy is not None:
        yield f"      do: {finding.remedy}"
