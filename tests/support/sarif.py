"""What SARIF 2.1.0 demands of the objects that vhdfast writes, taken from the specification.

Not the whole format: a property or an object that is not here is as good as wrong until it is
looked up. VHDFAST_SARIF_SCHEMA names a file with the official JSON schema, to check against it too
(with the package jsonschema).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

Rule = Callable[[Any], None]


def check_log(log: Any) -> None:
    """Fail where a log is not what the specification allows (section 3.13 on)."""
    LOG(log)
    for run in log["runs"]:
        rules = run["tool"]["driver"]["rules"]
        ids = [rule["id"] for rule in rules]
        assert len(set(ids)) == len(ids), "3.19.23: the ids of rules are unique"
        for result in run["results"]:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"], "3.27.6"
            assert result["kind"] == "fail" or result["level"] == "none", "3.27.10"
            for location in result["locations"]:
                place = location["physicalLocation"]["artifactLocation"]
                if "index" in place:
                    artifact = run["artifacts"][place["index"]]
                    assert artifact["location"]["uri"] == place["uri"], "3.4.5"
    schema = os.environ.get("VHDFAST_SARIF_SCHEMA")
    if schema:
        jsonschema = pytest.importorskip("jsonschema")
        with open(schema, encoding="utf-8") as file:
            jsonschema.validate(log, json.load(file))


def an_object(needs: dict[str, Rule], may: dict[str, Rule] | None = None) -> Rule:
    def check(value: Any) -> None:
        assert isinstance(value, dict), value
        assert not set(needs) - set(value), f"missing: {set(needs) - set(value)}"
        rules = {**needs, **(may or {})}
        assert not set(value) - set(rules), f"unknown: {set(value) - set(rules)}"
        for name, member in value.items():
            rules[name](member)

    return check


def a_list(rule: Rule, is_unique: bool = False) -> Rule:
    def check(value: Any) -> None:
        assert isinstance(value, list), value
        for member in value:
            rule(member)
        if is_unique:
            texts = [json.dumps(member, sort_keys=True) for member in value]
            assert len(set(texts)) == len(texts), value

    return check


def one_of(*words: str) -> Rule:
    def check(value: Any) -> None:
        assert value in words, value

    return check


def text(value: Any) -> None:
    assert isinstance(value, str) and value, value


def uri(value: Any) -> None:
    text(value)
    assert value.isascii() and not set(value) & set(' "<>\\^`{|}'), value
    urlsplit(value)


def count(value: Any) -> None:
    assert type(value) is int and value >= 0, value


def flag(value: Any) -> None:
    assert isinstance(value, bool), value


def utc(value: Any) -> None:
    assert value.endswith("Z")
    datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ")


def anything(value: Any) -> None:
    assert isinstance(value, dict)


LEVEL = one_of("none", "note", "warning", "error")
MESSAGE = an_object({"text": text}, {"markdown": text})
ARTIFACT_LOCATION = an_object({"uri": uri}, {"index": count})
REGION = an_object({"byteOffset": count}, {"byteLength": count})
PHYSICAL = an_object({"artifactLocation": ARTIFACT_LOCATION}, {"region": REGION})
LOCATION = an_object({"physicalLocation": PHYSICAL}, {"message": MESSAGE})
CONFIGURATION = an_object({}, {"level": LEVEL, "enabled": flag, "properties": anything})
RULE = an_object(
    {"id": text},
    {
        "name": text, "shortDescription": MESSAGE, "fullDescription": MESSAGE, "help": MESSAGE,
        "helpUri": uri, "defaultConfiguration": CONFIGURATION, "properties": anything,
    },
)  # fmt: skip
DRIVER = an_object({"name": text}, {"semanticVersion": text, "rules": a_list(RULE, is_unique=True)})
RESULT = an_object(
    {"message": MESSAGE},
    {
        "ruleId": text, "ruleIndex": count, "level": LEVEL, "properties": anything,
        "kind": one_of("pass", "fail", "open", "review", "notApplicable", "informational"),
        "locations": a_list(LOCATION),
    },
)  # fmt: skip
ARTIFACT = an_object(
    {},
    {
        "location": ARTIFACT_LOCATION, "length": count, "properties": anything,
        "roles": a_list(one_of("analysisTarget"), is_unique=True),
    },
)  # fmt: skip
OVERRIDE = an_object(
    {"configuration": CONFIGURATION, "descriptor": an_object({}, {"id": text, "index": count})}
)
NOTIFICATION = an_object(
    {"message": MESSAGE},
    {"level": LEVEL, "locations": a_list(LOCATION, is_unique=True), "properties": anything},
)
INVOCATION = an_object(
    {"executionSuccessful": flag},
    {
        "exitCode": count, "startTimeUtc": utc, "endTimeUtc": utc,
        "ruleConfigurationOverrides": a_list(OVERRIDE, is_unique=True),
        "toolExecutionNotifications": a_list(NOTIFICATION),
    },
)  # fmt: skip
RUN = an_object(
    {"tool": an_object({"driver": DRIVER})},
    {
        "results": a_list(RESULT), "artifacts": a_list(ARTIFACT, is_unique=True),
        "invocations": a_list(INVOCATION),
        "columnKind": one_of("utf16CodeUnits", "unicodeCodePoints"),
    },
)  # fmt: skip
LOG = an_object({"version": one_of("2.1.0"), "runs": a_list(RUN)}, {"$schema": uri})
