"""The JSON contract of check."""

from __future__ import annotations

import json
from typing import Any

from tests.support.findings import ERROR, FAIL, finding, image, run_of, told, written
from vhdfast.checks import Evidence
from vhdfast.errors import ReadError


def document(*calls: Any, strict: bool = False, exit_code: int = 0) -> Any:
    return json.loads(written("json", run_of(strict=strict), *calls, exit_code=exit_code))


def test_no_image_at_all() -> None:
    assert document() == {
        "schema": "vhdfast.check/1", "images": [], "exit_code": 0, "errors": [],
    }  # fmt: skip


def test_every_field() -> None:
    evidence = Evidence("size", "1", "2", offset=16)
    found = finding("tables", FAIL, ERROR, "odd", evidence, remedy="mend it", graded="why")
    assert document(*told(image(found, stream="xz")), exit_code=1) == {
        "schema": "vhdfast.check/1",
        "images": [
            {
                "path": "disk.vhd",
                "format": "vhd",
                "subformat": "fixed",
                "stream": "xz",
                "container": None,
                "virtual_size": 20971520,
                "file_size": 20972032,
                "judged_as_is": True,
                "verdict": {"accepted": "obstacle: odd"},
                "exit_code": 1,
                "findings": [
                    {
                        "check": "tables",
                        "title": "every block of the disk lies where it may",
                        "outcome": "fail",
                        "severity": "error",
                        "message": "odd",
                        "evidence": [
                            {
                                "what": "size", "found": "1", "expected": "2", "path": None,
                                "offset": 16,
                            }
                        ],
                        "remedy": "mend it",
                        "graded": "why",
                    }
                ],
            }
        ],
        "exit_code": 1,
        "errors": [],
    }  # fmt: skip


def test_several_images_and_errors() -> None:
    first, second = ReadError("one", path="x"), ReadError("two", path="y", offset=1)
    found = document(
        lambda report: report.error("x", first), *told(image(), image(path="b")),
        lambda report: report.error("y", second), exit_code=5,
    )  # fmt: skip
    assert [entry["path"] for entry in found["images"]] == ["disk.vhd", "b"]
    assert [(entry["path"], entry["offset"]) for entry in found["errors"]] == [
        ("x", None), ("y", 1),
    ]  # fmt: skip
