"""What holds for every error, whoever raises it."""

from __future__ import annotations

import pickle

import pytest

from vhdfast.errors import CorruptImageError, VhdfastError, printable


def test_what_cannot_be_printed_is_not() -> None:
    """Names in images are a stranger's: escapes for the terminal, halves of UTF-16 pairs."""
    error = CorruptImageError("bad \x1b[2J", path="/a/\udcff\x07b", offset=16, hint="say \x9b1m")
    assert str(error) == "/a/??b: at offset 0x10: bad ?[2J; say ?1m"
    assert (error.message, error.hint) == ("bad ?[2J", "say ?1m")
    assert error.args == ("bad ?[2J",)


def test_programs_get_the_path_as_it_is() -> None:
    error = CorruptImageError("bad", path="/a/\udcff\x07b")
    assert error.path == "/a/\udcff\x07b"
    assert error.to_dict()["path"] == "/a/\udcff\x07b"


def test_lines_stay_lines() -> None:
    assert VhdfastError("one\ntwo\x00").message == "one\ntwo?"


def test_an_error_survives_pickling() -> None:
    error = CorruptImageError("bad", path="x", offset=3, hint="copy it")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is CorruptImageError
    assert str(again) == str(error) == "x: at offset 0x3: bad; copy it"


@pytest.mark.parametrize(
    ("text", "shown"), [("plain", "plain"), ("a\tb", "a?b"), ("\u202e\ud800", "??"), ("é", "é")]
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_printable_has_a_limit() -> None:
    assert printable("x" * 2000) == "x" * 1024
