"""The geometry, and the original size."""

from __future__ import annotations

from ..formats.vhd.footer import LARGEST_GEOMETRY
from ..formats.vhd.geometry import geometry_for
from ..units import MAX_OFFSET
from .base import Repair
from .draft import Draft


class Geometry(Repair):
    """A geometry that spans another size makes some readers cut the disk, or read beyond it.

    It becomes the largest one, from which no reader computes a size. The creator stays: with that
    geometry no reader asks who it was.
    """

    name = "geometry"
    order = 60

    def examine(self, draft: Draft) -> None:
        footer = draft.footer
        size = footer.current_size
        # The specification's geometry falls short of most sizes; it is right all the same, and what
        # Hyper-V, VirtualBox and Azure itself write.
        right = (LARGEST_GEOMETRY, geometry_for(size))
        if footer.geometry not in right and footer.chs_size != size:
            shown = "/".join(map(str, footer.geometry))
            draft.found(
                "geometry",
                f"the geometry {shown} spans {footer.chs_size} bytes, the disk has {size}",
            )
            draft.set(geometry=LARGEST_GEOMETRY)
        if not 0 < footer.original_size <= MAX_OFFSET:
            draft.found("original-size", f"the original size is {footer.original_size} bytes")
            draft.set(original_size=size)
