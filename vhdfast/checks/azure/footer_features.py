"""footer-features"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd.footer import Footer
from ..base import Finding, Severity
from ..subject import Subject
from ._footer import FooterCheck

RESERVED = 0x2
TEMPORARY = 0x1


class FooterFeatures(FooterCheck):
    id = "footer-features"
    title = "the footer's features are those of a disk that is kept"
    severity = Severity.WARNING
    what = (
        "The features field: its reserved bit (0x2) is always set, its temporary bit (0x1) marks a "
        "disk that may be deleted at shutdown, and no other bit has a meaning."
    )
    why = (
        "Readers may take a footer without the reserved bit for the 511-byte one of Virtual PC "
        "before 2004, and treat a temporary disk as one to throw away."
    )
    fix = "`vhdfast repair` sets the field to 2."

    def look(self, subject: Subject, footer: Footer) -> Iterator[Finding]:
        evidence = self.at(subject, 8, "features", f"{footer.features:#x}", "0x2")
        wrong = []
        if not footer.features & RESERVED:
            wrong.append("the reserved bit is not set")
        if footer.features & TEMPORARY:
            wrong.append("the disk is marked as temporary")
        if footer.features & ~(RESERVED | TEMPORARY):
            wrong.append("bits without a meaning are set")
        if wrong:
            yield self.failed(
                f"the footer's features are {footer.features:#x}: {', '.join(wrong)}", evidence,
                remedy=self.repair(subject),
            )  # fmt: skip
        else:
            yield self.passed("the features are those of every disk", evidence)
