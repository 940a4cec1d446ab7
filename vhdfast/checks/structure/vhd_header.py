"""vhd-header"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd import VhdImage
from ...formats.vhd.dynamic import BlockTable, DynamicHeader
from ..base import Evidence, Finding, Severity
from ..subject import Subject
from ._vhd import SparseVhdCheck


class VhdHeader(SparseVhdCheck):
    id = "vhd-header"
    title = "the checksum of the dynamic header is right"
    severity = Severity.WARNING
    what = "The header of a dynamic or differencing VHD, which says where its table lies."
    why = (
        "A wrong checksum means that something in the header changed after it was written. Others "
        "refuse the disk; it is read here where the table's length proves the header."
    )
    fix = (
        "`vhdfast repair` sets it where the rest of the header proves itself; compare the file "
        "with the original, where there is one."
    )
    order = 13

    def look(
        self, subject: Subject, layer: VhdImage, header: DynamicHeader, table: BlockTable
    ) -> Iterator[Finding]:
        evidence = Evidence(
            "checksum", f"{header.stored_checksum:#010x}", f"{header.checksum:#010x}",
            offset=header.offset + 36,
        )  # fmt: skip
        if header.is_intact:
            yield self.passed("the dynamic header is intact", evidence)
        else:
            yield self.failed(
                "the checksum of the dynamic header is wrong", evidence,
                remedy=f"vhdfast repair {subject.quoted_path}",
            )  # fmt: skip
