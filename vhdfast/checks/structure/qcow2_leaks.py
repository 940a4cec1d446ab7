"""qcow2-leaks"""

from __future__ import annotations

from collections.abc import Iterator

from ..base import Finding, Severity
from ..refcounts import Refcounts
from ..subject import Subject
from ._qcow2 import RefcountCheck


class Qcow2Leaks(RefcountCheck):
    id = "qcow2-leaks"
    title = "no cluster has a refcount above its uses"
    severity = Severity.NOTE
    what = (
        "The refcount of each cluster of the file, and how often tables, snapshots and bitmaps "
        "name it; `qemu-img check` calls what is too high a leak."
    )
    why = "A leaked cluster takes room that is never used again. No data is in danger."
    fix = "A converted disk leaves it behind; `qemu-img check -r leaks` frees it."
    cured_by_convert = True
    order = 40

    def look(self, subject: Subject, counts: Refcounts) -> Iterator[Finding]:
        leaks = counts.leaks
        if leaks.count:
            yield self.failed(
                f"{leaks.count} of {counts.clusters} clusters are used less than their refcount "
                "says",
                *self.evidence(leaks, "refcount"), remedy=self.repair(subject, "leaks"),
            )  # fmt: skip
        else:
            yield self.passed(f"none of {counts.clusters} clusters is leaked")
