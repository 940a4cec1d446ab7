"""docs/errors.md, made of the explanations: python -m vhdfast.explanations > docs/errors.md"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from . import FAMILIES, Explanation

__all__ = ["page"]

WIDTH = 100
HEAD = """\
# Errors and notices

What `vhdfast explain CODE` says, for all codes. An error ends the run, and its line ends with its
code in brackets; a notice is a warning about an image that is readable all the same. Programs find
both in [JSON](json.md#vhdfasterror1).

<!-- Made by: python -m vhdfast.explanations > docs/errors.md -->
"""


def page() -> str:
    """The page as markdown."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield HEAD
    for family in sorted(FAMILIES.values(), key=lambda each: each.order):
        if family.on_the_page:
            yield f"## {family.title}\n"
            yield _wrap(family.__doc__ or "")
            for each in family.explanations():
                yield from _section(each)


def _section(each: Explanation) -> Iterator[str]:
    yield f"### `{each.id}`\n"
    yield _wrap(f"**{each.title}.** {each.cause}")
    yield _wrap(each.consequence)
    yield _wrap(each.cure)
    if each.references:
        yield _wrap("More: " + _links(each.references))


def _wrap(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def _links(references: Sequence[str]) -> str:
    return " · ".join(_link(each) for each in references)


def _link(reference: str) -> str:
    """A page of the project as seen from docs/, or a title with its URL."""
    match = re.fullmatch(r"(.+): (https?://\S+)", reference)
    if match:
        return f"[{match[1]}]({match[2]})"
    path = reference.removeprefix("docs/")
    return f"[{path.partition('#')[0]}]({path})"


if __name__ == "__main__":
    print(page(), end="")
