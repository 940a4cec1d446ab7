"""How much of each cell of a disk is data: the numbers behind the picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..extents import ExtentMap, Kind
from ..units import SECTOR

__all__ = ["KINDS", "Shares"]

# In the order of the rows of `Shares.bytes`.
KINDS = (Kind.DATA, Kind.COMPRESSED, Kind.ZERO)
# A picture has between half as many cells and this, where the disk has so many sectors.
MAX_CELLS = 2048

Counts = npt.NDArray[np.int64]


class Shares:
    """[offset, offset + length) of a disk in cells of one size, a power of two.

    A cell has `cell` bytes but for the last one. `add` every window of the map once, in any order;
    memory does not grow with the image. `bytes[k, i]`: bytes of KINDS[k] in cell i.
    """

    def __init__(self, offset: int, length: int, max_cells: int = MAX_CELLS) -> None:
        if length <= 0:
            raise ValueError(f"no cells in {length} bytes")
        self.offset, self.length = offset, length
        self.cell = max(SECTOR, 1 << (-(-length // max_cells) - 1).bit_length())
        self.count = -(-length // self.cell)
        self.bytes: Counts = np.zeros((len(KINDS), self.count), dtype=np.int64)

    @property
    def lengths(self) -> Counts:
        """Bytes of each cell."""
        lengths = np.full(self.count, self.cell, dtype=np.int64)
        lengths[-1] = self.length - (self.count - 1) * self.cell
        return lengths

    @property
    def totals(self) -> dict[Kind, int]:
        """Bytes of each kind in all cells."""
        sums = self.bytes.sum(axis=1)
        return {kind: int(total) for kind, total in zip(KINDS, sums, strict=True)}

    def add(self, window: ExtentMap) -> None:
        """Count a window, which lies within the range."""
        first = (window.offset - self.offset) // self.cell
        last = (window.end - 1 - self.offset) // self.cell
        edges = self.offset + np.arange(first, last + 1, dtype=np.int64) * self.cell
        edges = np.append(edges, window.end)  # the cell's own end may be beyond 2^63
        kinds = window.rows["kind"]
        for number, kind in enumerate(KINDS):
            rows = window.rows[kinds == kind]
            if len(rows):
                starts = rows["offset"].astype(np.int64)
                lengths = rows["length"].astype(np.int64)
                found = np.diff(_bytes_before(edges, starts, lengths))
                self.bytes[number, first : last + 1] += found


def _bytes_before(edges: Counts, starts: Counts, lengths: Counts) -> Counts:
    """How many bytes of ascending ranges lie before each edge."""
    sums = np.concatenate(([0], np.cumsum(lengths)))
    index = np.searchsorted(starts, edges, side="right")
    before = np.maximum(index - 1, 0)
    partly = np.clip(edges - starts[before], 0, lengths[before])
    return np.where(index > 0, sums[before] + partly, 0).astype(np.int64)
