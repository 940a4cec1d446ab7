"""The checks of `vhdfast check` explain themselves: what, why and fix of each."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Iterable
from typing import Any

from .base import Explanation, Family

__all__ = ["Checks"]

HOME = os.path.dirname(os.path.dirname(__file__))
REGISTRY = "checks"


class Checks(Family):
    """Loaded only here: reading the checks loads the formats, and numpy."""

    name = "checks"
    title = "Checks"
    order = 30
    on_the_page = False

    @classmethod
    def explanations(cls) -> Iterable[Explanation]:
        if REGISTRY not in {module.name for module in pkgutil.iter_modules([HOME])}:
            return ()
        checks: dict[str, Any] = importlib.import_module(f"..{REGISTRY}", __package__).CHECKS
        return [_of(checks[id]) for id in sorted(checks)]


def _of(check: Any) -> Explanation:
    references = tuple(f"{each.title}: {each.url}" for each in check.references)
    return Explanation(
        id=check.id, title=check.title, cause=check.what, consequence=check.why, cure=check.fix,
        references=references,
    )  # fmt: skip
