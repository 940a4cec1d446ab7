"""Snapshots of the machine, which depend on the disk as it is."""

from __future__ import annotations

from ..resizing import check_no_snapshots
from .base import Repair
from .draft import Draft


class Snapshots(Repair):
    """A differencing disk above it keeps its size and its data, and knows it by its unique id."""

    name = "snapshots"
    order = 99

    def examine(self, draft: Draft) -> None:
        old, new = draft.old_footer, draft.footer
        if draft.move_gpt or (old.current_size, old.unique_id) != (new.current_size, new.unique_id):
            check_no_snapshots(draft.source)
