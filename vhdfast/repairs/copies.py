"""The two footers of a dynamic or differencing disk: one is restored from the other."""

from __future__ import annotations

from ..formats.vhd.footer import FOOTER_LENGTH
from .base import Repair
from .draft import Copy, Draft


class FooterCopies(Repair):
    """Proven by the intact copy's checksum, or by both being the same but for their checksums."""

    name = "footer-copies"
    order = 10

    def examine(self, draft: Draft) -> None:
        if draft.is_fixed:
            return
        if draft.end is None:
            self._find_place(draft)
        for copy, where in ((draft.end, "at the end"), (draft.head, "at the start")):
            footer = None if copy is None else copy.footer
            if footer is None:
                draft.found("footer-missing", f"there is no footer {where}, or a damaged one",
                            offset=None if copy is None else copy.offset)  # fmt: skip
            elif not footer.is_intact:
                draft.found(
                    "footer-checksum",
                    f"the footer {where} has checksum {footer.stored_checksum:#010x}, expected "
                    f"{footer.checksum:#010x}",
                    offset=None if copy is None else copy.offset,
                )

    @staticmethod
    def _find_place(draft: Draft) -> None:
        """A damaged footer is overwritten; where there is none, one is appended."""
        offset = draft.source.size - FOOTER_LENGTH
        if offset < draft.data_end:
            return
        last = draft.source.read(offset, FOOTER_LENGTH)
        right = draft.footer.pack()
        # Most of a footer is zeros, which prove nothing: a note that somebody added has them too.
        told = [pair for pair in zip(last, right, strict=True) if any(pair)]
        alike = sum(one == other for one, other in told)
        if not any(last) or 2 * alike >= len(told):
            draft.end = Copy(offset, last)
            draft.file_end = draft.source.size
