"""SARIF, against the demands of its specification."""

from __future__ import annotations

import json
import os
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
from tests.support.sarif import check_log
from vhdfast.checks import CheckedImage, Evidence, Finding, Grade
from vhdfast.errors import ReadError
from vhdfast.report import Run


def sarif(*images: CheckedImage, run: Run | None = None, exit_code: int = 0) -> Any:
    """The one run of the log."""
    log = json.loads(written("sarif", run or run_of(), *told(*images), exit_code=exit_code))
    check_log(log)
    (only,) = log["runs"]
    return only


def result_of(found: Finding, **more: Any) -> Any:
    (result,) = sarif(image(found, **more))["results"]
    return result


def test_a_run_without_images_is_a_valid_log() -> None:
    run = sarif()
    assert (run["results"], run["artifacts"]) == ([], [])
    assert run["invocations"][0]["executionSuccessful"] is True
    assert run["invocations"][0]["startTimeUtc"] == "2026-01-02T03:04:05.000Z"


def test_checks_are_rules() -> None:
    rules = sarif()["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["whole-mib", "tables", "notices"]
    assert rules[0]["shortDescription"]["text"] == "The virtual size is a whole number of MiB."
    assert rules[0]["helpUri"].startswith("https://learn.microsoft.com/")
    assert "(https://learn.microsoft.com/" in rules[0]["help"]["markdown"]
    assert "helpUri" not in rules[1], "a check without references"
    assert [rule["defaultConfiguration"]["level"] for rule in rules] == [
        "error", "error", "warning",
    ]  # fmt: skip
    assert [rule["properties"]["tags"] for rule in rules] == [
        ["azure"], ["structure"], ["structure"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "severity", "kind", "level"),
    [
        (FAIL, ERROR, "fail", "error"),
        (FAIL, WARNING, "fail", "warning"),
        (FAIL, NOTE, "fail", "note"),
        (UNKNOWN, ERROR, "open", "none"),
        (PASS, ERROR, "pass", "none"),
        (SKIPPED, WARNING, "notApplicable", "none"),
    ],
)
def test_outcomes_are_kinds_and_levels(outcome: Any, severity: Any, kind: str, level: str) -> None:
    result = result_of(finding("tables", outcome, severity))
    assert (result["kind"], result["level"]) == (kind, level)
    assert (result["ruleId"], result["ruleIndex"]) == ("tables", 1)


def test_the_remedy_stands_in_the_message() -> None:
    result = result_of(finding(message="the size is odd", remedy="vhdfast repair disk.vhd"))
    assert result["message"]["text"] == "The size is odd. To do: vhdfast repair disk.vhd"
    assert result["properties"]["remedy"] == "vhdfast repair disk.vhd"


def test_what_could_be_a_link_or_a_placeholder_is_neither() -> None:
    result = result_of(finding(message="the name is [a](b) {0} \\"))
    assert result["message"]["text"] == "The name is \\[a\\](b) {{0}} \\\\."


def test_evidence_with_an_offset_is_a_region() -> None:
    evidence = Evidence("checksum", "0x1", "0x2", offset=0x1400040)
    (location,) = result_of(finding("tables", FAIL, ERROR, "wrong", evidence))["locations"]
    assert location == {
        "physicalLocation": {
            "artifactLocation": {"uri": "disk.vhd", "index": 0},
            "region": {"byteOffset": 0x1400040},
        },
        "message": {"text": "checksum: 0x1, expected 0x2"},
    }


def test_evidence_in_another_file_is_located_there() -> None:
    evidence = Evidence("cid", "1", "2", path="base.vmdk", offset=512)
    (location,) = result_of(finding("tables", FAIL, ERROR, "wrong", evidence))["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "base.vmdk"}, "region": {"byteOffset": 512},
    }  # fmt: skip


def test_without_a_place_it_is_the_image_as_a_whole() -> None:
    (location,) = result_of(finding("tables", FAIL, ERROR, "wrong", Evidence("size", "1")))[
        "locations"
    ]
    assert location == {"physicalLocation": {"artifactLocation": {"uri": "disk.vhd", "index": 0}}}


@pytest.mark.parametrize("where", [{"stream": "gzip"}, {"container": "OVA, a.ova"}])
def test_offsets_in_what_was_unpacked_are_no_regions_of_the_file(where: dict[str, str]) -> None:
    evidence = Evidence("checksum", "0x1", "0x2", offset=64)
    (location,) = result_of(finding("tables", FAIL, ERROR, "wrong", evidence), **where)["locations"]
    assert "region" not in location["physicalLocation"]


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("a/disk 1.vhd", "a/disk%201.vhd"),
        ("../100%.vhd", "../100%25.vhd"),
        ("C:disk.vhd", "C%3Adisk.vhd"),
        ("\xfc.vhd", "%C3%BC.vhd"),
        (os.fsdecode(b"\xff.vhd"), "%FF.vhd"),
        ("/srv/a b.vhd", "file:///srv/a%20b.vhd"),
        ("https://host/a b.vhd", "https://host/a%20b.vhd"),
        ("https://user:***@host/a.vhd", "https://user:***@host/a.vhd"),
    ],
)
def test_paths_are_uris(path: str, uri: str) -> None:
    run = sarif(image(finding(), path=path))
    assert run["artifacts"][0]["location"]["uri"] == uri
    (location,) = run["results"][0]["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == uri


def test_images_are_artifacts() -> None:
    run = sarif(image(path="a.vhd"), image(finding(), path="b.vhd"))
    first, second = run["artifacts"]
    assert (first["length"], first["roles"]) == (20972032, ["analysisTarget"])
    assert first["properties"]["verdict"] == "no known obstacle"
    assert second["properties"]["verdict"] == "obstacle: it is odd"
    (location,) = run["results"][0]["locations"]
    assert location["physicalLocation"]["artifactLocation"]["index"] == 1


def test_what_could_not_be_read_is_a_notification() -> None:
    error = ReadError("reading failed: EIO", path="bad.vhd", offset=512, hint="try again")
    log = json.loads(
        written("sarif", run_of(), lambda report: report.error("bad.vhd", error), exit_code=5)
    )
    check_log(log)
    (invocation,) = log["runs"][0]["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 5)
    (notification,) = invocation["toolExecutionNotifications"]
    assert notification["level"] == "error"
    assert notification["properties"] == {"code": "read", "exitCode": 5}
    assert notification["message"]["text"] == (
        "bad.vhd: at offset 0x200: reading failed: EIO; try again"
    )


def test_obstacles_are_no_failure_of_the_tool() -> None:
    (invocation,) = sarif(image(finding()), exit_code=1)["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (True, 1)


def test_grades_are_overrides_of_rules() -> None:
    run = run_of(Grade("tables", NOTE, "we know"), Grade("notices", None, "too many"))
    found = sarif(image(finding("tables", FAIL, NOTE, "x", graded="we know")), run=run)
    assert found["invocations"][0]["ruleConfigurationOverrides"] == [
        {
            "descriptor": {"id": "tables", "index": 1},
            "configuration": {"level": "note", "properties": {"reason": "we know"}},
        },
        {
            "descriptor": {"id": "notices", "index": 2},
            "configuration": {"enabled": False, "properties": {"reason": "too many"}},
        },
    ]
    assert found["results"][0]["properties"]["graded"] == "we know"


@given(st.text(min_size=1, max_size=40), st.text(max_size=40))
def test_any_names_and_messages_make_a_valid_log(path: str, message: str) -> None:
    if "\0" in path:
        return
    evidence = Evidence(message, message, message, path=path, offset=1)
    sarif(image(finding("tables", FAIL, ERROR, message, evidence, remedy=message), path=path))
