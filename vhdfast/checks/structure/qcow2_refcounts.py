"""qcow2-refcounts"""

from __future__ import annotations

from collections.abc import Iterator

from ..base import Evidence, Finding, Severity
from ..refcounts import Refcounts
from ..subject import Subject
from ._qcow2 import RefcountCheck

COPY_FIRST = "copy the image, then: "


class Qcow2Refcounts(RefcountCheck):
    id = "qcow2-refcounts"
    title = "no cluster is used more often than its refcount says"
    severity = Severity.WARNING
    what = (
        "The refcount of each cluster of the file, and how often tables, snapshots and bitmaps "
        "name it; entries that lead outside the file or to no cluster's border. `qemu-img check` "
        "calls these corruptions."
    )
    why = (
        "A writer takes a cluster for free, or for its own, that holds data: as long as the image "
        "is only read nothing is lost, but something may have been overwritten already."
    )
    fix = (
        "Do not start a machine from it. `vhdfast convert` reads without refcounts; compare "
        "what is converted. On a copy, `qemu-img check -r all` makes the refcounts right."
    )
    order = 16

    def look(self, subject: Subject, counts: Refcounts) -> Iterator[Finding]:
        short, misplaced = counts.shortages, counts.misplaced
        if short.count:
            yield self.failed(
                f"{short.count} of {counts.clusters} clusters are used more often than their "
                "refcount says",
                *self.evidence(short, "refcount"),
                remedy=COPY_FIRST + self.repair(subject, "all"),
            )
        if misplaced.count:
            yield self.failed(
                f"{misplaced.count} entries lead outside the file, or to no cluster's border",
                *(Evidence("entry", f"leads to {place:#x}") for place, _, _ in misplaced.first),
                remedy=COPY_FIRST + self.repair(subject, "all"),
            )
        if not short.count and not misplaced.count:
            yield self.passed(f"the refcounts of {counts.clusters} clusters are high enough")
