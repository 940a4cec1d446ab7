"""A fixed VHD as Azure takes it: the bytes of the disk, then a footer."""

from __future__ import annotations

import uuid

from .. import __version__
from ..formats.vhd.footer import FOOTER_LENGTH, DiskType, Footer, vhd_time
from ..units import GIB, MIB
from .base import Constraints, FileOutput

__all__ = ["FixedVhd"]


class FixedVhd(FileOutput):
    """A fixed VHD whose footer every reader takes the exact size from.

    The geometry is always the largest one: then no reader computes a size from it.
    """

    name = "fixed-vhd"
    title = "fixed VHD, the only format that Azure boots from"
    suffix = ".vhd"
    format_name = "vhd"
    # The largest managed disk: 32767 GiB.
    constraints = Constraints(alignment=MIB, max_size=32767 * GIB, overhead=FOOTER_LENGTH)

    def trailer(self) -> bytes:
        major, minor = (int(part) for part in __version__.split(".")[:2])
        chosen = self.options.unique_id
        return Footer(
            current_size=self.virtual_size,
            original_size=self.virtual_size,
            disk_type=DiskType.FIXED,
            timestamp=vhd_time(self.options.timestamp),
            creator_version=major << 16 | minor,
            unique_id=uuid.uuid4() if chosen is None else uuid.UUID(chosen),
        ).pack()
