"""footer-data-offset"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd.footer import NO_OFFSET, Footer
from ..base import Finding, Severity
from ..subject import Subject
from ._footer import FooterCheck


class FooterDataOffset(FooterCheck):
    id = "footer-data-offset"
    title = "the footer of a fixed disk leads to no further header"
    severity = Severity.WARNING
    what = (
        "The data offset in the footer: where the header of a dynamic disk lies, and all ones in "
        "a fixed disk, which has none."
    )
    why = "A reader that follows the offset takes data of the disk for a header."
    fix = "`vhdfast repair` sets it to all ones."

    def look(self, subject: Subject, footer: Footer) -> Iterator[Finding]:
        evidence = self.at(
            subject, 16, "data offset", f"{footer.data_offset:#x}", f"{NO_OFFSET:#x}"
        )
        if footer.data_offset == NO_OFFSET:
            yield self.passed("there is no further header", evidence)
        else:
            yield self.failed(
                f"the footer leads to a header at {footer.data_offset:#x}, which a fixed disk "
                "does not have", evidence, remedy=self.repair(subject),
            )  # fmt: skip
