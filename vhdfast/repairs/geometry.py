"""The geometry, and the original size."""

from __future__ import annotations

from ..formats.vhd.footer import LARGEST_GEOMETRY
from ..units import MAX_OFFSET, SECTOR
from .base import Repair
from .draft import Draft

__all__ = ["geometry_of"]

# Sectors that the largest geometry spans, and from which on tracks have 255 sectors.
MOST = 65535 * 16 * 255
LARGE = 65535 * 16 * 63


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
        right = (LARGEST_GEOMETRY, geometry_of(size))
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


def geometry_of(size: int) -> tuple[int, int, int]:
    """(cylinders, heads, sectors a track) that the specification gives a disk of `size` bytes.

    Source: Virtual Hard Disk Image Format Specification 1.0, appendix "CHS Calculation".
    """
    total = min(size // SECTOR, MOST)
    if total >= LARGE:
        sectors, heads = 255, 16
    else:
        sectors = 17
        tracks = total // sectors
        heads = max(4, -(-tracks // 1024))
        if tracks >= heads * 1024 or heads > 16:
            sectors, heads = 31, 16
            if total // sectors >= heads * 1024:
                sectors = 63
    return total // sectors // heads, heads, sectors
