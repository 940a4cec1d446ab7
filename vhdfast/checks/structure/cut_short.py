"""cut-short"""

from __future__ import annotations

from collections.abc import Iterator

from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject

CODES = ("short-block", "size-beyond-file")


class CutShort(Check):
    id = "cut-short"
    title = "the file holds all of its last block"
    severity = Severity.ERROR
    what = "Whether the file ends within a block that the disk uses, or before its data does."
    why = (
        "Some old programs left the last block short, and zeros in its place are right. A copy "
        "that was broken off looks the same, and then the end of the data is missing."
    )
    fix = (
        "Compare the file's size or checksum with the original's. Where it is complete, go on: "
        "`vhdfast convert` reads zeros there."
    )
    order = 20

    def run(self, subject: Subject) -> Iterator[Finding]:
        if subject.image is None:
            yield self.skipped("the image cannot be opened")
            return
        _ = subject.map_error  # the walk brings the notices up
        found = [notice for notice in subject.image.notices if notice.code in CODES]
        for notice in found:
            end = Evidence("end of the file", notice.message, offset=notice.offset)
            if notice.code == "short-block":
                # Nothing in the file tells one from the other.
                yield self.unknown(notice.message, end, remedy=self.fix)
            else:
                yield self.failed(notice.message, end, remedy=self.fix)
        if not found:
            yield self.passed("no block is cut by the end of the file")
