"""tables"""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import ImageError
from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject


class Tables(Check):
    id = "tables"
    title = "every block of the disk lies where it may"
    severity = Severity.ERROR
    what = (
        "All tables that say where the blocks, clusters or grains of the disk lie, of the image "
        "and its parents: within the file, not on top of one another or of the metadata."
    )
    why = "A block that leads elsewhere is data lost, or another block's data in its place."
    fix = "Copy the image again and compare checksums; go back to a backup if it is the same."
    order = 10

    def run(self, subject: Subject) -> Iterator[Finding]:
        if subject.image is None:
            yield self.skipped("the image cannot be opened")
            return
        error = subject.map_error
        if error is None:
            yield self.passed("every block lies where it may")
        elif isinstance(error, ImageError):
            found = Evidence("error", error.message, path=error.path, offset=error.offset)
            yield self.failed(error.message, found, remedy=error.hint)
        else:
            raise error
