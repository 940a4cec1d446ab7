"""vhd-block-size"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd import VhdImage
from ...formats.vhd.dynamic import BlockTable, DynamicHeader
from ...units import MIB, format_bytes
from ..base import Evidence, Finding, Severity
from ..subject import Subject
from ._vhd import SparseVhdCheck

USUAL = 2 * MIB


class VhdBlockSize(SparseVhdCheck):
    id = "vhd-block-size"
    title = "blocks have the usual 2 MiB"
    severity = Severity.NOTE
    what = "The block size in the header of a dynamic or differencing VHD."
    why = "Any power of two is legal; some programs read blocks of 2 MiB, or of 512 KiB, only."
    fix = "`vhdfast convert --to dynamic-vhd` writes blocks of 2 MiB; a fixed VHD has none."
    cured_by_convert = True
    order = 15

    def look(
        self, subject: Subject, layer: VhdImage, header: DynamicHeader, table: BlockTable
    ) -> Iterator[Finding]:
        evidence = Evidence(
            "block size", str(header.block_size), str(USUAL), offset=header.offset + 32
        )
        if header.block_size == USUAL:
            yield self.passed("blocks have 2 MiB", evidence)
        else:
            yield self.failed(f"blocks have {format_bytes(header.block_size)}", evidence)
