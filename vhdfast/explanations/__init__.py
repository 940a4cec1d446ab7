"""Cause, consequence and cure of every code: what `vhdfast explain` and docs/errors.md say.

Every module of this package is imported once, which registers the families in it. Nothing else in
vhdfast imports it.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from collections.abc import Mapping, Sequence

from ..errors import UsageError, printable
from .base import FAMILIES, Explanation, Family

__all__ = ["FAMILIES", "Explanation", "Family", "all_explanations", "find"]

for _module in pkgutil.iter_modules(__path__):
    if _module.name != "__main__":
        importlib.import_module(f"{__name__}.{_module.name}")

# Where a code stands in what vhdfast prints: at the end of a line, or in JSON.
_PRINTED = re.compile(r'\[([a-z][a-z0-9-]*)\]\s*$|"code":\s*"([a-z][a-z0-9-]*)"', re.MULTILINE)


def all_explanations() -> dict[str, tuple[Explanation, ...]]:
    """{family: its explanations}, in their order."""
    families = sorted(FAMILIES.values(), key=lambda family: (family.order, family.name))
    return {family.name: tuple(family.explanations()) for family in families}


def find(words: Sequence[str]) -> list[tuple[str, Explanation]]:
    """(family, explanation) of ids, or of what vhdfast printed.

    words: ids, each its own word; or the text of errors and warnings, in however many words, of
    which the codes in brackets and those of JSON are taken. Raises UsageError where nothing fits,
    naming what is spelt like it.
    """
    known = _by_id(all_explanations())
    ids = [word.strip().lower() for word in words]
    if not all(each in known for each in ids):
        text = " ".join(words)
        printed = ["".join(match.groups("")) for match in _PRINTED.finditer(text)]
        ids = [each for each in printed if each in known] or ids
    found: list[tuple[str, Explanation]] = []
    for each in dict.fromkeys(ids):
        if each not in known:
            raise _unknown(each, len(words) > 1 or " " in each, known)
        found.extend(known[each])
    return found


def _by_id(
    families: Mapping[str, Sequence[Explanation]],
) -> dict[str, list[tuple[str, Explanation]]]:
    found: dict[str, list[tuple[str, Explanation]]] = {}
    for family, explanations in families.items():
        for each in explanations:
            found.setdefault(each.id, []).append((family, each))
    return found


def _unknown(wanted: str, is_text: bool, known: Mapping[str, object]) -> UsageError:
    close = difflib.get_close_matches(wanted, known, n=3)
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif is_text:
        hint = "name the code in brackets at the end of the line, as in vhdfast explain no-space"
    else:
        hint = "vhdfast explain lists all ids"
    return UsageError(f"nothing is known of {printable(wanted, 100)!r}", hint=hint)
