"""The size and geometry that qemu-img gives a VHD.

Without force_size it takes the first size, sector by sector, whose geometry spans what was asked
for; where that is the largest geometry, the size is kept. A size that was found so may have another
geometry of its own: the one that it was found by is written.
"""

from __future__ import annotations

from ..formats.vhd.footer import LARGEST_GEOMETRY
from ..formats.vhd.geometry import LARGEST_SIZE, geometry_for, size_of
from ..units import SECTOR

__all__ = ["Geometry", "exact_geometry"]

Geometry = tuple[int, int, int]  # cylinders, heads, sectors a track


def exact_geometry(size: int, force_size: bool) -> tuple[int, Geometry]:
    """(bytes of the disk, geometry) for a wish of `size` bytes, a multiple of 512."""
    geometry = LARGEST_GEOMETRY
    if not force_size:
        tried = size
        while size_of(geometry := geometry_for(tried)) < min(size, LARGEST_SIZE):
            tried += SECTOR
    return size if geometry == LARGEST_GEOMETRY else size_of(geometry), geometry
