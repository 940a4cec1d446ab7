"""A footer of 511 bytes, as Virtual PC before 2004 wrote it: the last byte is added."""

from __future__ import annotations

from ..formats.vhd.footer import FOOTER_LENGTH
from .base import Repair
from .draft import Draft


class OldFooter(Repair):
    """The byte that is missing is a reserved one, zero: nothing else moves."""

    name = "footer-511"
    order = 20

    def examine(self, draft: Draft) -> None:
        if draft.end is not None and len(draft.end.data) < FOOTER_LENGTH:
            draft.found(
                "footer-511",
                f"the footer has {len(draft.end.data)} bytes, expected {FOOTER_LENGTH}",
                offset=draft.end.offset,
            )
