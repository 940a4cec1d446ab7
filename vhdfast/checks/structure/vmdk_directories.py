"""vmdk-directories"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...errors import CorruptImageError
from ...extents import Rows, clip, end_of, merge
from ...formats.vmdk import VmdkImage
from ...formats.vmdk.grains import GrainTables
from ...formats.vmdk.sparse import SparsePart
from ...tables import WINDOW_ENTRIES
from ..base import Check, Evidence, Finding, Reference, Severity
from ..subject import Subject


class VmdkDirectories(Check):
    id = "vmdk-directories"
    title = "both grain directories of a VMDK say the same"
    severity = Severity.WARNING
    what = (
        "The grain directory and its redundant copy, each with grain tables of its own, of a "
        "sparse VMDK that has both."
    )
    why = (
        "The copies are written one after the other: where they differ the writer died in between, "
        "or one is damaged. The first is read, the redundant one where the first cannot be."
    )
    fix = (
        "Compare the disk with the original, where there is one. A converted disk has no tables; "
        "`vmware-vdiskmanager -R` mends a VMDK."
    )
    references = (
        Reference(
            "VMware Virtual Disk Format 5.0",
            "https://www.vmware.com/app/vmdk/?src=vmdk",
        ),
    )
    order = 12

    def run(self, subject: Subject) -> Iterator[Finding]:
        layer = None if subject.image is None else subject.image.layer
        if not isinstance(layer, VmdkImage):
            yield self.skipped("this is no VMDK, or it cannot be opened")
            return
        parts = [part for part in layer.parts if isinstance(part, SparsePart)]
        pairs = [(part, pair) for part in parts if (pair := part.directories()) is not None]
        if not pairs:
            yield self.skipped("the image has no redundant grain directory")
            return
        wrong = 0
        for part, readers in pairs:
            problem = _difference(part, *readers)
            if problem is not None:
                wrong += 1
                yield self.failed(
                    f"the grain directories of {part.source.name} do not say the same",
                    problem, remedy="compare the disk with the original",
                )  # fmt: skip
        if not wrong:
            yield self.passed("both grain directories say the same")


def _difference(part: SparsePart, primary: int, redundant: int) -> Evidence | None:
    """What the two say differently first."""
    tables: list[GrainTables] = []
    for which, place in (("grain directory", primary), ("redundant grain directory", redundant)):
        try:
            tables.append(part.checked(part.tables_at(place)))
        except CorruptImageError as error:
            return Evidence(which, error.message, path=error.path, offset=error.offset)
    offset = 0
    while offset < part.length:
        try:
            one, other = (
                each.rows(offset, part.length - offset, WINDOW_ENTRIES) for each in tables
            )
        except CorruptImageError as error:
            return Evidence("grain", error.message, path=error.path, offset=error.offset)
        end = min(end_of(one), end_of(other))
        at = _first_difference(*(merge(clip(rows, offset, end - offset)) for rows in (one, other)))
        if at is not None:
            return Evidence(
                f"byte {at} of the extent", "not where the redundant directory has it",
                path=part.source.path,
            )  # fmt: skip
        offset = end
    return None


def _first_difference(one: Rows, other: Rows) -> int | None:
    """The offset of the first row that is not the same in both."""
    count = min(len(one), len(other))
    same = np.ones(count, bool)
    for name in ("offset", "length", "kind", "file_offset"):
        same &= one[name][:count] == other[name][:count]
    if not same.all():
        return int(one["offset"][int(np.argmin(same))])
    return None if len(one) == len(other) else int(max(one, other, key=len)["offset"][count])
