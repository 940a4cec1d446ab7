"""sarif: Static Analysis Results Interchange Format 2.1.0 (OASIS, with errata 01).

Numbers of sections in comments are those of that document.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
from datetime import datetime, timezone
from typing import IO, Any
from urllib.parse import quote

from .. import __version__
from ..checks import Check, CheckedImage, Evidence, Finding, Outcome, Severity
from ..errors import VhdfastError, printable
from ..files import is_url
from .base import Report, Rows, Run, row

__all__ = ["SarifReport"]

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
# Of a rule that is broken; a result of any other kind has the level "none" (3.27.10).
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
_KINDS = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "fail",
    Outcome.UNKNOWN: "open",
    Outcome.SKIPPED: "notApplicable",
}
# What a URI holds as it is (RFC 3986), apart from letters, digits and "-._~".
_IN_PATHS = "/"
_IN_URLS = "%:/?#[]@!$&'()*+,;="


class SarifReport(Report):
    name = "sarif"
    marker = b"sarif"

    def __init__(self, out: IO[bytes], run: Run) -> None:
        super().__init__(out, run)
        self._rules = {check.id: index for index, check in enumerate(run.checks)}
        self._results = 0
        self._artifacts = Rows(indent=8)
        self._notifications = Rows(indent=12)

    def begin(self) -> None:
        rules = [_rule(check) for check in self.run.checks]
        driver = {"name": "vhdfast", "semanticVersion": __version__, "rules": rules}
        self.write(f'{{\n  "$schema": "{SCHEMA}",\n  "version": "2.1.0",\n  "runs": [\n    {{')
        self._field("tool", {"driver": driver})
        self.write(',\n      "columnKind": "unicodeCodePoints",\n      "results": [')

    def image(self, image: CheckedImage) -> None:
        index = self._artifacts.count
        self._artifacts.add(_artifact(image))
        for finding in image.findings:
            result = _result(image, index, finding, self._rules[finding.check])
            self.write(row(result, "        ", self._results == 0))
            self._results += 1

    def error(self, path: str, error: VhdfastError) -> None:
        self._notifications.add(_notification(path, error))

    def end(self, exit_code: int) -> None:
        self.write('\n      ],\n      "artifacts": [')
        self._artifacts.write_to(self.out)
        self.write('\n      ],\n      "invocations": [\n        {')
        fields = {
            "executionSuccessful": self._notifications.count == 0,
            "exitCode": exit_code,
            "startTimeUtc": _time(self.run.started),
            "endTimeUtc": _time(datetime.now(timezone.utc)),
            "ruleConfigurationOverrides": self._overrides(),
        }
        for name, value in fields.items():
            text = json.dumps(value, indent=2).replace("\n", "\n          ")
            self.write(f'\n          "{name}": {text},')
        self.write('\n          "toolExecutionNotifications": [')
        self._notifications.write_to(self.out)
        self.write("\n          ]\n        }\n      ]\n    }\n  ]\n}\n")

    def close(self) -> None:
        self._artifacts.close()
        self._notifications.close()

    def _field(self, name: str, value: Any) -> None:
        text = json.dumps(value, indent=2).replace("\n", "\n      ")
        self.write(f'\n      "{name}": {text}')

    def _overrides(self) -> list[dict[str, Any]]:
        """Checks that the user grades otherwise (3.20.5)."""
        found = []
        for check in self.run.checks:
            grade = self.run.selection.grade_of(check)
            if grade is None:
                continue
            configuration: dict[str, Any] = {"properties": {"reason": printable(grade.reason)}}
            if grade.severity is None:
                configuration["enabled"] = False
            else:
                configuration["level"] = _LEVELS[grade.severity]
            descriptor = {"id": check.id, "index": self._rules[check.id]}
            found.append({"configuration": configuration, "descriptor": descriptor})
        return found


# ---- rules --------------------------------------------------------------------------------------


def _rule(check: type[Check]) -> dict[str, Any]:
    sections = (("What is looked at", check.what), ("Why", check.why), ("How it is met", check.fix))
    links = [f"- [{reference.title}]({reference.url})" for reference in check.references]
    marked = "\n\n".join(f"**{title}.** {text}" for title, text in sections)
    rule: dict[str, Any] = {
        "id": check.id,
        "name": check.__name__,
        "shortDescription": {"text": _sentence(check.title)},
        "fullDescription": {"text": f"{check.what} {check.why}"},
        "help": {
            "text": "\n".join(f"{title}: {text.replace('`', '')}" for title, text in sections),
            "markdown": "\n\n".join([marked, "\n".join(links)]) if links else marked,
        },
        "defaultConfiguration": {"level": _LEVELS[check.severity]},
        "properties": {"tags": [check.group()]},
    }
    if check.references:
        rule["helpUri"] = check.references[0].url
    return rule


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


# ---- results ------------------------------------------------------------------------------------


def _result(image: CheckedImage, index: int, finding: Finding, rule: int) -> dict[str, Any]:
    is_failure = finding.outcome is Outcome.FAIL
    result: dict[str, Any] = {
        "ruleId": finding.check,
        "ruleIndex": rule,
        "kind": _KINDS[finding.outcome],
        "level": _LEVELS[finding.severity] if is_failure else "none",
        "message": {"text": _message(finding)},
        "locations": _locations(image, index, finding),
    }
    properties = {"severity": finding.severity.value, "remedy": finding.remedy}
    if finding.graded is not None:
        properties["graded"] = printable(finding.graded)
    result["properties"] = {name: value for name, value in properties.items() if value}
    return result


def _message(finding: Finding) -> str:
    text = _sentence(printable(finding.message, len(finding.message)))
    if finding.remedy and finding.outcome in (Outcome.FAIL, Outcome.UNKNOWN):
        text += f" To do: {printable(finding.remedy, len(finding.remedy))}"
    return _plain(text)


def _plain(text: str) -> str:
    """Text in which nothing is a link or a placeholder (3.11.5, 3.11.6)."""
    return re.sub(r"([\\\[\]])", r"\\\1", text).replace("{", "{{").replace("}", "}}")


def _locations(image: CheckedImage, index: int, finding: Finding) -> list[dict[str, Any]]:
    """One for each place in a file that evidence names; the image as a whole where none does."""
    # What was unpacked, or lies within another file, has offsets of its own.
    is_itself = image.stream is None and image.container is None
    places = []
    for evidence in finding.evidence:
        other = evidence.path is not None and evidence.path != image.path
        if not other and (evidence.offset is None or not is_itself):
            continue
        place = _place(evidence.path if other and evidence.path else image.path)
        if not other:
            place["physicalLocation"]["artifactLocation"]["index"] = index
        if evidence.offset is not None and (not other or is_itself):
            place["physicalLocation"]["region"] = {"byteOffset": evidence.offset}
        place["message"] = {"text": _plain(_described(evidence))}
        places.append(place)
    if places:
        return places
    whole = _place(image.path)
    whole["physicalLocation"]["artifactLocation"]["index"] = index
    return [whole]


def _described(evidence: Evidence) -> str:
    wanted = "" if evidence.expected is None else f", expected {evidence.expected}"
    text = f"{evidence.what}: {evidence.found}{wanted}"
    return printable(text, len(text))


def _place(path: str) -> dict[str, Any]:
    return {"physicalLocation": {"artifactLocation": {"uri": uri(path)}}}


def _artifact(image: CheckedImage) -> dict[str, Any]:
    properties = {
        "format": image.format,
        "subformat": image.subformat,
        "virtualSize": image.virtual_size,
        "stream": image.stream,
        "container": image.container,
        "verdict": image.verdict(),
    }
    return {
        "location": {"uri": uri(image.path)},
        "length": image.file_size,
        "roles": ["analysisTarget"],
        "properties": {name: value for name, value in properties.items() if value is not None},
    }


def _notification(path: str, error: VhdfastError) -> dict[str, Any]:
    place = _place(path)
    if error.offset is not None and error.path == path:
        place["physicalLocation"]["region"] = {"byteOffset": error.offset}
    return {
        "level": "error",
        "message": {"text": _plain(printable(str(error), len(str(error))))},
        "locations": [place],
        "properties": {"code": error.code, "exitCode": error.exit_code},
    }


def uri(path: str) -> str:
    """A path as a URI reference: relative as it is, absolute with "file:" (3.10, RFC 3986)."""
    if is_url(path):
        return quote(path, safe=_IN_URLS)
    if os.path.isabs(path):
        return pathlib.PurePath(path).as_uri()
    return quote(os.fsencode(path), safe=_IN_PATHS)


def _time(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
