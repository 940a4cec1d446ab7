"""json: a report as the JSON contract has it, vhdfast.check/1 (docs/json.md)."""

from __future__ import annotations

import dataclasses
from typing import IO, Any

from ..checks import CheckedImage, Finding
from ..errors import VhdfastError
from .base import Report, Rows, Run, row

__all__ = ["JsonReport"]


class JsonReport(Report):
    name = "json"
    marker = b"vhdfast.check/1"

    def __init__(self, out: IO[bytes], run: Run) -> None:
        super().__init__(out, run)
        self._images = 0
        self._errors = Rows(indent=4)

    def begin(self) -> None:
        self.write('{\n  "schema": "vhdfast.check/1",\n  "images": [')

    def image(self, image: CheckedImage) -> None:
        self.write(row(_image(image, self.run.strict), "    ", self._images == 0))
        self._images += 1

    def error(self, path: str, error: VhdfastError) -> None:
        self._errors.add(error.to_dict())

    def end(self, exit_code: int) -> None:
        self.write(f'\n  ],\n  "exit_code": {exit_code},\n  "errors": [')
        self._errors.write_to(self.out)
        self.write("\n  ]\n}\n")

    def close(self) -> None:
        self._errors.close()


def _image(image: CheckedImage, strict: bool) -> dict[str, Any]:
    return {
        "path": image.path,
        "format": image.format,
        "subformat": image.subformat,
        "stream": image.stream,
        "container": image.container,
        "virtual_size": image.virtual_size,
        "file_size": image.file_size,
        "judged_as_is": image.judged_as_is,
        "verdict": {"accepted": image.verdict()},
        "exit_code": image.exit_code(strict),
        "findings": [_finding(finding) for finding in image.findings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "title": finding.title,
        "outcome": finding.outcome.value,
        "severity": finding.severity.value,
        "message": finding.message,
        "evidence": [dataclasses.asdict(evidence) for evidence in finding.evidence],
        "remedy": finding.remedy,
        "graded": finding.graded,
    }
