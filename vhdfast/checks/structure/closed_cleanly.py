"""closed-cleanly"""

from __future__ import annotations

from collections.abc import Iterator

from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject

# The log of a VHDX, the dirty bit of qcow2, marks of use of VMDK and Parallels.
CODES = ("log-replayed", "dirty", "not-closed")


class ClosedCleanly(Check):
    id = "closed-cleanly"
    title = "the image was closed properly"
    severity = Severity.WARNING
    what = (
        "The mark that an image is in use, or was when its writer died: changes in the log of a "
        "VHDX, the dirty bit of qcow2, the flags of VMDK and Parallels."
    )
    why = (
        "The last writes may be missing, or the machine still runs: a copy that is taken now is "
        "that of a disk after a power cut. The changes in a VHDX log are applied in memory when it "
        "is read here; qemu-img refuses such an image."
    )
    fix = (
        "Shut the machine down and copy the image again. If it crashed, start it once where it was "
        "and shut it down."
    )
    order = 25

    def run(self, subject: Subject) -> Iterator[Finding]:
        if subject.image is None:
            yield self.skipped("the image cannot be opened")
            return
        _ = subject.map_error  # the walk brings up what parts of the image say
        found = [notice for notice in subject.image.notices if notice.code in CODES]
        for notice in found:
            yield self.failed(
                notice.message,
                Evidence(notice.code, "set", "not set", path=notice.path, offset=notice.offset),
                remedy="shut the machine down, and copy the image again",
            )
        if not found:
            yield self.passed("nothing says that the image is in use")
