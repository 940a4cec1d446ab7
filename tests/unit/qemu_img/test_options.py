"""Command lines taken apart as getopt_long does, and handed over where they are not understood."""

from __future__ import annotations

import getopt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vhdfast.qemu_img.options import key_values, plain_size, take_apart
from vhdfast.qemu_img.real import HandOver

SHORT = "f:O:pq"


def test_options_stand_anywhere_and_are_joined() -> None:
    found = take_apart(["a", "-pOraw", "b", "-f", "-q", "-", "--", "-p"], SHORT)
    assert found.options == {"-p": [""], "-O": ["raw"], "-f": ["-q"]}
    assert found.operands == ["a", "b", "-", "-p"]


def test_the_last_of_several_values_counts() -> None:
    found = take_apart(["-f", "a", "-fb"], SHORT)
    assert found.last("-f") == "b"
    assert found.last("-O") is None
    assert found.check_each("-f", ("a", "b")) == "b"
    with pytest.raises(HandOver):
        found.check_each("-f", ("b",))


def test_long_options_are_taken_as_they_are_listed() -> None:
    long = ("--share", "--output=")
    found = take_apart(["--share", "--output", "json", "--output=human"], "", long)
    assert found.options == {"--share": [""], "--output": ["json", "human"]}


@pytest.mark.parametrize(
    "words",
    [["-x"], ["-px"], ["-:"], ["-f"], ["--sha"], ["--share=1"], ["--output"], ["--outp=json"],
     ["--f", "raw"], ["---"]],
    ids=" ".join,
)  # fmt: skip
def test_all_else_is_handed_over(words: list[str]) -> None:
    with pytest.raises(HandOver):
        take_apart(words, SHORT, ("--share", "--output="))


def test_the_other_order_of_posix_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSIXLY_CORRECT", "1")
    with pytest.raises(HandOver):
        take_apart(["a"], SHORT)


@given(
    st.lists(st.sampled_from(["-p", "-q", "-f", "-O", "-pq", "-fx", "-pO", "--", "-", "a", "x"]))
)
def test_it_reads_what_pythons_getopt_reads(words: list[str]) -> None:
    try:
        options, operands = getopt.gnu_getopt(words, SHORT)
    except getopt.GetoptError:
        with pytest.raises(HandOver):
            take_apart(words, SHORT)
        return
    found = take_apart(words, SHORT)
    assert found.operands == operands
    expected: dict[str, list[str]] = {}
    for name, value in options:
        expected.setdefault(name, []).append(value)
    assert found.options == expected


def test_values_of_o_are_joined() -> None:
    assert key_values(["a=b,c", "d=e=f"]) == {"a": "b", "c": "on", "d": "e=f"}
    assert key_values([]) == {}


@pytest.mark.parametrize("text", ["", "a,", ",a", "a,,b", "=b", "a,a", "a=1,a=2"])
def test_values_of_o_that_are_not_plain_are_handed_over(text: str) -> None:
    with pytest.raises(HandOver):
        key_values([text])


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("4k", 4096), ("4K", 4096), ("1M", 1 << 20), ("2G", 2 << 30), ("0", None),
     ("010", None), ("0x10", None), ("1.5M", None), ("-1", None), ("1b", None), ("", None),
     ("9" * 30, None)],
)  # fmt: skip
def test_sizes_that_every_version_reads_alike(text: str, size: int | None) -> None:
    assert plain_size(text) == size
