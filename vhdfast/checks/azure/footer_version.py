"""footer-version"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd.footer import Footer
from ..base import Finding, Severity
from ..subject import Subject
from ._footer import FooterCheck

# Its checksum is right: somebody meant it.
UNKNOWN = "export the disk again, as a fixed VHD of version 1.0"


class FooterVersion(FooterCheck):
    id = "footer-version"
    title = "the footer's version is 1.0"
    severity = Severity.ERROR
    what = "The file format version in the footer: 0x00010000 is the only one there is."
    why = "A reader cannot know what another version would mean, and refuses it."
    fix = "`vhdfast repair` sets it where all else in the footer is right."

    def look(self, subject: Subject, footer: Footer) -> Iterator[Finding]:
        evidence = self.at(subject, 12, "version", f"{footer.version:#010x}", "0x00010000")
        if footer.version == 0x00010000:
            yield self.passed("the version is 1.0", evidence)
        else:
            major, minor = footer.version >> 16, footer.version & 0xFFFF
            yield self.failed(
                f"the footer's version is {major}.{minor}", evidence,
                remedy=UNKNOWN if footer.is_intact and major != 1 else self.repair(subject),
            )  # fmt: skip
