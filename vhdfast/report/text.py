"""A report of checks, made to be read in a terminal: lines of pieces with a style each.

Whoever prints them makes names harmless and gives styles their colours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from ..checks import CheckedImage, Evidence, Finding, Outcome, Severity
from ..units import format_bytes
from .layout import Line, Style, counted, hanging

__all__ = ["image_lines", "outcome_of", "style_of", "weights"]

_MARKS: dict[Severity, tuple[str, Style]] = {
    Severity.ERROR: ("FAIL", "bad"),
    Severity.WARNING: ("WARN", "warn"),
    Severity.NOTE: ("note", "note"),
}
_SEVERITIES = [Severity.ERROR, Severity.WARNING, Severity.NOTE]
_OUTCOMES = [Outcome.FAIL, Outcome.UNKNOWN, Outcome.PASS, Outcome.SKIPPED]
_INDENT = 6  # of what stands below a mark
# A command, and what stands behind it for people: words of a shell hold no ", " outside quotes.
_COMMAND = re.compile(r"""(vhdfast (?:'[^']*'|"[^"]*"|[^'",]|,(?! ))*)(?:, (.*))?""", re.DOTALL)

Kind = Literal["obstacle", "warning", "not judged", "no known obstacle"]


def image_lines(
    image: CheckedImage, width: int, show_all: bool = False, strict: bool = False
) -> Iterator[Line]:
    """The lines about one image; with show_all also what passed or did not apply.

    width: columns of the terminal. Commands are never wrapped, nor words that are longer. strict:
    warnings count as failures.
    """
    yield from _head(image, width, strict)
    findings = _by_weight(image)
    told: dict[str, str] = {}
    for finding in findings:
        if finding.outcome in (Outcome.FAIL, Outcome.UNKNOWN):
            yield []
            yield from _finding(image, finding, told, width)
    if show_all:
        yield []
        for finding in findings:
            if finding.outcome in (Outcome.PASS, Outcome.SKIPPED):
                yield from _idle(finding, width)
    yield []
    yield [(_counts(image), "quiet")]


def outcome_of(image: CheckedImage, strict: bool) -> Kind:
    """The verdict in a word or two; "warning" where strict makes that a failure."""
    if image.obstacles:
        return "obstacle"
    if strict and image.of(Outcome.FAIL, Severity.WARNING):
        return "warning"
    return "not judged" if image.undecided else "no known obstacle"


def style_of(kind: str) -> Style:
    styles: dict[str, Style] = {"obstacle": "bad", "not read": "bad", "no known obstacle": "good"}
    return styles.get(kind, "warn")


def _head(image: CheckedImage, width: int, strict: bool) -> Iterator[Line]:
    # What the obstacles are stands right below, with what to do.
    found = outcome_of(image, strict)
    verdict = image.verdict() if found == "no known obstacle" else found
    if found == "warning":
        warnings = counted(len(image.of(Outcome.FAIL, Severity.WARNING)), "warning")
        verdict = f"{warnings}, and --strict"
    elif len(image.obstacles) > 1:
        verdict = counted(len(image.obstacles), "obstacle")
    yield [(f"{image.path}: ", "strong"), (verdict, style_of(found))]
    kind = "unknown format" if image.format is None else f"{image.format}, {image.subformat}"
    if image.stream is not None:
        kind += f", unpacked from a {image.stream} stream"
    if image.container is not None:
        kind += f", in a container ({image.container})"
    size = "" if image.virtual_size is None else f", {format_bytes(image.virtual_size)}"
    judged = "as it is" if image.judged_as_is else "as a source of convert"
    yield from hanging("  ", f"{kind}{size}; judged {judged}", width, "quiet")


def _by_weight(image: CheckedImage) -> list[Finding]:
    """The worst first, what passed last."""
    return sorted(
        image.findings,
        key=lambda finding: (
            _OUTCOMES.index(finding.outcome), _SEVERITIES.index(finding.severity),
        ),
    )  # fmt: skip


def _finding(
    image: CheckedImage, finding: Finding, told: dict[str, str], width: int
) -> Iterator[Line]:
    """A finding that asks for attention. told: {remedy: check that it was told for}."""
    mark, style = _MARKS[finding.severity]
    if finding.outcome is Outcome.UNKNOWN:
        mark, style = "????", "warn"
    below = " " * _INDENT
    first, *rest = hanging(below, f"{finding.check}: {finding.message}", width)
    yield [(f"{mark:<{_INDENT}}", style), (first[0][0].removeprefix(below), "")]
    yield from rest
    for evidence in finding.evidence:
        text = _new_in(evidence, finding.message, image.path)
        if text:
            yield from hanging(below, text, width, "quiet", by=2)
    if finding.graded is not None:
        words = f"graded as {_a(finding.severity.value)}: {finding.graded}"
        yield from hanging(below, words, width, "quiet", by=2)
    if finding.remedy is None:
        return
    if finding.remedy in told:
        yield [(f"{below}do: the same as for {told[finding.remedy]}", "")]
        return
    told[finding.remedy] = finding.check
    yield from _remedy(finding.remedy, below, width)


def _remedy(remedy: str, below: str, width: int) -> Iterator[Line]:
    command = _COMMAND.fullmatch(remedy)
    if command is None:
        yield from hanging(below, f"do: {remedy}", width, by=4)
        return
    yield [(f"{below}$ ", "quiet"), (command[1], "command")]
    if command[2]:
        yield from hanging(below, f"{command[2]}", width, by=2)


def _new_in(evidence: Evidence, message: str, path: str) -> str:
    """What evidence says that its finding's message does not."""
    wanted = evidence.expected
    is_told = evidence.found in message and (wanted is None or wanted in message)
    where = []
    if evidence.path is not None and evidence.path != path and evidence.path not in message:
        where.append(f"in {evidence.path}")
    if evidence.offset is not None:
        where.append(f"at offset {evidence.offset:#x}")
    place = " ".join(where)
    if is_told:
        return place
    text = f"{evidence.what}: {evidence.found}" + ("" if wanted is None else f", expected {wanted}")
    return f"{place}: {text}" if place else text


def _idle(finding: Finding, width: int) -> Iterator[Line]:
    """A finding that asks for nothing."""
    mark = "pass" if finding.outcome is Outcome.PASS else "skip"
    style: Style = "good" if finding.outcome is Outcome.PASS else "quiet"
    below = " " * _INDENT
    reason = "" if finding.graded is None else f" ({finding.graded})"
    first, *rest = hanging(below, f"{finding.check}: {finding.message}{reason}", width)
    yield [(f"{mark:<{_INDENT}}", style), (first[0][0].removeprefix(below), "")]
    yield from rest


def _counts(image: CheckedImage) -> str:
    skipped = image.of(Outcome.SKIPPED)
    off = sum(finding.graded is not None for finding in skipped)
    passed, idle = len(image.of(Outcome.PASS)), len(skipped) - off
    parts = [
        f"{counted(passed, 'check')} passed",
        *weights(image),
        f"{idle} {'does' if idle == 1 else 'do'} not apply" if idle else "",
        f"{off} {'is' if off == 1 else 'are'} switched off" if off else "",
    ]
    return ", ".join(part for part in parts if part)


def weights(image: CheckedImage) -> list[str]:
    """What speaks against an image, counted: "1 failed", "2 warnings"."""
    failed = len(image.obstacles)
    warnings = len(image.of(Outcome.FAIL, Severity.WARNING))
    notes = len(image.of(Outcome.FAIL, Severity.NOTE))
    unknown = len(image.of(Outcome.UNKNOWN))
    counts = [
        f"{failed} failed" if failed else "",
        counted(warnings, "warning") if warnings else "",
        counted(notes, "note") if notes else "",
        f"{unknown} undecided" if unknown else "",
    ]
    return [count for count in counts if count]


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
