"""front-copy"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd.footer import COOKIE
from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject
from ._footer import VHD_SPECIFICATION


class FrontCopy(Check):
    id = "front-copy"
    title = "no footer of a dynamic disk is left at the start"
    severity = Severity.ERROR
    what = (
        "The first sector of a fixed VHD is the first sector of the disk. A dynamic VHD has a copy "
        "of its footer there."
    )
    why = (
        "Where the first sector holds a VHD footer, the type of the disk was changed without "
        "converting it: what should be the boot sector is none, and tools take the file for a "
        "dynamic VHD."
    )
    fix = "Convert the original dynamic VHD with `vhdfast convert`; do not edit its type."
    references = (VHD_SPECIFICATION,)
    order = 35

    def run(self, subject: Subject) -> Iterator[Finding]:
        if not subject.is_fixed_vhd:
            yield self.skipped("this is no fixed VHD")
            return
        evidence = Evidence("first bytes", repr(subject.head[:8]), offset=0)
        if subject.head.startswith(COOKIE):
            yield self.failed(
                "the first sector of the fixed disk is a VHD footer, as dynamic disks have it",
                evidence, remedy="convert the original image again",
            )  # fmt: skip
        else:
            yield self.passed("the first sector is no VHD footer", evidence)
