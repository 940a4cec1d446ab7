"""A report of checks as the JSON contract has it (docs/json.md)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ..checks import CheckedImage, Finding
from ..errors import VhdfastError

__all__ = ["document"]


def document(
    images: Sequence[CheckedImage], errors: Sequence[VhdfastError], strict: bool
) -> dict[str, Any]:
    """The fields of vhdfast.check/1."""
    return {
        "images": [_image(image, strict) for image in images],
        "errors": [error.to_dict() for error in errors],
    }


def _image(image: CheckedImage, strict: bool) -> dict[str, Any]:
    return {
        "path": image.path,
        "format": image.format,
        "subformat": image.subformat,
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
    }
