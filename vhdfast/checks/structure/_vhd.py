"""What checks of dynamic and differencing VHDs share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from ...formats.vhd import VhdImage
from ...formats.vhd.dynamic import BlockTable, DynamicHeader
from ..azure._footer import VHD_SPECIFICATION
from ..base import Check, Finding, Reference
from ..subject import Subject


class SparseVhdCheck(Check):
    """A check of a VHD that has a table of blocks."""

    references: ClassVar[tuple[Reference, ...]] = (VHD_SPECIFICATION,)

    @abstractmethod
    def look(
        self, subject: Subject, layer: VhdImage, header: DynamicHeader, table: BlockTable
    ) -> Iterator[Finding]:
        """What the image says."""

    def run(self, subject: Subject) -> Iterator[Finding]:
        layer = None if subject.image is None else subject.image.layer
        if not isinstance(layer, VhdImage) or layer.header is None or layer.table is None:
            yield self.skipped("this is no dynamic or differencing VHD, or it cannot be opened")
        else:
            yield from self.look(subject, layer, layer.header, layer.table)
