"""junit: the XML that CI systems read as the results of tests.

There is no standard; this keeps to what Jenkins, GitLab and GitHub's actions have in common: a
<testsuite> for each image, a <testcase> for each check, and in it <failure>, <error> or <skipped>.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from ..checks import CHECKS, CheckedImage, Finding, Outcome, Severity
from ..errors import VhdfastError, printable
from .base import Report

__all__ = ["JunitReport"]

_OUTCOMES = ("failure", "error", "skipped")


class JunitReport(Report):
    """A warning passes, with what it says in <system-out>; under strict it is a failure."""

    name = "junit"
    marker = b"<testsuite"

    def begin(self) -> None:
        self.write('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="vhdfast check">\n')

    def image(self, image: CheckedImage) -> None:
        suite = self._suite(image.path)
        properties = ET.SubElement(suite, "properties")
        for name, value in (
            ("verdict", image.verdict()),
            ("format", image.format),
            ("subformat", image.subformat),
            ("virtual_size", image.virtual_size),
            ("file_size", image.file_size),
            ("judged_as_is", "true" if image.judged_as_is else "false"),
        ):
            if value is not None:
                ET.SubElement(properties, "property", name=name, value=_text(str(value)))
        for check, findings in _by_check(image.findings):
            suite.append(self._case(check, findings))
        self._put(suite)

    def error(self, path: str, error: VhdfastError) -> None:
        suite = self._suite(path)
        case = ET.SubElement(suite, "testcase", classname="vhdfast", name="open")
        found = ET.SubElement(case, "error", message=_text(error.message), type=error.code)
        found.text = _text(str(error))
        self._put(suite)

    def end(self, exit_code: int) -> None:
        self.write("</testsuites>\n")

    def _suite(self, path: str) -> ET.Element:
        stamp = self.run.started.strftime("%Y-%m-%dT%H:%M:%S")
        return ET.Element("testsuite", name=_text(path), timestamp=stamp)

    def _put(self, suite: ET.Element) -> None:
        cases = suite.findall("testcase")
        suite.set("tests", str(len(cases)))
        for outcome, name in zip(_OUTCOMES, ("failures", "errors", "skipped"), strict=True):
            suite.set(name, str(sum(case.find(outcome) is not None for case in cases)))
        ET.indent(suite)
        self.write(ET.tostring(suite, encoding="unicode") + "\n")

    def _case(self, check: str, findings: list[Finding]) -> ET.Element:
        case = ET.Element("testcase", classname=f"vhdfast.{CHECKS[check].group()}", name=check)
        outcome, told = self._outcome(findings)
        if outcome is not None:
            message = _text("; ".join(finding.message for finding in told))
            found = ET.SubElement(case, outcome, message=message)
            if outcome != "skipped":
                found.set("type", told[0].severity.value)
                found.text = _described(told)
        others = [
            finding
            for finding in findings
            if finding not in told and finding.outcome in (Outcome.FAIL, Outcome.UNKNOWN)
        ]
        if others:
            ET.SubElement(case, "system-out").text = _described(others)
        return case

    def _outcome(self, findings: list[Finding]) -> tuple[str | None, list[Finding]]:
        """What the check came to, and the findings that say so: the worst of them."""
        failing = [Severity.ERROR, Severity.WARNING] if self.run.strict else [Severity.ERROR]
        failed = [f for f in findings if f.outcome is Outcome.FAIL and f.severity in failing]
        if failed:
            return "failure", failed
        unknown = [f for f in findings if f.outcome is Outcome.UNKNOWN]
        undecided = [f for f in unknown if f.severity is Severity.ERROR]
        if undecided:
            return "error", undecided
        # It passes where anything could be judged, whatever it was.
        idle = unknown + [f for f in findings if f.outcome is Outcome.SKIPPED]
        return ("skipped", idle) if len(idle) == len(findings) else (None, [])


def _by_check(findings: tuple[Finding, ...]) -> Iterator[tuple[str, list[Finding]]]:
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.check, []).append(finding)
    yield from groups.items()


def _described(findings: list[Finding]) -> str:
    lines = []
    for finding in findings:
        lines.append(f"{finding.severity.value}: {finding.message}")
        lines += [f"  {evidence}" for evidence in finding.evidence]
        if finding.graded is not None:
            lines.append(f"  graded: {finding.graded}")
        if finding.remedy is not None:
            lines.append(f"  to do: {finding.remedy}")
    return "\n".join(map(_text, lines))


def _text(text: str) -> str:
    """What XML 1.0 can hold: of what cannot be printed it holds nothing worth having."""
    return printable(text, len(text))
