"""vhd-table-size"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd import VhdImage
from ...formats.vhd.dynamic import BlockTable, DynamicHeader
from ..azure._footer import VHD_SPECIFICATION
from ..base import Evidence, Finding, Reference, Severity
from ..subject import Subject
from ._vhd import SparseVhdCheck


class VhdTableSize(SparseVhdCheck):
    id = "vhd-table-size"
    title = "the table of blocks is as long as the disk needs"
    severity = Severity.WARNING
    what = "The entries of a dynamic VHD's table, and the blocks that its size needs."
    why = (
        "qemu-img before 5.0 wrote one entry too many where the size is a whole number of blocks. "
        "Readers of disks ignore it; some tools that bring dynamic disks to Azure refuse the file."
    )
    fix = "`vhdfast convert` makes a fixed disk, which has no table."
    references = (
        VHD_SPECIFICATION,
        Reference(
            "Launchpad bug 1870098: [block/vpc] dynamic disk header: off-by-one error for "
            '"num_bat_entries"',
            "https://bugs.launchpad.net/qemu/+bug/1870098",
        ),
    )
    cured_by_convert = True
    order = 14

    def look(
        self, subject: Subject, layer: VhdImage, header: DynamicHeader, table: BlockTable
    ) -> Iterator[Finding]:
        found, needed = header.max_table_entries, table.count
        evidence = Evidence("max table entries", str(found), str(needed), offset=header.offset + 28)
        if found == needed:
            yield self.passed(f"{found} entries are as many as needed", evidence)
        elif found == needed + 1:
            yield self.failed(
                "the table has one entry too many, as qemu-img before 5.0 wrote it", evidence
            )
        else:
            yield self.failed(f"the table has {found - needed} entries too many", evidence)
