"""Sources of which another file holds only pieces: sparse files as archives store them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .extents import MAX_ROWS, Kind, Rows
from .files import Source

__all__ = ["SparseSource"]

Column = npt.NDArray[np.int64]

# Pieces that one question for zeros looks at.
ASKED = MAX_ROWS


class SparseSource(Source):
    """A file whose pieces lie one behind the other in `whole`; between them it is zeros.

    It owns that source. Python reads it; for native code `locate` says where in `whole` rows lie.
    It lies in no directory, as what is in an archive does.
    """

    knows_zeros = True

    def __init__(
        self, whole: Source, offset: int, starts: Column, lengths: Column, size: int, path: str
    ) -> None:
        """offset: where in `whole` the first piece lies. starts, lengths: of the pieces.

        They ascend, do not overlap, have a byte at least and end within `size`, and `whole` has
        all of them: whoever read them has looked.
        """
        # Pieces without a hole between them are one: they lie side by side in both files.
        fresh = np.flatnonzero(starts[1:] != starts[:-1] + lengths[:-1]) + 1
        first = np.concatenate((np.zeros(min(1, len(starts)), np.intp), fresh))
        self._starts = starts[first]
        sums = np.add.reduceat(lengths, first) if len(first) else lengths
        self._ends = self._starts + sums
        self._places = offset + np.cumsum(sums) - sums
        self.whole = whole
        self.size = size
        self.path = path
        self.stream = whole.stream
        self._offset = offset

    def fileno(self) -> None:
        return None

    def read(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        return self.read_ranges([(offset, length)], "data of a sparse file")[0]

    def read_ranges(self, ranges: Sequence[tuple[int, int]], what: str) -> list[bytes]:
        for offset, length in ranges:
            if offset + length > self.size:
                self.read_exact(offset, length, what)  # says where the file ends
        spans = [self._pieces_of(offset, offset + length) for offset, length in ranges]
        # Pieces that follow each other lie in one range of the other file.
        wanted = [
            (int(places[0]), int(lengths.sum())) for _, lengths, places in spans if len(places)
        ]
        stored = iter(self.whole.read_ranges(wanted, what))
        found = []
        for (offset, length), (starts, lengths, _) in zip(ranges, spans, strict=True):
            out = bytearray(length)
            part = next(stored) if len(starts) else b""
            at = 0
            for start, size in zip((starts - offset).tolist(), lengths.tolist(), strict=True):
                out[start : start + size] = part[at : at + size]
                at += size
            found.append(bytes(out))
        return found

    def _pieces_of(self, low: int, high: int) -> tuple[Column, Column, Column]:
        """(starts, lengths, places) of what is stored of [low, high)."""
        first = int(np.searchsorted(self._ends, low, side="right"))
        last = max(first, int(np.searchsorted(self._starts, high, side="left")))
        starts = np.maximum(self._starts[first:last], low)
        lengths = np.minimum(self._ends[first:last], high) - starts
        return starts, lengths, self._places[first:last] + (starts - self._starts[first:last])

    def find_zeros(self, offset: int, length: int) -> tuple[Column, int]:
        high = offset + length
        first = int(np.searchsorted(self._ends, offset, side="right"))
        last = max(first, int(np.searchsorted(self._starts, high, side="left")))
        if last - first > ASKED:
            last = first + ASKED
            high = int(self._starts[last])
        begins = np.concatenate(([offset], self._ends[first:last]))
        stops = np.concatenate((self._starts[first:last], [high]))
        holes = np.column_stack((begins, np.minimum(stops, high)))
        return holes[holes[:, 0] < holes[:, 1]], high

    def locate(self, rows: Rows, file: int, whole: int) -> Rows:
        """The rows with those that lie in one piece of this source, `file`, naming `whole`.

        Others (a compressed unit with a hole in it) stay as they are.
        """
        mine = np.flatnonzero((rows["kind"] >= Kind.DATA) & (rows["file"] == file))
        if not len(mine) or not len(self._starts):
            return rows
        starts = rows["file_offset"][mine].astype(np.int64)
        packed = rows["kind"][mine] == Kind.COMPRESSED
        sizes = np.where(packed, rows["stored_length"][mine], rows["length"][mine])
        piece = np.maximum(np.searchsorted(self._starts, starts, side="right") - 1, 0)
        inside = (self._starts[piece] <= starts) & (
            sizes.astype(np.int64) <= self._ends[piece] - starts
        )
        mine, starts, piece = mine[inside], starts[inside], piece[inside]
        rows = rows.copy()
        rows["file_offset"][mine] = self._places[piece] + (starts - self._starts[piece])
        rows["file"][mine] = whole
        return rows

    @property
    def lies_on_device(self) -> bool:
        return self.whole.lies_on_device

    @property
    def identity(self) -> tuple[object, ...]:
        return (*self.whole.identity, self._offset, "sparse")

    def is_same_file(self, path: str) -> bool:
        return self.whole.is_same_file(path)

    def check_unchanged(self) -> None:
        self.whole.check_unchanged()

    def close(self) -> None:
        self.whole.close()
