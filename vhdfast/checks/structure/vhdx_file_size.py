"""vhdx-file-size"""

from __future__ import annotations

from collections.abc import Iterator

from ...units import MIB, round_up
from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject
from .vhdx_headers import MS_VHDX


class VhdxFileSize(Check):
    id = "vhdx-file-size"
    title = "the file of a VHDX is a whole number of MiB"
    severity = Severity.NOTE
    what = "The size of the file: all that lies in a VHDX is aligned to MiB."
    why = (
        "Old versions of qemu left the last block short, which is harmless. A copy that was broken "
        "off looks the same."
    )
    fix = "Compare the file's size with the original's."
    references = (MS_VHDX,)
    order = 42

    def run(self, subject: Subject) -> Iterator[Finding]:
        if subject.format != "vhdx":
            yield self.skipped("this is no VHDX, or it cannot be opened")
            return
        size = subject.file_size
        evidence = Evidence("file size", str(size), str(round_up(size, MIB)))
        if size % MIB:
            yield self.failed("the file ends within a MiB", evidence)
        else:
            yield self.passed(f"the file has {size // MIB} MiB", evidence)
