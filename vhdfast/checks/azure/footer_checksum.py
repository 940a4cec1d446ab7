"""footer-checksum"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd.footer import Footer
from ..base import Finding, Severity
from ..subject import Subject
from ._footer import FooterCheck


class FooterChecksum(FooterCheck):
    id = "footer-checksum"
    title = "the footer's checksum is right"
    severity = Severity.WARNING
    what = "The footer holds the ones' complement of the sum of its other bytes."
    why = (
        "A wrong checksum means that a byte of the footer changed after it was written. Windows "
        "(error 0xC03A0002) and qemu refuse such a disk. Of Azure it is not documented, and "
        "Microsoft's Add-AzVhd does not look at it: hence a warning."
    )
    fix = "`vhdfast repair` writes the right one where the other fields prove themselves."

    def look(self, subject: Subject, footer: Footer) -> Iterator[Finding]:
        evidence = self.at(
            subject, 64, "checksum", f"{footer.stored_checksum:#010x}", f"{footer.checksum:#010x}"
        )
        if footer.is_intact:
            yield self.passed("the footer's checksum is right", evidence)
        else:
            yield self.failed(
                "the footer's checksum is wrong", evidence, remedy=self.repair(subject)
            )
