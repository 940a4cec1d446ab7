"""The mark that the machine was saved, not shut down."""

from __future__ import annotations

from .base import Repair
from .draft import Draft


class SavedState(Repair):
    """Removing it changes no data, but hides that file systems may be inconsistent: on request."""

    name = "saved-state"
    order = 80

    def examine(self, draft: Draft) -> None:
        if not draft.footer.saved_state:
            return
        allowed = draft.options.clear_saved_state
        how = "" if allowed else "; --clear-saved-state removes the mark"
        draft.found(
            "saved-state",
            f"the machine was saved, not shut down: its memory is not in this image{how}",
            repaired=allowed,
        )
        if allowed:
            draft.set(saved_state=0)
