"""footer-saved-state"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd import VhdImage
from ...formats.vhd.footer import Footer
from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject
from ._footer import VHD_SPECIFICATION


class FooterSavedState(Check):
    id = "footer-saved-state"
    title = "the machine was shut down, not saved"
    severity = Severity.WARNING
    what = "The saved state byte in a VHD's footer."
    why = (
        "A saved machine keeps what it was doing in another file. In Azure it starts as after a "
        "power cut: file systems may be inconsistent, and what was in memory is lost."
    )
    fix = "Resume the machine where it was saved, shut it down, and export the disk again."
    references = (VHD_SPECIFICATION,)
    order = 40

    def run(self, subject: Subject) -> Iterator[Finding]:
        footer = _footer(subject)
        if footer is None:
            yield self.skipped("this is no VHD")
            return
        evidence = Evidence("saved state", str(footer.saved_state), "0")
        if footer.saved_state:
            yield self.failed("the machine was saved, not shut down", evidence, remedy=self.fix)
        else:
            yield self.passed("the machine was not saved", evidence)


def _footer(subject: Subject) -> Footer | None:
    if subject.image is not None and isinstance(subject.image.layer, VhdImage):
        return subject.image.layer.footer
    return subject.footer or subject.head_footer
