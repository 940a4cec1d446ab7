"""Notices: warnings about an image that is readable all the same.

The texts are in `_notices_vhd` (what VHD and VHDX share, too) and `_notices_others`.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import _notices_others, _notices_vhd
from .base import Explanation, Family

__all__ = ["Notices"]


class Notices(Family):
    """What is on the lines that begin with `vhdfast: warning:`, and in `notices` of JSON."""

    name = "notices"
    title = "Notices"
    order = 20

    @classmethod
    def explanations(cls) -> Iterable[Explanation]:
        both = (*_notices_vhd.NOTICES, *_notices_others.NOTICES)
        return sorted(both, key=lambda each: each.id)
