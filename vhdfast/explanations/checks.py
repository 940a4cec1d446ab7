"""The checks of `vhdfast check` explain themselves: what, why and fix of each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .base import Explanation, Family

if TYPE_CHECKING:
    from ..checks import Check

__all__ = ["Checks"]


class Checks(Family):
    """Loaded only here: reading the checks loads the formats, and numpy."""

    name = "checks"
    title = "Checks"
    order = 30
    on_the_page = False

    @classmethod
    def explanations(cls) -> Iterable[Explanation]:
        from ..checks import CHECKS

        return [_of(CHECKS[id]) for id in sorted(CHECKS)]


def _of(check: type[Check]) -> Explanation:
    references = tuple(f"{each.title}: {each.url}" for each in check.references)
    return Explanation(
        id=check.id, title=check.title, cause=check.what, consequence=check.why, cure=check.fix,
        references=references,
    )  # fmt: skip
