"""Where all blocks of an image lie, together: outside the file, on its tables, on each other, and
what of the file nothing owns. Readers stop at the first that is wrong; here they are counted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from ..formats import ImageFormat
from ..formats.parallels import ParallelsImage
from ..formats.vdi import VdiImage
from ..formats.vdi.blocks import DISCARDED
from ..formats.vhd import VhdImage
from ..formats.vhd.dynamic import HEADER_LENGTH, UNUSED
from ..formats.vhd.footer import FOOTER_LENGTH
from ..formats.vhdx import VhdxImage
from ..formats.vhdx.bat import BITMAP_SIZE
from ..tables import OVERLAP_BLOCKS, Indices, Places, Region, Walk, stored_entries
from ..units import MIB, SECTOR, round_up

__all__ = ["Census", "Layout", "Misplaced", "layout_of", "take_census"]

SHOWN = 4  # of each kind, that are named
SWEPT = 1 << 18  # sorted blocks that are looked at in one step
QEMU_GAP = 4 * MIB  # behind the BAT of a VHDX that qemu-img makes
MAX_FILE = 1 << 62  # so that a place and its sort fit 64 bits


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the blocks of a format may lie; bytes but for `unit`.

    walk: over all that is stored; places in units of `unit` bytes. sizes: of a block of each sort.
    start_needed: bytes of a block that must lie before `end`; the rest may be cut off.
    reserved: what no block may lie on. owned: what is used besides the blocks. slack: what may be
    left unused, as programs align.
    name_of, entry_offset: of the index of a block.
    """

    walk: Walk
    unit: int
    sizes: tuple[int, ...]
    start_needed: int
    end: int
    file_size: int
    reserved: Sequence[Region]
    owned: Sequence[Region]
    slack: int
    name_of: Callable[[int], str]
    entry_offset: Callable[[int], int]


@dataclass(slots=True)
class Misplaced:
    """Blocks that lie wrong: how many, and (index, place in bytes, on what) of the first."""

    count: int = 0
    first: list[tuple[int, int, str]] = field(default_factory=list)

    def add(self, indices: Indices, places: list[int], what: str) -> None:
        self.count += len(indices)
        for index, place in zip(indices[:SHOWN], places, strict=False):
            if len(self.first) < SHOWN:
                self.first.append((int(index), place, what))


@dataclass(slots=True)
class Census:
    """What was counted; bytes.

    overlaps: pairs of blocks that share bytes; the first as (place, place). unowned: bytes of the
    file that nothing uses; the first as (offset, length). Both are None where there are more
    blocks than are sorted (OVERLAP_BLOCKS).
    """

    stored: int = 0
    outside: Misplaced = field(default_factory=Misplaced)
    on_metadata: Misplaced = field(default_factory=Misplaced)
    overlaps: int | None = 0
    first_overlaps: list[tuple[int, int]] = field(default_factory=list)
    unowned: int | None = 0
    first_unowned: list[tuple[int, int]] = field(default_factory=list)


def take_census(layout: Layout) -> Census:
    """Walk over the tables once, and sort what they say. Raises what reading them raises."""
    census = Census()
    kept: list[Places] | None = [] if layout.file_size < MAX_FILE else None
    sizes = np.asarray(layout.sizes, np.uint64)
    first_outside = max(0, -(-(layout.end - layout.start_needed) // layout.unit))
    for indices, places, sorts in layout.walk():
        census.stored += len(indices)
        sorts = np.broadcast_to(np.asarray(sorts, np.uint64), places.shape)
        outside = places >= np.uint64(first_outside)
        if outside.any():
            wrong = places[outside][:SHOWN].tolist()
            census.outside.add(indices[outside], [place * layout.unit for place in wrong], "")
            inside = ~outside
            indices, places, sorts = indices[inside], places[inside], sorts[inside]
        starts = places * np.uint64(layout.unit)
        ends = starts + sizes[sorts.astype(np.intp)]
        clear = np.ones(len(starts), bool)
        for region in layout.reserved:
            on = clear & (starts < np.uint64(region.end)) & (ends > np.uint64(region.offset))
            if on.any():
                clear &= ~on
                census.on_metadata.add(indices[on], starts[on][:SHOWN].tolist(), str(region))
        if kept is not None:
            kept.append(starts << np.uint64(1) | sorts)
            if census.stored > OVERLAP_BLOCKS:
                kept = None
    if kept is None:
        census.overlaps = census.unowned = None
        return census
    marks = np.concatenate(kept) if kept else np.zeros(0, np.uint64)
    kept.clear()
    marks.sort()
    _sweep(census, marks, sizes, layout)
    return census


def _sweep(census: Census, marks: Places, sizes: Places, layout: Layout) -> None:
    """Overlaps and gaps of blocks that are sorted by their places."""
    owned = _merged(layout.owned, layout.file_size)
    overlaps = 0
    before, last_start = 0, 0  # where everything so far ends, and its last block begins
    for low in range(0, len(marks), SWEPT):
        part = marks[low : low + SWEPT]
        starts = (part >> np.uint64(1)).astype(np.int64)
        ends = starts + sizes[(part & np.uint64(1)).astype(np.intp)].astype(np.int64)
        reached = np.maximum.accumulate(np.concatenate(([before], ends)))
        close = np.flatnonzero(starts < reached[:-1])
        overlaps += len(close)
        for at in close[: SHOWN - len(census.first_overlaps)].tolist():
            one = int(starts[at - 1]) if at else last_start
            census.first_overlaps.append((one, int(starts[at])))
        _count_gaps(census, reached[:-1], starts, owned)
        before, last_start = int(reached[-1]), int(starts[-1])
    tail = np.array([[before], [layout.file_size]], np.int64)
    _count_gaps(census, tail[0], tail[1], owned)
    census.overlaps = overlaps


def _count_gaps(
    census: Census, lows: npt.NDArray[np.int64], highs: npt.NDArray[np.int64],
    owned: list[tuple[int, int]],
) -> None:  # fmt: skip
    """Count what of [lows, highs) is not owned."""
    gaps = np.flatnonzero(lows < highs)
    lows, highs = lows[gaps], highs[gaps]
    free = highs - lows
    for start, end in owned:
        free -= np.maximum(np.minimum(highs, end) - np.maximum(lows, start), 0)
    assert census.unowned is not None
    census.unowned += int(free.sum())
    for at in np.flatnonzero(free)[:SHOWN].tolist():
        low, high = int(lows[at]), int(highs[at])
        for start, end in [*owned, (high, high)]:
            if low < min(start, high) and len(census.first_unowned) < SHOWN:
                census.first_unowned.append((low, min(start, high) - low))
            low = max(low, end)


def _merged(regions: Iterable[Region], end: int) -> list[tuple[int, int]]:
    """The regions as ranges within the file that do not touch each other."""
    found: list[tuple[int, int]] = []
    for region in sorted(regions, key=lambda each: each.offset):
        low, high = min(region.offset, end), min(region.end, end)
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        elif low < high:
            found.append((low, high))
    return found


# ---- the formats --------------------------------------------------------------------------------


def layout_of(layer: ImageFormat) -> Layout | None:
    """The layout of an image, of its topmost layer; None for formats without such blocks."""
    if isinstance(layer, VhdImage):
        return _vhd(layer)
    if isinstance(layer, VhdxImage):
        return _vhdx(layer)
    if isinstance(layer, VdiImage):
        return _vdi(layer)
    return _parallels(layer) if isinstance(layer, ParallelsImage) else None


def _vhd(layer: VhdImage) -> Layout | None:
    table, header = layer.table, layer.header
    if table is None or header is None:
        return None
    start = header.table_offset
    owned = [
        *table.reserved,
        Region("table", start, start + round_up(4 * header.max_table_entries, SECTOR)),
        Region("footer", layer.limit, layer.limit + FOOTER_LENGTH),
        *_locators(header.locators),
    ]
    return Layout(
        walk=partial(stored_entries, table.entries, table.count, lambda found: found != UNUSED),
        unit=SECTOR,
        sizes=(table.stride * SECTOR,),
        start_needed=table.bitmap_size,
        end=layer.limit,
        file_size=layer.source.size,
        reserved=table.reserved,
        owned=owned,
        slack=table.stride * SECTOR - 1,
        name_of=lambda index: f"block {index}",
        entry_offset=lambda index: start + 4 * index,
    )


def _locators(data: bytes) -> Iterator[Region]:
    """The room of the parent locators; some writers count it in sectors, some in bytes."""
    for code, space, length, _, offset in struct.iter_unpack(">4sIIIQ", data):
        if any(code):
            room = max(round_up(length, SECTOR), space if space >= SECTOR else space * SECTOR)
            yield Region("parent locator", offset, offset + min(room, HEADER_LENGTH * 64))


def _vhdx(layer: VhdxImage) -> Layout:
    table = layer.table
    return Layout(
        walk=table.all_stored,
        unit=MIB,
        sizes=(table.block_size, BITMAP_SIZE),
        start_needed=0,
        end=table.source.size,
        file_size=table.source.size,
        reserved=table.reserved,
        owned=table.reserved,
        slack=max(table.block_size - 1, QEMU_GAP),
        name_of=table.name_of,
        entry_offset=lambda index: table.region.offset + 8 * index,
    )


def _vdi(layer: VdiImage) -> Layout:
    table, header = layer.table, layer.header

    def walk() -> Iterator[tuple[Indices, Places, npt.ArrayLike]]:
        blocks = stored_entries(table.entries, table.count, lambda found: found < DISCARDED)
        for indices, numbers, sorts in blocks:
            starts = numbers * np.uint64(header.stride) + np.uint64(header.data_offset)
            yield indices, starts, sorts

    return Layout(
        walk=walk,
        unit=1,
        sizes=(header.stride,),
        start_needed=header.block_extra,
        end=layer.source.size,
        file_size=layer.source.size,
        reserved=(),
        owned=(Region("header and map", 0, header.data_offset),),
        slack=header.stride - 1,
        name_of=lambda index: f"block {index}",
        entry_offset=lambda index: header.map_offset + 4 * index,
    )


def _parallels(layer: ParallelsImage) -> Layout:
    table = Region("table", 0, round_up(layer.table_end, layer.unit))
    return Layout(
        walk=partial(stored_entries, layer.entries, layer.needed, lambda found: found != 0),
        unit=layer.unit,
        sizes=(layer.block_size,),
        start_needed=0,
        end=layer.source.size,
        file_size=layer.source.size,
        reserved=layer.reserved(),
        owned=[table, *layer.reserved()],
        slack=layer.block_size - 1,
        name_of=lambda index: f"cluster {index}",
        entry_offset=layer.entry_offset,
    )
