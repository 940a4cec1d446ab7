"""vhdfast explain"""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ._options import Parser
from ._output import Console

if TYPE_CHECKING:
    from ..explanations import Explanation

HELP = "what an error, a warning or a check means, what follows, and what to do"
MORE = """\
ID is the word in brackets at the end of an error or a warning, or the id of a check; the whole line
does too, in quotes. Without ID all are listed."""
EXAMPLES = (
    "vhdfast explain corrupt-image",
    "vhdfast explain snapshot-child source-changed",
    "vhdfast explain",
)

WIDTH = 78


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "ids", metavar="ID", nargs="*", help="a code, or the line that vhdfast printed"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    from ..explanations import all_explanations, find

    if args.ids:
        found = find(args.ids)
        lines = _in_full(found)
    else:
        found = [(name, each) for name, group in all_explanations().items() for each in group]
        lines = _listed(found)
    console.json(
        "explain",
        {"explanations": [{"family": name, **dataclasses.asdict(each)} for name, each in found]},
    )
    for line in lines:
        console.text(line)
    return 0


def _in_full(found: list[tuple[str, Explanation]]) -> Iterator[str]:
    for index, (family, each) in enumerate(found):
        if index:
            yield ""
        yield f"{each.id} ({family}): {each.title}"
        for title, text in (
            ("What happened", each.cause),
            ("What follows", each.consequence),
            ("What to do", each.cure),
        ):
            yield ""
            yield title
            yield from _wrapped(text)
        if each.references:
            yield ""
            yield "More"
            yield from (f"  {reference}" for reference in each.references)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent="  ", subsequent_indent="  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _listed(found: list[tuple[str, Explanation]]) -> Iterator[str]:
    width = max((len(each.id) for _, each in found), default=0)
    family = None
    for name, each in found:
        if name != family:
            if family is not None:
                yield ""
            family = name
            yield name
        yield f"  {each.id:<{width}}  {each.title}"
