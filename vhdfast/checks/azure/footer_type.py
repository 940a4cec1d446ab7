"""footer-type"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd.footer import DiskType, Footer
from ..base import Finding, Severity
from ..subject import Subject
from ._footer import PREPARE_VHD, VHD_SPECIFICATION, FooterCheck

# Its checksum is right: somebody meant it.
UNKNOWN = "export the disk again, as a fixed VHD of version 1.0"


class FooterType(FooterCheck):
    id = "footer-type"
    title = "the footer says that the disk is fixed"
    severity = Severity.ERROR
    what = "The disk type in the footer: 2 is fixed, 3 dynamic, 4 differencing."
    why = "Azure takes fixed disks only, and goes by this field."
    fix = (
        "`vhdfast convert` writes a fixed VHD; `vhdfast repair` mends a wrong type of a fixed one."
    )
    references = (VHD_SPECIFICATION, PREPARE_VHD)

    def look(self, subject: Subject, footer: Footer) -> Iterator[Finding]:
        evidence = self.at(subject, 60, "disk type", str(footer.disk_type), "2 (fixed)")
        if footer.disk_type == DiskType.FIXED:
            yield self.passed("the type is fixed", evidence)
        else:
            yield self.failed(
                f"the footer's disk type is {footer.disk_type}, which is none", evidence,
                remedy=UNKNOWN if footer.is_intact else self.repair(subject),
            )  # fmt: skip
