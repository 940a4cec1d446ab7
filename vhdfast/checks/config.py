"""What `check --config FILE` says: how images are judged where a site has rules of its own.

Read only where it is named: nothing of what lies beside an image decides how it is judged.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from ..errors import UsageError, printable
from .base import Severity
from .runner import Grade, named_checks
from .subject import Generation, Role

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["CheckConfig", "read_config"]

MAX_SIZE = 1 << 20  # bytes
_SEVERITIES: dict[str, Severity | None] = {
    **{severity.value: severity for severity in Severity},
    "off": None,
}


@dataclass(frozen=True, slots=True)
class CheckConfig:
    """What the file sets; what it leaves out is None or empty."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    strict: bool = False
    role: Role | None = None
    generation: Generation | None = None
    grades: tuple[Grade, ...] = ()


def read_config(path: str | os.PathLike[str]) -> CheckConfig:
    """The table [check] of a TOML file, with its [[check.grade]].

    Raises UsageError, with the line where one can be told, for a file that cannot be read and for
    whatever in it has no meaning: a key that is ignored would be a rule that is not kept.
    """
    return _Reader(os.fspath(path)).read()


class _Reader:
    def __init__(self, path: str) -> None:
        self._path = path
        self._text = ""

    def read(self) -> CheckConfig:
        document = self._parse()
        for key in document:
            if key != "check":
                raise self._error(f"there is no table {key!r}", self._header(key), "use [check]")
        table = document.get("check", {})
        if not isinstance(table, dict):
            raise self._error("check is no table", self._key("check"))
        readers: dict[str, Callable[[str, Any], Any]] = {
            "select": self._names,
            "ignore": self._names,
            "strict": self._flag,
            "role": lambda key, value: self._one_of(key, value, get_args(Role)),
            "generation": lambda key, value: self._one_of(key, value, get_args(Generation)),
            "grade": self._grades,
        }
        self._known(table, tuple(readers), "[check]", 0)
        found = {key: readers[key](key, value) for key, value in table.items()}
        grades = found.pop("grade", ())
        return CheckConfig(**found, grades=grades)

    def _parse(self) -> dict[str, Any]:
        try:
            with open(self._path, "rb") as file:
                data = file.read(MAX_SIZE + 1)
        except OSError as error:
            raise self._error(f"cannot be read: {error.strerror}", None) from error
        if len(data) > MAX_SIZE:
            raise self._error(f"is larger than {MAX_SIZE} bytes, and no configuration", None)
        try:
            self._text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise self._error("is not UTF-8 text", line) from error
        try:
            return tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            place = re.search(r" \(at line (\d+), column \d+\)$", str(error))
            message = str(error) if place is None else str(error)[: place.start()]
            line = self._text.count("\n") + 1 if place is None else int(place[1])
            raise self._error(f"is not TOML: {message}", line) from error
        except RecursionError as error:
            raise self._error("is nested too deeply", None) from error

    # ---- values ---------------------------------------------------------------------------------

    def _names(self, key: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise self._error(f"{key} is no list of strings", self._key(key))
        try:
            named_checks(value)
        except UsageError as error:
            raise self._error(f"{key}: {error.message}", self._key(key), error.hint) from error
        return tuple(value)

    def _flag(self, key: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self._error(f"{key} is neither true nor false", self._key(key))
        return value

    def _one_of(self, key: str, value: Any, choices: tuple[str, ...]) -> str:
        # generation = 2 is as clear as generation = "2".
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if text not in choices:
            wanted = ", ".join(choices)
            raise self._error(f"{key} is {value!r}", self._key(key), f"one of: {wanted}")
        return str(text)

    def _grades(self, key: str, value: Any) -> tuple[Grade, ...]:
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise self._error("grade is no list of tables", self._key(key), "use [[check.grade]]")
        found: list[Grade] = []
        for index, entry in enumerate(value):
            found += self._grade(entry, self._grade_line(index))
        return tuple(found)

    def _grade(self, entry: dict[str, Any], line: int | None) -> list[Grade]:
        self._known(entry, ("id", "severity", "reason"), "[[check.grade]]", line or 0)
        for key in ("id", "severity", "reason"):
            value = entry.get(key)
            if not isinstance(value, str) or not value.strip():
                hint = "say why: reports show it" if key == "reason" else None
                raise self._error(f"a grade needs the string {key!r}", line, hint)
        if entry["severity"] not in _SEVERITIES:
            wanted = ", ".join(_SEVERITIES)
            at = self._key("severity", line or 0)
            raise self._error(f"severity is {entry['severity']!r}", at, f"one of: {wanted}")
        try:
            ids = sorted(named_checks([entry["id"]]))
        except UsageError as error:
            raise self._error(error.message, self._key("id", line or 0), error.hint) from error
        severity, reason = _SEVERITIES[entry["severity"]], entry["reason"].strip()
        return [Grade(name, severity, reason) for name in ids]

    def _known(self, table: dict[str, Any], keys: tuple[str, ...], where: str, after: int) -> None:
        for key in table:
            if key not in keys:
                line = self._key(key, after)
                raise self._error(f"there is no {key!r} in {where}", line, f"of: {', '.join(keys)}")

    # ---- lines: parsers of TOML do not tell them ------------------------------------------------

    def _key(self, key: str, after: int = 0) -> int | None:
        """The line, counted from 1, that sets a key; the first from line `after` on."""
        return self._line(rf"""(?:^|[.{{,])\s*["']?{re.escape(key)}["']?\s*(?:=|\.)""", after)

    def _header(self, name: str) -> int | None:
        header = self._line(rf"""^\s*\[+\s*["']?{re.escape(name)}\b""", 0)
        return self._key(name) if header is None else header

    def _grade_line(self, index: int) -> int | None:
        """The line of a [[check.grade]]: the index-th, from 0."""
        pattern = re.compile(r"""^\s*\[\[\s*["']?check["']?\s*\.\s*["']?grade["']?\s*\]\]""")
        lines = self._text.splitlines()
        found = [number for number, line in enumerate(lines, 1) if pattern.search(line)]
        return found[index] if index < len(found) else None

    def _line(self, pattern: str, after: int) -> int | None:
        for number, line in enumerate(self._text.splitlines(), 1):
            if number >= after and re.search(pattern, line):
                return number
        return None

    def _error(self, message: str, line: int | None, hint: str | None = None) -> UsageError:
        where = "" if line is None else f"line {line}: "
        return UsageError(f"{where}{printable(message)}", path=self._path, hint=hint)
