"""Bytes behind the footer, which belongs at the very end."""

from __future__ import annotations

from ..edits import nonzero
from ..errors import ReadError
from .base import Repair
from .draft import Draft


class TrailingBytes(Repair):
    """Zeros are removed; anything else only where the user says so, and undo brings it back."""

    name = "trailing-bytes"
    order = 30

    def examine(self, draft: Draft) -> None:
        start, end = draft.file_end, draft.source.size
        if draft.end is None or start >= end:
            return
        try:
            first = next(iter(nonzero(draft.source.fileno(), start, end)), None)
        except OSError as error:
            raise ReadError(f"reading failed: {error.strerror}", path=draft.source.path) from error
        if first is not None and not draft.options.cut_trailing:
            raise draft.unproven(
                f"{end - start} bytes follow the footer, and not all are zeros",
                start,
                "--cut-trailing removes them (--undo brings them back)",
            )
        what = "zeros" if first is None else "data"
        draft.found(
            "bytes-after-footer", f"{end - start} bytes follow the footer, {what}", offset=start
        )
        draft.drop_behind = True
