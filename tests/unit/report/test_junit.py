"""JUnit's XML, read back with a parser."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.findings import (
    ERROR,
    FAIL,
    NOTE,
    PASS,
    SKIPPED,
    UNKNOWN,
    WARNING,
    finding,
    image,
    run_of,
    told,
    written,
)
from vhdfast.checks import Evidence, Finding
from vhdfast.errors import ReadError


def suite(*findings: Finding, strict: bool = False, **more: Any) -> ET.Element:
    text = written("junit", run_of(strict=strict), *told(image(*findings, **more)))
    (only,) = ET.fromstring(text)
    return only


def case(*findings: Finding, strict: bool = False) -> ET.Element:
    (only,) = suite(*findings, strict=strict).findall("testcase")
    return only


def test_no_image_at_all_is_an_empty_document() -> None:
    root = ET.fromstring(written("junit", run_of()))
    assert (root.tag, list(root)) == ("testsuites", [])


def test_an_image_is_a_suite_with_properties() -> None:
    found = suite(finding("tables", PASS), finding("notices", SKIPPED))
    assert found.attrib == {
        "name": "disk.vhd", "timestamp": "2026-01-02T03:04:05",
        "tests": "2", "failures": "0", "errors": "0", "skipped": "1",
    }  # fmt: skip
    properties = {entry.get("name"): entry.get("value") for entry in found.iter("property")}
    assert properties["verdict"] == "no known obstacle"
    assert properties["virtual_size"] == "20971520"


def test_a_check_is_a_case_that_passes() -> None:
    found = case(finding("whole-mib", PASS))
    assert (found.get("classname"), found.get("name")) == ("vhdfast.azure", "whole-mib")
    assert list(found) == []


def test_a_failed_error_is_a_failure_with_all_that_is_known() -> None:
    evidence = Evidence("size", "1", "2", offset=16)
    (failure,) = case(
        finding("tables", FAIL, ERROR, "it is odd", evidence, remedy="vhdfast repair x")
    )
    assert (failure.tag, failure.get("message")) == ("failure", "it is odd")
    assert failure.text == (
        "error: it is odd\n  at offset 0x10: size: 1, expected 2\n  to do: vhdfast repair x"
    )


@pytest.mark.parametrize(
    ("outcome", "severity", "strict", "tag"),
    [
        (FAIL, WARNING, False, "system-out"),
        (FAIL, WARNING, True, "failure"),
        (FAIL, NOTE, True, "system-out"),
        (UNKNOWN, ERROR, False, "error"),
        (SKIPPED, ERROR, True, "skipped"),
    ],
)
def test_what_a_case_holds(outcome: Any, severity: Any, strict: bool, tag: str) -> None:
    (child,) = case(finding("tables", outcome, severity, "it is odd"), strict=strict)
    assert child.tag == tag
    assert "it is odd" in (child.get("message") or child.text or "")


def test_a_doubt_that_does_not_matter_is_skipped_and_told() -> None:
    found = case(finding("notices", UNKNOWN, WARNING, "cannot be told"))
    assert [child.tag for child in found] == ["skipped"]
    assert found[0].get("message") == "cannot be told"


def test_several_findings_of_a_check_are_one_case_of_the_worst() -> None:
    found = case(
        finding("notices", FAIL, NOTE, "small"),
        finding("notices", FAIL, ERROR, "first"),
        finding("notices", FAIL, ERROR, "second"),
    )
    failure, output = found
    assert (failure.tag, failure.get("message")) == ("failure", "first; second")
    assert (output.tag, output.text) == ("system-out", "note: small")


def test_counts_are_those_of_cases() -> None:
    found = suite(
        finding("notices", FAIL), finding("notices", FAIL), finding("tables", UNKNOWN),
        finding("whole-mib", PASS),
    )  # fmt: skip
    counts = [found.get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["3", "1", "1", "0"]


def test_the_reason_of_a_grade_is_told() -> None:
    (failure,) = case(finding("notices", FAIL, ERROR, "odd", graded="rule 7 of ours"))
    assert "graded: rule 7 of ours" in (failure.text or "")


def test_what_could_not_be_read_is_a_suite_with_an_error() -> None:
    error = ReadError("reading failed", path="bad.vhd")
    text = written("junit", run_of(), lambda report: report.error("bad.vhd", error))
    (found,) = ET.fromstring(text)
    assert (found.get("name"), found.get("errors")) == ("bad.vhd", "1")
    (failure,) = found.findall("testcase/error")
    assert (failure.get("type"), failure.text) == ("read", "bad.vhd: reading failed")


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_names_and_messages_make_well_formed_xml(path: str, message: str) -> None:
    found = suite(finding("tables", FAIL, ERROR, message, remedy=message), path=path)
    assert found.get("failures") == "1"


def test_what_xml_cannot_hold_is_left_out() -> None:
    found = suite(finding("tables", FAIL, ERROR, "a\x00\x1b\ufffe\ud800b"), path="x\x07y")
    assert found.get("name") == "x?y"
    assert found.find("testcase/failure").get("message") == "a????b"  # type: ignore[union-attr]
