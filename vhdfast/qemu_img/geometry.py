"""The size and geometry that qemu-img gives a VHD.

Source: Virtual Hard Disk Image Format Specification 1.0 (Microsoft, 2006), appendix "CHS
Calculation", whose geometries round down. Without force_size qemu-img takes the first size, sector
by sector, whose geometry spans what was asked for; where that is the largest one, the size is kept.
"""

from __future__ import annotations

from ..formats.vhd.footer import LARGEST_GEOMETRY
from ..units import SECTOR

__all__ = ["Geometry", "exact_geometry"]

Geometry = tuple[int, int, int]  # cylinders, heads, sectors a track

MAX_HEADS = 16
MAX_CYLINDERS = 65535
BIOS_CYLINDERS = 1024
LARGEST_SECTORS = MAX_CYLINDERS * MAX_HEADS * 255


def exact_geometry(size: int, force_size: bool) -> tuple[int, Geometry]:
    """(bytes of the disk, geometry) for a wish of `size` bytes, a multiple of 512."""
    wanted = size // SECTOR
    geometry = LARGEST_GEOMETRY
    if not force_size:
        sectors = wanted
        while _span(geometry := _geometry(sectors)) < min(wanted, LARGEST_SECTORS):
            sectors += 1
    return size if geometry == LARGEST_GEOMETRY else _span(geometry) * SECTOR, geometry


def _span(geometry: Geometry) -> int:
    cylinders, heads, track = geometry
    return cylinders * heads * track


def _geometry(sectors: int) -> Geometry:
    """The appendix's calculation, of up to LARGEST_SECTORS."""
    sectors = min(sectors, LARGEST_SECTORS)
    if sectors >= MAX_CYLINDERS * MAX_HEADS * 63:
        return sectors // 255 // MAX_HEADS, MAX_HEADS, 255
    tracks = sectors // 17
    heads = max(4, -(-tracks // BIOS_CYLINDERS))
    if heads <= MAX_HEADS and tracks < heads * BIOS_CYLINDERS:
        return tracks // heads, heads, 17
    tracks = sectors // 31
    if tracks < MAX_HEADS * BIOS_CYLINDERS:
        return tracks // MAX_HEADS, MAX_HEADS, 31
    return sectors // 63 // MAX_HEADS, MAX_HEADS, 63
