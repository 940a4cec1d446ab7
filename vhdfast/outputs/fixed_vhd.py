"""A fixed VHD as Azure takes it: the bytes of the disk, then a footer."""

from __future__ import annotations

import uuid

from .. import __version__
from ..formats.vhd.footer import FOOTER_LENGTH, NO_OFFSET, DiskType, Footer, vhd_time
from ..units import GIB, MIB
from .base import Constraints, FileOutput

__all__ = ["FixedVhd", "make_footer"]


def make_footer(
    output: FileOutput, disk_type: DiskType, unique_id: uuid.UUID, data_offset: int = NO_OFFSET
) -> bytes:
    """A footer that every reader takes the exact size from.

    The geometry is always the largest one: then no reader computes a size from it.
    """
    major, minor = (int(part) for part in __version__.split(".")[:2])
    return Footer(
        current_size=output.virtual_size,
        original_size=output.virtual_size,
        disk_type=disk_type,
        data_offset=data_offset,
        timestamp=vhd_time(output.options.timestamp),
        creator_version=major << 16 | minor,
        unique_id=unique_id,
    ).pack()


class FixedVhd(FileOutput):
    """The disk's bytes, then a footer."""

    name = "fixed-vhd"
    title = "fixed VHD, the only format that Azure boots from"
    suffix = ".vhd"
    format_name = "vhd"
    # The largest managed disk: 32767 GiB.
    constraints = Constraints(alignment=MIB, max_size=32767 * GIB, overhead=FOOTER_LENGTH)

    def trailer(self) -> bytes:
        return make_footer(self, DiskType.FIXED, self.unique_id)
