"""footer-unique-id"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd.footer import NIL_UUID, Footer
from ..base import Finding, Severity
from ..subject import Subject
from ._footer import FooterCheck


class FooterUniqueId(FooterCheck):
    id = "footer-unique-id"
    title = "the disk has a unique id"
    severity = Severity.WARNING
    what = "The UUID in the footer."
    why = "Disks without one cannot be told apart, and no differencing disk can name them."
    fix = "`vhdfast repair` gives it one."

    def look(self, subject: Subject, footer: Footer) -> Iterator[Finding]:
        evidence = self.at(subject, 68, "unique id", str(footer.unique_id), "a UUID")
        if footer.unique_id == NIL_UUID:
            yield self.failed("the disk has no unique id", evidence, remedy=self.repair(subject))
        else:
            yield self.passed("the disk has a unique id", evidence)
