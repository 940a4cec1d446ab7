"""notices"""

from __future__ import annotations

from collections.abc import Iterator

from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject
from .closed_cleanly import CODES as CLOSED_CODES
from .cut_short import CODES

# What checks of their own speak of, with more to say: of any file, and of the image's own alone.
OF_ALL = {*CODES, *CLOSED_CODES}
OF_ITS_OWN = {
    "qemu-chs-size",
    "saved-state",  # footer-saved-state
    *("footer-checksum", "footer-missing", "footers-differ", "header-checksum"),  # footer-*, vhd-*
    *("header-damaged", "region-table-damaged"),  # vhdx-headers
    "marked-corrupt",  # qcow2-corrupt
    "grain-directory-damaged",  # vmdk-directories
}


class Notices(Check):
    id = "notices"
    title = "reading the image gives no warning"
    severity = Severity.WARNING
    what = "Everything that readers of the format find odd, and can still read: damaged copies of "
    what += "headers, states saved by snapshots beside the image, times that do not agree."
    why = "The disk reads in one way that is well founded; what was found says that something "
    why += "happened to it, or that this file is not its newest state."
    fix = "`vhdfast explain` tells more of each by its code."
    order = 30

    def run(self, subject: Subject) -> Iterator[Finding]:
        if subject.image is None:
            yield self.skipped("the image cannot be opened")
            return
        _ = subject.map_error
        own = (None, subject.image.path)
        found = [
            notice
            for notice in subject.image.notices
            if notice.code not in OF_ALL and not (notice.code in OF_ITS_OWN and notice.path in own)
        ]
        for notice in found:
            evidence = Evidence(notice.code, notice.message, path=notice.path, offset=notice.offset)
            yield self.failed(
                f"{notice.code}: {notice.message}", evidence,
                remedy=f"vhdfast explain {notice.code}",
            )  # fmt: skip
        if not found:
            yield self.passed("nothing is odd about the image")
