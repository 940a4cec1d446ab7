"""qcow2-copied"""

from __future__ import annotations

from collections.abc import Iterator

from ..base import Evidence, Finding, Severity
from ..refcounts import Refcounts
from ..subject import Subject
from ._qcow2 import RefcountCheck
from .qcow2_refcounts import COPY_FIRST


class Qcow2Copied(RefcountCheck):
    id = "qcow2-copied"
    title = "clusters are marked as copied where their refcount is one"
    severity = Severity.WARNING
    what = (
        "The flag in entries of the active tables that says that the cluster is used by this one "
        "entry alone, and may be written in place."
    )
    why = (
        "Where the flag is set on a cluster that a snapshot uses too, a write changes the "
        "snapshot. Where it is missing, a write copies for nothing. Reading does not depend on it."
    )
    fix = "`vhdfast convert` does not need it; on a copy, `qemu-img check -r all` sets it right."
    order = 17

    def look(self, subject: Subject, counts: Refcounts) -> Iterator[Finding]:
        copied = counts.copied
        if not copied.count:
            yield self.passed("every flag agrees with the refcount")
            return
        yield self.failed(
            f"{copied.count} {'entry has' if copied.count == 1 else 'entries have'} the wrong flag",
            *(
                Evidence(
                    "'copied' flag of the cluster", "set" if found else "not set",
                    "set" if expected else "not set", offset=place,
                )
                for place, found, expected in copied.first
            ),
            remedy=COPY_FIRST + self.repair(subject, "all"),
        )  # fmt: skip
