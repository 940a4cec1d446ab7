"""Every code has its explanation, and docs/errors.md says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vhdfast.errors import VhdfastError
from vhdfast.explanations import FAMILIES, Explanation
from vhdfast.explanations.__main__ import page
from vhdfast.explanations.errors import Errors
from vhdfast.explanations.notices import Notices

OURS = {code for code, kind in VhdfastError._by_code.items() if kind.__module__.startswith("vhdf")}
ALL = [each for family in (Errors, Notices) for each in family.explanations()]


def noticed_on_pages() -> dict[str, set[str]]:
    """{code: pages of formats that list it}."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "docs" / "formats").glob("*.md"):
        section = path.read_text().partition("## Notices\n")[2].split("\n## ")[0]
        for code in re.findall(r"^\| `([a-z0-9-]+)` \|", section, re.MULTILINE):
            found.setdefault(code, set()).add(f"docs/formats/{path.name}")
    return found


def test_every_error_is_explained_and_no_other() -> None:
    assert {each.id for each in Errors.explanations()} == OURS


def test_every_notice_is_explained_and_no_other() -> None:
    pages = noticed_on_pages()
    assert len(pages) > 30
    explained = {each.id: each for each in Notices.explanations()}
    assert set(explained) == set(pages)
    for code, places in pages.items():
        named = {ref.partition("#")[0] for ref in explained[code].references}
        assert {ref for ref in named if ref.startswith("docs/")} == places, code


@pytest.mark.parametrize("family", [Errors, Notices])
def test_ids_are_unique(family: type[Errors]) -> None:
    ids = [each.id for each in family.explanations()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.id)
def test_explanations_are_sentences(each: Explanation) -> None:
    assert each.title and not each.title.endswith(".")
    for text in (each.cause, each.consequence, each.cure):
        assert text == " ".join(text.split())
        assert text.endswith(".")


def headings(path: Path) -> set[str]:
    """Anchors that the page's headings have."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.id)
def test_references_lead_somewhere(each: Explanation) -> None:
    for reference in each.references:
        if re.search(r": https://\S+$", reference):
            continue
        path, _, anchor = reference.partition("#")
        assert path.startswith("docs/") and (ROOT / path).exists(), reference
        assert not anchor or anchor in headings(ROOT / path), reference


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.id)
def test_commands_of_ours_that_are_named_exist(each: Explanation) -> None:
    from vhdfast.cli._options import verbs

    text = " ".join((each.cause, each.consequence, each.cure))
    for verb in re.findall(r"`vhdfast ([a-z-]+)", text):
        assert verb in verbs(), verb
    known = (ROOT / "docs" / "cli.md").read_text()
    for option in re.findall(r"`(--[a-z-]+)", text):
        assert f"`{option}" in known, option


def test_the_page_is_up_to_date() -> None:
    """Make it anew: python -m vhdfast.explanations > docs/errors.md"""
    assert (ROOT / "docs" / "errors.md").read_text() == page()


def test_families_that_are_on_the_page() -> None:
    assert [name for name, family in FAMILIES.items() if family.on_the_page] == [
        "errors",
        "notices",
    ]
