"""vdi-allocated"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vdi import VdiImage
from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject

ALLOCATED_AT = 0x184


class VdiAllocated(Check):
    id = "vdi-allocated"
    title = "the header counts as many blocks of a VDI as its map names"
    severity = Severity.WARNING
    what = "The number of allocated blocks in the header, and the blocks that the map names."
    why = (
        "A writer appends the next block where the header says that the last one ends: a number "
        "that is too small makes it write over one. Reading does not depend on it."
    )
    fix = "`vhdfast convert` reads the map. `VBoxManage clonemedium` writes a sound VDI."
    cured_by_convert = True
    order = 12

    def run(self, subject: Subject) -> Iterator[Finding]:
        layer = None if subject.image is None else subject.image.layer
        census = subject.census
        if not isinstance(layer, VdiImage) or census is None:
            yield self.skipped("this is no VDI, or it cannot be opened")
            return
        counted = layer.header.allocated
        evidence = Evidence(
            "blocks allocated", str(counted), str(census.stored), offset=ALLOCATED_AT
        )
        if counted == census.stored:
            yield self.passed(f"both know of {counted} blocks", evidence)
        else:
            yield self.failed(
                f"the header counts {counted} blocks, the map names {census.stored}", evidence
            )
