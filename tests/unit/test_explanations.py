"""Explanations are found by ids, by what was printed, and by what is spelt like them."""

from __future__ import annotations

import json

import pytest

from vhdfast.errors import CorruptImageError, UsageError
from vhdfast.explanations import find
from vhdfast.formats import Notice


def ids(*words: str) -> list[str]:
    return [each.id for _, each in find(words)]


def test_an_id() -> None:
    ((family, each),) = find(["corrupt-image"])
    assert (family, each.id) == ("errors", "corrupt-image")
    assert "sha256sum" in each.cure


def test_several_ids_in_their_order() -> None:
    assert ids("short-block", "no-space", "short-block") == ["short-block", "no-space"]


def test_an_id_as_people_type_it() -> None:
    assert ids(" No-Space") == ["no-space"]


@pytest.mark.parametrize("as_one_word", [True, False])
def test_a_line_that_was_printed(as_one_word: bool) -> None:
    line = f"vhdfast: error: {CorruptImageError('block [3] is [bad]', path='a [b].vhd')}"
    line += " [corrupt-image]"
    assert ids(*([line] if as_one_word else line.split())) == ["corrupt-image"]


def test_a_warning_that_was_printed() -> None:
    assert ids(f"vhdfast: warning: {Notice('dirty', 'not closed', offset=72)}") == ["dirty"]


def test_several_lines_that_were_printed() -> None:
    lines = (
        "vhdfast: warning: a.vhd: it was saved [saved-state]\n"
        "vhdfast: error: no [not-an-id]\n"
        "vhdfast: error: a.vhd: the target exists; choose another name [target-exists]\n"
    )
    assert ids(lines) == ["saved-state", "target-exists"]


def test_json_that_was_printed() -> None:
    document = {"schema": "vhdfast.error/1", "error": CorruptImageError("x").to_dict()}
    assert ids(json.dumps(document, indent=2)) == ["corrupt-image"]


@pytest.mark.parametrize("word", ["corupt-image", "corrupt_image", "corruptimage"])
def test_what_is_spelt_like_it(word: str) -> None:
    with pytest.raises(UsageError) as caught:
        find([word])
    assert "did you mean corrupt-image" in (caught.value.hint or "")


def test_what_is_like_nothing() -> None:
    with pytest.raises(UsageError, match="'xyzzy\\?'") as caught:
        find(["xyzzy\033"])
    assert caught.value.hint == "vhdfast explain lists all ids"


def test_a_text_without_a_code() -> None:
    with pytest.raises(UsageError) as caught:
        find(["vhdfast: error: disk.vhd: the target exists"])
    assert "the code in brackets" in (caught.value.hint or "")


def test_one_wrong_id_among_right_ones() -> None:
    with pytest.raises(UsageError, match="nothing is known of 'no-spice'"):
        find(["dirty", "no-spice"])


# ---- checks -------------------------------------------------------------------------------------


def test_checks_explain_themselves() -> None:
    ((family, each),) = find(["whole-mib"])
    assert (family, each.title) == ("checks", "the virtual size is a whole number of MiB")
    assert "The size must be a whole number (in MBs)" in each.consequence
    assert any("create-upload-generic" in reference for reference in each.references)


def test_an_id_that_two_families_have() -> None:
    assert [family for family, _ in find(["footer-checksum"])] == ["notices", "checks"]
