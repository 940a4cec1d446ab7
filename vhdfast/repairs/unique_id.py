"""A disk without a unique id."""

from __future__ import annotations

import uuid

from ..errors import UsageError
from .base import Repair
from .draft import Draft


class UniqueId(Repair):
    """It gets one. Differencing disks above it know their parent by its id: none means none."""

    name = "unique-id"
    order = 70

    def examine(self, draft: Draft) -> None:
        chosen = draft.options.unique_id
        if draft.footer.unique_id.int:
            if chosen is not None:
                raise UsageError(
                    f"the disk has a unique id, {draft.footer.unique_id}; only a missing one is "
                    "set",
                    path=draft.source.path,
                    hint="leave out --uuid",
                )
            return
        draft.found("unique-id", "the disk has no unique id")
        draft.set(unique_id=uuid.uuid4() if chosen is None else _parsed(chosen))


def _parsed(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no UUID", hint="write it like 01234567-89ab-cdef-0123-456789abcdef"
        ) from error
