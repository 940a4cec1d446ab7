"""The file of check --config: what it sets, and where its mistakes are."""

from __future__ import annotations

from pathlib import Path

import pytest

from vhdfast.checks import Grade, Severity
from vhdfast.checks.config import CheckConfig, read_config
from vhdfast.errors import UsageError

GRADE = '[[check.grade]]\nid = "tables"\nseverity = "note"\nreason = "we know"\n'


def read(tmp_path: Path, text: str | bytes) -> CheckConfig:
    path = tmp_path / "check.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_config(path)


def error(tmp_path: Path, text: str | bytes) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert caught.value.path == str(tmp_path / "check.toml")
    return caught.value


@pytest.mark.parametrize("text", ["", "[check]\n", "# nothing\n"])
def test_everything_may_be_left_out(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == CheckConfig()


def test_every_key(tmp_path: Path) -> None:
    text = '[check]\nselect = ["azure", "tables"]\nignore = ["footer-*"]\nstrict = true\n'
    text += f'role = "data"\ngeneration = 2\n{GRADE}'
    assert read(tmp_path, text) == CheckConfig(
        ("azure", "tables"), ("footer-*",), True, "data", "2",
        (Grade("tables", Severity.NOTE, "we know"),),
    )  # fmt: skip


def test_off_is_no_severity(tmp_path: Path) -> None:
    (grade,) = read(tmp_path, GRADE.replace("note", "off")).grades
    assert grade == Grade("tables", None, "we know")


def test_a_group_is_graded_check_by_check(tmp_path: Path) -> None:
    grades = read(tmp_path, GRADE.replace("tables", "structure")).grades
    assert {"tables", "readable"} <= {grade.id for grade in grades}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("check = 3", "line 1: check is no table"),
        ("\n[chek]\n", "line 2: there is no table 'chek'"),
        ("[check]\nrle = 2", "line 2: there is no 'rle' in [check]"),
        ('[check]\n\nrole = "x"', "line 3: role is 'x'"),
        ("[check]\ngeneration = true", "line 2: generation is True"),
        ("[check]\nselect = 'azure'", "line 2: select is no list of strings"),
        ("[check]\nignore = [1]", "line 2: ignore is no list of strings"),
        ("[check]\nselect = ['nope']", "line 2: select: there is no check 'nope'"),
        ("[check]\nstrict = 1", "line 2: strict is neither true nor false"),
        ("[check]\ngrade = 1", "line 2: grade is no list of tables"),
        (GRADE + GRADE.replace("note", "bad"), "line 7: severity is 'bad'"),
        (GRADE.replace("tables", "nope"), "line 2: there is no check 'nope'"),
        (GRADE.replace("id = ", "name = "), "line 2: there is no 'name' in [[check.grade]]"),
        (GRADE + "[[check.grade]]\nid = 'tables'", "line 5: a grade needs the string 'severity'"),
        (GRADE.replace("we know", "  "), "line 1: a grade needs the string 'reason'"),
        ("[check]\nrole = ", "line 2: is not TOML: "),
        ("[check]\nrole = 'os", "line 2: is not TOML: "),
        (b"[check]\n# \xff\n", "line 2: is not UTF-8 text"),
        (b"#" * (1 << 20) + b"#", "is larger than 1048576 bytes"),
        ("a = " + "[" * 100000, "is nested too deeply"),
    ],
)
def test_mistakes_have_their_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert error(tmp_path, text).message.startswith(message)


def test_what_may_be_said_is_a_hint(tmp_path: Path) -> None:
    assert error(tmp_path, '[check]\nrole = "x"').hint == "one of: os, data, auto"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_config(tmp_path / "none.toml")
