"""What lies where in a virtual disk, one window at a time.

A map is a numpy array of EXTENT rows. Formats build rows, `ExtentMap.checked` is the one gate that
every map passes before anyone else sees it, and the native core checks the bounds once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InternalError

__all__ = ["EXTENT", "Codec", "Extent", "ExtentMap", "Kind", "Rows"]

# struct vf_extent of native/include/vf_decl.h; _native compares the layouts when it is imported.
EXTENT = np.dtype(
    [
        ("offset", "<u8"),
        ("length", "<u8"),
        ("file_offset", "<u8"),
        ("stored_length", "<u4"),
        ("decoded_length", "<u4"),
        ("skip", "<u4"),
        ("file", "<u2"),
        ("kind", "u1"),
        ("codec", "u1"),
    ],
    align=True,
)

Rows = npt.NDArray[np.void]

MAX_ROWS = 65536  # rows in one window: 2.5 MiB
MAX_UNIT = 4 << 20  # bytes of a compressed unit, as it is stored and decoded


class Kind(IntEnum):
    """What a row says of its range."""

    UNALLOCATED = 0  # ask the layer below; exists only inside one layer
    ZERO = 1
    DATA = 2
    COMPRESSED = 3


class Codec(IntEnum):
    """How the bytes of a COMPRESSED row are stored."""

    NONE = 0
    DEFLATE = 1
    ZLIB = 2
    ZSTD = 3


@dataclass(frozen=True, slots=True)
class Extent:
    """One row as Python sees it; `file_offset` and `file` are None where nothing is stored.

    stored_length, skip, codec: of a COMPRESSED row alone. Its bytes are [skip, skip + length) of
    what `stored_length` bytes at `file_offset` decode to.
    """

    offset: int
    length: int
    kind: Kind
    file: int | None = None
    file_offset: int | None = None
    stored_length: int | None = None
    skip: int | None = None
    codec: Codec | None = None

    @property
    def end(self) -> int:
        return self.offset + self.length


def make_rows(
    offset: npt.ArrayLike,
    length: npt.ArrayLike,
    kind: npt.ArrayLike,
    file_offset: npt.ArrayLike = 0,
    file: npt.ArrayLike = 0,
) -> Rows:
    """Rows from columns; a scalar column fills all rows. At least `offset` must be an array."""
    offset = np.asarray(offset, dtype=np.uint64)
    rows = np.zeros(offset.shape, dtype=EXTENT)
    rows["offset"] = offset
    rows["length"] = length
    rows["kind"] = kind
    rows["file_offset"] = file_offset
    rows["file"] = file
    return rows


def concatenate(parts: Sequence[Rows]) -> Rows:
    """One array of rows; np.concatenate would drop the padding of EXTENT."""
    rows = np.zeros(sum(len(part) for part in parts), dtype=EXTENT)
    at = 0
    for part in parts:
        rows[at : at + len(part)] = part
        at += len(part)
    return rows


def in_order(parts: Sequence[Rows]) -> Rows:
    """One array of rows of several, none of which overlap, by their offsets."""
    filled = [part for part in parts if len(part)]
    if len(filled) == 1:
        return filled[0]
    rows = concatenate(filled)
    return rows[np.argsort(rows["offset"], kind="stable")]


def merge(rows: Rows) -> Rows:
    """The same rows with equal neighbours made one: ZERO, UNALLOCATED, and DATA that continues."""
    if len(rows) < 2:
        return rows
    before, after = rows[:-1], rows[1:]
    kind = after["kind"]
    same = (before["kind"] == kind) & (kind != Kind.COMPRESSED)
    data = kind == Kind.DATA
    continues = (before["file"] == after["file"]) & (
        before["file_offset"] + before["length"] == after["file_offset"]
    )
    same &= continues | ~data
    if not same.any():
        return rows
    starts = np.concatenate(([0], np.flatnonzero(~same) + 1))
    merged = rows[starts]
    merged["length"] = np.add.reduceat(rows["length"], starts)
    return merged


def clip(rows: Rows, offset: int, length: int) -> Rows:
    """The rows of [offset, offset + length): a copy, with its first and last row cut to fit.

    rows: ascending and not overlapping. Rows may leave gaps.
    """
    end = offset + length
    ends = rows["offset"] + rows["length"]
    first = int(np.searchsorted(ends, np.uint64(offset), side="right"))
    last = int(np.searchsorted(rows["offset"], np.uint64(end), side="left"))
    out = rows[first : max(first, last)].copy()
    if not len(out):
        return out
    if out[0]["offset"] < offset:
        cut = offset - int(out[0]["offset"])
        kind = int(out[0]["kind"])
        out[0]["offset"] += cut
        out[0]["length"] -= cut
        if kind == Kind.DATA:
            out[0]["file_offset"] += cut
        elif kind == Kind.COMPRESSED:
            out[0]["skip"] += cut
    if out[-1]["offset"] + out[-1]["length"] > end:
        out[-1]["length"] = end - int(out[-1]["offset"])
    return out


def end_of(rows: Rows) -> int:
    """Where the last of the rows ends, in the virtual disk."""
    return int(rows[-1]["offset"]) + int(rows[-1]["length"])


def overlay(top: Rows, base: Rows) -> Rows:
    """The rows of `top` with its UNALLOCATED ranges as `base` has them, ZERO where it has none.

    Both: ascending and not overlapping. base may leave gaps and reach beyond top.
    """
    hidden = top["kind"] == Kind.UNALLOCATED
    if not hidden.any():
        return top
    gap_starts, gap_ends = _bounds(top[hidden])
    base_starts, base_ends = _bounds(base)
    cuts = np.unique(np.concatenate((gap_starts, gap_ends, base_starts, base_ends)))
    lows, highs = cuts[:-1], cuts[1:]
    gap = np.searchsorted(gap_starts, lows, side="right") - 1
    wanted = (gap >= 0) & (lows < gap_ends[np.maximum(gap, 0)])
    lows, highs = lows[wanted], highs[wanted]
    pieces = make_rows(lows, highs - lows, Kind.ZERO)
    if len(base):
        owner = np.searchsorted(base_starts, lows, side="right") - 1
        owned = (owner >= 0) & (lows < base_ends[np.maximum(owner, 0)])
        chosen = base[owner[owned]]
        cut = lows[owned] - chosen["offset"]
        chosen["offset"] = lows[owned]
        chosen["length"] = (highs - lows)[owned]
        chosen["file_offset"] += np.where(chosen["kind"] == Kind.DATA, cut, np.uint64(0))
        packed = chosen["kind"] == Kind.COMPRESSED
        chosen["skip"][packed] += cut[packed].astype(np.uint32)
        pieces[owned] = chosen
    return in_order([top[~hidden], pieces])


def _bounds(rows: Rows) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    starts: npt.NDArray[np.uint64] = rows["offset"].copy()
    return starts, starts + rows["length"]


def cut_at_file_end(rows: Rows, file: int, size: int) -> tuple[Rows, int]:
    """Rows whose DATA stops at `size` of source number `file`, the rest of it being ZERO.

    Returns (rows, bytes that became ZERO). A row wholly beyond the end becomes ZERO too: a format
    that calls this corrupt says so before.
    """
    crossing = (
        (rows["kind"] == Kind.DATA)
        & (rows["file"] == file)
        & (rows["file_offset"] + rows["length"] > size)
    )
    if not crossing.any():
        return rows, 0
    copies = rows.repeat(1 + crossing)
    # Each crossing row is there twice now: its part within the file, then its part beyond.
    inside = np.flatnonzero(crossing) + np.arange(int(crossing.sum()))
    starts = np.minimum(copies["file_offset"][inside], np.uint64(size))
    kept = np.minimum(np.uint64(size) - starts, copies["length"][inside])
    lost = copies["length"][inside] - kept
    beyond = inside + 1
    copies["length"][inside] = kept
    copies["offset"][beyond] += kept
    copies["length"][beyond] = lost
    copies["kind"][beyond] = Kind.ZERO
    copies["file"][beyond] = 0
    copies["file_offset"][beyond] = 0
    return copies[copies["length"] > 0], int(lost.sum(dtype=np.uint64))


@dataclass(frozen=True, slots=True)
class ExtentMap:
    """The window [offset, offset + length) of a virtual disk.

    rows: EXTENT array, read-only: sorted, contiguous, covering exactly the window, neighbours
    merged, each within its source.
    """

    offset: int
    length: int
    rows: Rows

    @property
    def end(self) -> int:
        return self.offset + self.length

    @classmethod
    def checked(
        cls, offset: int, length: int, rows: Rows, source_sizes: Sequence[int], max_rows: int
    ) -> ExtentMap:
        """The gate: a contiguous prefix of [offset, offset + length), or InternalError.

        A violation is a defect of the format that built the rows, whatever the image holds:
        formats refuse bad images with errors of their own.
        """
        if rows.dtype != EXTENT or rows.ndim != 1 or not len(rows):
            raise InternalError(f"a map needs EXTENT rows, got {rows.dtype} {rows.shape}")
        starts, lengths = rows["offset"], rows["length"]
        if int(starts[0]) != offset:
            raise InternalError(f"the map begins at {int(starts[0])}, asked for {offset}")
        if not lengths.all():
            raise InternalError("a row of the map is empty")
        if (lengths >> np.uint64(63)).any() or (starts >> np.uint64(63)).any():
            raise InternalError("a row of the map reaches 2^63")
        if (starts[1:] != starts[:-1] + lengths[:-1]).any():
            raise InternalError("the rows of the map are not contiguous")
        end = int(starts[-1]) + int(lengths[-1])
        if end > offset + length:
            raise InternalError(f"the map ends at {end}, beyond {offset + length}")
        kinds = rows["kind"]
        if (kinds > Kind.COMPRESSED).any():
            raise InternalError(f"kind {int(kinds.max())} is no kind")
        stored = rows[kinds >= Kind.DATA]
        if len(stored):
            if (stored["file"] >= len(source_sizes)).any():
                raise InternalError(f"a row names source {int(stored['file'].max())}")
            sizes = np.asarray(source_sizes, dtype=np.uint64)[stored["file"]]
            # A compressed unit may end past the end of its file: the read is short.
            need = np.where(stored["kind"] == Kind.DATA, stored["length"], np.uint64(1))
            if (stored["file_offset"] > sizes).any() or (
                need > sizes - stored["file_offset"]
            ).any():
                raise InternalError("a row of the map reaches beyond its source")
            packed = stored[stored["kind"] == Kind.COMPRESSED]
            if (packed["skip"] + packed["length"] > packed["decoded_length"]).any():
                raise InternalError("a compressed row reaches beyond its decoded unit")
            if (
                not packed["stored_length"].all()
                or (packed["stored_length"] > MAX_UNIT).any()
                or (packed["decoded_length"] > MAX_UNIT).any()
                or (packed["codec"] > max(Codec)).any()
                or not packed["codec"].all()
            ):
                raise InternalError("a compressed row has no size, too large a size, or no codec")
        rows = merge(rows)
        if len(rows) > max_rows:
            rows = rows[:max_rows]
            end = end_of(rows)
        if rows.flags.writeable:
            if rows.base is not None:
                rows = rows.copy()
            rows.flags.writeable = False
        return cls(offset, end - offset, rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Extent]:
        """Rows as Extent values, for people and tests; bulk work uses `rows`."""
        for row in self.rows:
            kind = Kind(int(row["kind"]))
            stored, packed = kind >= Kind.DATA, kind == Kind.COMPRESSED
            yield Extent(
                int(row["offset"]),
                int(row["length"]),
                kind,
                int(row["file"]) if stored else None,
                int(row["file_offset"]) if stored else None,
                int(row["stored_length"]) if packed else None,
                int(row["skip"]) if packed else None,
                Codec(int(row["codec"])) if packed else None,
            )

    def bytes_of(self, *kinds: Kind) -> int:
        """Virtual bytes of these kinds in the window."""
        chosen: Any = np.isin(self.rows["kind"], kinds)
        return int(self.rows["length"][chosen].sum(dtype=np.uint64))
