"""footer-timestamp"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator

from ...formats.vhd.footer import EPOCH, Footer
from ..base import Finding, Severity
from ..subject import Subject
from ._footer import FooterCheck

# Clocks and time zones differ by less.
TOLERANCE_S = 24 * 3600


class FooterTimestamp(FooterCheck):
    id = "footer-timestamp"
    title = "the footer's time is in the past"
    severity = Severity.NOTE
    what = "When the footer says it was written, in seconds since 2000."
    why = (
        "A time in the future comes from a wrong clock, or from bytes that are no time. Azure does "
        "not look at it; a parent's time is compared by tools that make differencing disks."
    )
    fix = "Nothing needs to be done."

    def look(self, subject: Subject, footer: Footer) -> Iterator[Finding]:
        written = EPOCH + footer.timestamp
        date = datetime.datetime.fromtimestamp(written, datetime.timezone.utc)
        evidence = self.at(subject, 24, "timestamp", date.strftime("%Y-%m-%d %H:%M:%S UTC"))
        if written > time.time() + TOLERANCE_S:
            yield self.failed("the footer says that it was written in the future", evidence)
        else:
            yield self.passed("the footer was written in the past", evidence)
