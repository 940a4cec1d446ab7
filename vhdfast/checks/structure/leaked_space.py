"""leaked-space"""

from __future__ import annotations

from collections.abc import Iterator

from ...units import format_bytes
from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject


class LeakedSpace(Check):
    id = "leaked-space"
    title = "everything in the file is used"
    severity = Severity.NOTE
    what = (
        "Bytes of a VHD, VHDX, VDI or Parallels image that belong neither to a block of the disk "
        "nor to the image's tables. Less than a block of them is nothing odd: programs align."
    )
    why = (
        "They take room, and are not copied by a conversion. They may be what is left of a machine "
        "that crashed, or blocks that a damaged table no longer names."
    )
    fix = "`vhdfast convert` leaves them behind."
    cured_by_convert = True
    order = 40

    def run(self, subject: Subject) -> Iterator[Finding]:
        layout, census = subject.layout, subject.census
        if layout is None or census is None:
            yield self.skipped("the image has no table of blocks")
        elif census.unowned is None:
            yield self.unknown(f"{census.stored} blocks are too many to add up")
        elif census.unowned <= layout.slack:
            yield self.passed(f"{format_bytes(census.unowned)} of the file are not used")
        else:
            yield self.failed(
                f"nothing uses {format_bytes(census.unowned)} of the file",
                *(
                    Evidence("unused", f"{length} bytes", offset=offset)
                    for offset, length in census.first_unowned
                ),
                remedy=subject.convert_command,
            )
