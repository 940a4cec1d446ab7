"""Cylinders, heads and sectors: the geometry of a VHD, and the sizes that one can express.

Source: Virtual Hard Disk Image Format Specification 1.0 (Microsoft, 2006), appendix "CHS
Calculation". A geometry rounds down: of most sizes it spans less than all. qemu-img therefore takes
the first larger size whose geometry spans what was asked for.
"""

from __future__ import annotations

from ...units import SECTOR

__all__ = ["LARGEST_SIZE", "geometry_for", "rounded_up", "size_of"]

Geometry = tuple[int, int, int]  # cylinders, heads, sectors a track

MAX_CYLINDERS = 65535
HEADS = 16  # at most, in all that the appendix makes
LARGEST_SECTORS = MAX_CYLINDERS * HEADS * 255
LARGEST_SIZE = LARGEST_SECTORS * SECTOR  # bytes: 127.5 GiB
# From so many sectors on a track has 255, and all tracks are used.
LONG_TRACKS_FROM = MAX_CYLINDERS * HEADS * 63
MAX_SHORT_CYLINDERS = 1024  # a cylinder number of the BIOS has ten bits


def size_of(geometry: Geometry) -> int:
    """Bytes that a geometry spans."""
    cylinders, heads, sectors = geometry
    return cylinders * heads * sectors * SECTOR


def geometry_for(size: int) -> Geometry:
    """The geometry of a disk of `size` bytes by the appendix; it may span less, never more.

    Only the largest geometry stands for more than LARGEST_SIZE.
    """
    total = min(size // SECTOR, LARGEST_SECTORS)
    if total >= LONG_TRACKS_FROM:
        return total // 255 // HEADS, HEADS, 255
    tracks = total // 17
    heads = max(4, -(-tracks // MAX_SHORT_CYLINDERS))
    if heads <= HEADS and tracks < heads * MAX_SHORT_CYLINDERS:
        return tracks // heads, heads, 17
    tracks = total // 31
    if tracks < HEADS * MAX_SHORT_CYLINDERS:
        return tracks // HEADS, HEADS, 31
    return total // 63 // HEADS, HEADS, 63


def rounded_up(size: int) -> int:
    """Bytes of the disk that qemu-img makes where `size` bytes are asked for, without force_size.

    Where only the largest geometry is large enough, or none, the size is kept. At most a cylinder
    and a change of the number of heads are searched: some thousand steps.
    """
    wanted = sectors = -(-size // SECTOR)
    if sectors > LARGEST_SECTORS:
        return wanted * SECTOR
    while (spanned := size_of(geometry_for(sectors * SECTOR))) < wanted * SECTOR:
        sectors += 1
    return wanted * SECTOR if spanned == LARGEST_SIZE else spanned
