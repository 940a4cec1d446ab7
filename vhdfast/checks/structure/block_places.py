"""block-places"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ..base import Check, Evidence, Finding, Severity
from ..census import Misplaced
from ..subject import Subject

COPY_AGAIN = "copy the image again and compare checksums"


class BlockPlaces(Check):
    id = "block-places"
    title = "no block lies outside the file, on its tables, or on another block"
    severity = Severity.ERROR
    what = (
        "All entries of the table of blocks of a VHD, VHDX, VDI or Parallels image: how many lead "
        "where no block can lie, and which are the first."
    )
    why = (
        "Each of them is a part of the disk that is lost, or that shows another part's data. One "
        "may be a flipped bit; many, all behind one place, are a file that was cut short."
    )
    fix = "Copy the image again and compare checksums; go back to a backup if it is the same."
    order = 11

    def run(self, subject: Subject) -> Iterator[Finding]:
        layout, census = subject.layout, subject.census
        if layout is None or census is None:
            yield self.skipped("the image has no table of blocks")
            return
        wrong = 0
        for found, where, expected in (
            (census.outside, "behind the end of the file's blocks", f"below {layout.end:#x}"),
            (census.on_metadata, "on top of the image's own tables", None),
        ):
            if found.count:
                wrong += 1
                yield self.failed(
                    f"{found.count} of {census.stored} stored blocks lie {where}",
                    *self._misplaced(subject, found, expected), remedy=COPY_AGAIN,
                )  # fmt: skip
        if census.overlaps:
            wrong += 1
            yield self.failed(
                f"{census.overlaps} of {census.stored} stored blocks lie on top of the one before",
                *(
                    Evidence("block", f"at {other:#x}, on the one at {one:#x}", offset=other)
                    for one, other in census.first_overlaps
                ),
                remedy=COPY_AGAIN,
            )
        if wrong:
            return
        if census.overlaps is None:
            undecided = self.unknown(
                f"{census.stored} blocks are too many to look for ones that overlap; each lies "
                "where it may"
            )
            # Else every large disk would be one that is not judged.
            yield dataclasses.replace(undecided, severity=Severity.WARNING)
        else:
            yield self.passed(f"{census.stored} stored blocks lie apart, within the file")

    @staticmethod
    def _misplaced(subject: Subject, found: Misplaced, expected: str | None) -> Iterator[Evidence]:
        assert subject.layout is not None
        for index, place, region in found.first:
            yield Evidence(
                f"entry of {subject.layout.name_of(index)}",
                f"{place:#x}" + (f", on the {region}" if region else ""),
                expected,
                offset=subject.layout.entry_offset(index),
            )
