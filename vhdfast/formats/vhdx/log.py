"""The log: changes that its writer had no time to bring to their places. All little-endian.

Source: [MS-VHDX] 2.3 "Log". A log that is not empty is replayed into memory: the file is never
written, readers see it through `PatchedSource`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import CUT_SHORT, CorruptImageError, InvalidImageError, UnsupportedImageError
from ...files import MemorySource, Source
from ...units import KIB, MIB, round_up
from .headers import Header, check_place, sum_of

__all__ = ["PatchedSource", "read_log"]

SECTOR = 4 * KIB
# Hyper-V and qemu write logs of 1 MiB. The limits bound memory and time on hostile ones.
MAX_LOG = 32 * MIB
MAX_DESCRIPTORS = 16384
# Bytes that the search for the active sequence may check, as a multiple of the log.
SEARCH_FACTOR = 8

# What looking at one place of the log costs, in bytes of that budget: Python is slow.
STEP_COST = 256

_ENTRY = struct.Struct("<4sIIIQII16sQQ")
assert _ENTRY.size == 64
# 2.3.1.2 and 2.3.1.3. Of a zero descriptor, `leading` is the length and `trailing` is reserved.
_DESCRIPTOR = np.dtype(
    [
        ("signature", "S4"),
        ("trailing", "V4"),
        ("leading", "<u8"),
        ("offset", "<u8"),
        ("sequence", "<u8"),
    ]
)
assert _DESCRIPTOR.itemsize == 32
# 2.3.1.4
_DATA_SECTOR = np.dtype([("signature", "S4"), ("high", "<u4"), ("middle", "V4084"), ("low", "<u4")])
assert _DATA_SECTOR.itemsize == SECTOR

_Table = npt.NDArray[np.void]

ZERO_OWNER = -2
NO_OWNER = -1


@dataclass(frozen=True, slots=True)
class _Entry:
    """A valid log entry; start, length and tail are bytes within the log."""

    start: int
    length: int
    tail: int
    sequence: int
    descriptors: int
    flushed_offset: int
    last_offset: int


@dataclass(frozen=True, slots=True)
class _Patch:
    """Bytes [offset, offset + length) of the file: a sector of 4096 bytes, or zeros (None)."""

    offset: int
    length: int
    sector: bytes | None


class PatchedSource(Source):
    """A source as it is after its log was replayed; bytes beyond its end read as zeros.

    size: bytes that the newest log entry promises; patches beyond it lengthen the view too.
    bounds, owners: interval i is [bounds[i], bounds[i + 1]) and comes from sector owners[i] of
    `memory_source`, from nowhere (ZERO_OWNER: zeros) or from the file (NO_OWNER).
    """

    def __init__(self, base: Source, patches: list[_Patch], size: int) -> None:
        self.base = base
        self.path = base.path
        self.size = max(size, base.size, *(patch.offset + patch.length for patch in patches))
        ends = [(patch.offset, patch.offset + patch.length) for patch in patches]
        self.bounds: npt.NDArray[np.uint64] = np.unique(
            np.asarray([at for pair in ends for at in pair], dtype=np.uint64)
        )
        self.owners: npt.NDArray[np.int64] = np.full(
            max(0, len(self.bounds) - 1), NO_OWNER, np.int64
        )
        self.starts = np.zeros(len(self.owners), np.uint64)  # of the interval within its sector
        sectors: list[bytes] = []
        for patch in patches:  # in order: the later one wins
            first = int(np.searchsorted(self.bounds, np.uint64(patch.offset)))
            last = int(np.searchsorted(self.bounds, np.uint64(patch.offset + patch.length)))
            if patch.sector is None:
                self.owners[first:last] = ZERO_OWNER
            else:
                self.owners[first:last] = len(sectors)
                self.starts[first:last] = self.bounds[first:last] - np.uint64(patch.offset)
                sectors.append(patch.sector)
        self.memory_source = MemorySource(b"".join(sectors), base.path)

    def fileno(self) -> int | None:
        return self.base.fileno()

    @property
    def can_be_read_natively(self) -> bool:
        return False

    def overlapping(self, offset: int, length: int) -> range:
        """Indices of the intervals that touch [offset, offset + length)."""
        if not len(self.owners):
            return range(0)
        first = int(np.searchsorted(self.bounds, np.uint64(offset), side="right")) - 1
        last = int(np.searchsorted(self.bounds, np.uint64(offset + length), side="left"))
        return range(max(first, 0), min(last, len(self.owners)))

    def read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        data = bytearray(self.base.read(offset, length).ljust(length, b"\0"))
        for index in self.overlapping(offset, length):
            owner = int(self.owners[index])
            if owner == NO_OWNER:
                continue
            start, end = int(self.bounds[index]), int(self.bounds[index + 1])
            low, high = max(start, offset), min(end, offset + length)
            if low >= high:
                continue
            if owner == ZERO_OWNER:
                data[low - offset : high - offset] = bytes(high - low)
            else:
                at = owner * SECTOR + int(self.starts[index]) + (low - start)
                data[low - offset : high - offset] = self.memory_source.read(at, high - low)
        return bytes(data)

    def close(self) -> None:
        self.base.close()


def read_log(source: Source, header: Header) -> PatchedSource | None:
    """The source with its log replayed, None where the log is empty.

    Raises CorruptImageError where the log is not empty and holds no valid sequence, or was written
    to a longer file than this one.
    """
    if not header.has_log:
        return None
    if header.log_version != 0:
        raise UnsupportedImageError(
            f"log version {header.log_version}, expected 0",
            path=source.path,
            offset=header.offset + 64,
        )
    check_place(source, header.log_region, header.offset + 68)
    if header.log_length > MAX_LOG:
        raise UnsupportedImageError(
            f"a log of {header.log_length} bytes to replay, at most {MAX_LOG} are",
            path=source.path,
            offset=header.offset + 68,
            hint="attach the disk to Hyper-V once, or run: qemu-img check -r all IMAGE",
        )
    return _Log(source, header).replay()


class _Log:
    """The log's bytes, a circle of 4 KiB sectors."""

    def __init__(self, source: Source, header: Header) -> None:
        self.source = source
        self.header = header
        self.data = source.read_exact(header.log_offset, header.log_length, "log")
        self.budget = SEARCH_FACTOR * len(self.data)
        self._entries: dict[int, _Entry | None] = {}

    def _slice(self, start: int, length: int) -> bytes:
        start %= len(self.data)
        part = self.data[start : start + length]
        return part + self.data[: length - len(part)]

    def _spend(self, amount: int) -> None:
        self.budget -= amount
        if self.budget < 0:
            raise CorruptImageError(
                "the log holds entries that overlap over and over: no writer leaves it so",
                path=self.source.path,
                offset=self.header.log_offset,
            )

    def entry_at(self, start: int) -> _Entry | None:
        """The valid entry that begins at `start`, or None."""
        self._spend(STEP_COST)
        if start not in self._entries:
            self._entries[start] = self._parse(start)
        return self._entries[start]

    def _parse(self, start: int) -> _Entry | None:
        (
            signature, stored, length, tail, sequence, descriptors, _, log_id, flushed, last,
        ) = _ENTRY.unpack_from(self.data, start)  # fmt: skip
        size = len(self.data)
        if (
            signature != b"loge"
            or not SECTOR <= length <= size
            or length % SECTOR
            or tail % SECTOR
            or tail >= size
            or sequence == 0
            or log_id != self.header.log_id.bytes_le
        ):
            return None
        self._spend(length)
        data = self._slice(start, length)
        if sum_of(data) != stored:
            return None
        if _ENTRY.size + descriptors * _DESCRIPTOR.itemsize > length:
            return None
        entry = _Entry(start, length, tail, sequence, descriptors, flushed, last)
        return entry if self._sectors_fit(entry, data) else None

    def _sectors_fit(self, entry: _Entry, data: bytes) -> bool:
        """Every descriptor is of this entry and every data sector of its descriptor's."""
        table, sectors = _parts(entry, data)
        stored, zero = table["signature"] == b"desc", table["signature"] == b"zero"
        if not (stored | zero).all() or (table["sequence"] != entry.sequence).any():
            return False
        if (table["offset"] % SECTOR).any() or (table["leading"][zero] % SECTOR).any():
            return False
        used = sectors[: int(stored.sum())]
        if len(used) < int(stored.sum()):
            return False
        return bool(
            (used["signature"] == b"data").all()
            and (used["high"] == entry.sequence >> 32).all()
            and (used["low"] == entry.sequence & 0xFFFFFFFF).all()
        )

    def _run_from(self, start: int) -> list[_Entry]:
        """Valid entries from `start` on, each numbered one above the other, at most once round."""
        run: list[_Entry] = []
        size = len(self.data)
        covered = 0
        while covered < size:
            entry = self.entry_at((start + covered) % size)
            if entry is None or (run and entry.sequence != run[-1].sequence + 1):
                break
            if covered + entry.length > size:
                break
            run.append(entry)
            covered += entry.length
        return run

    def active_sequence(self) -> list[_Entry]:
        """The newest run of entries, each following the other, that contains its own tail.

        Source: [MS-VHDX] 2.3.3 "Log Replay".
        """
        best: list[_Entry] = []
        # Entries of a run whose newest entry points outside it: a run from any of them ends in
        # that same entry, so none is worth following again.
        dead: set[int] = set()
        tail = 0
        while tail < len(self.data):
            run = self._run_from(tail) if tail not in dead else []
            starts = [entry.start for entry in run]
            if not run or run[-1].tail not in starts:
                dead.update(starts)
                tail += SECTOR
                continue
            if not best or run[-1].sequence > best[-1].sequence:
                best = run[starts.index(run[-1].tail) :]
            tail += sum(entry.length for entry in run)
        return best

    def replay(self) -> PatchedSource:
        run = self.active_sequence()
        where = self.header.log_offset
        if not run:
            raise CorruptImageError(
                "the image was not closed, and its log holds no valid sequence to replay",
                path=self.source.path,
                offset=where,
                hint="the image is damaged: copy it again, or attach it to Hyper-V once",
            )
        # Of the newest entry only: a file that shrank meanwhile was longer at the older ones.
        newest = run[-1]
        if newest.flushed_offset > self.source.size:
            raise CorruptImageError(
                f"the log was written to a file of {newest.flushed_offset} bytes, this one has "
                f"{self.source.size}",
                path=self.source.path,
                offset=where + newest.start,
                hint=CUT_SHORT,
            )
        changes = sum(entry.descriptors for entry in run)
        if changes > MAX_DESCRIPTORS:
            raise UnsupportedImageError(
                f"the log holds {changes} changes, at most {MAX_DESCRIPTORS} are replayed",
                path=self.source.path,
                offset=where,
                hint="attach the disk to Hyper-V once, or run: qemu-img check -r all IMAGE",
            )
        patches = [patch for entry in run for patch in self._patches(entry)]
        return PatchedSource(self.source, patches, self._checked_size(newest))

    def _checked_size(self, newest: _Entry) -> int:
        if newest.last_offset >> 62:
            raise InvalidImageError(
                f"the log says that the file has {newest.last_offset} bytes, expected less than "
                f"{1 << 62}",
                path=self.source.path,
                offset=self.header.log_offset + newest.start + 56,
            )
        return newest.last_offset

    def _patches(self, entry: _Entry) -> list[_Patch]:
        table, sectors = _parts(entry, self._slice(entry.start, entry.length))
        found: list[_Patch] = []
        used = 0
        for index, change in enumerate(table):
            is_zero = change["signature"] == b"zero"
            offset = int(change["offset"])
            length = int(change["leading"]) if is_zero else SECTOR
            if offset + length >> 62:
                place = entry.start + _ENTRY.size + index * _DESCRIPTOR.itemsize
                raise InvalidImageError(
                    f"a change of the log reaches {offset + length:#x}, expected less than "
                    f"{1 << 62:#x}",
                    path=self.source.path,
                    offset=self.header.log_offset + place % len(self.data),
                )
            if not is_zero:
                sector = (
                    change["leading"].tobytes()
                    + sectors["middle"][used].tobytes()
                    + change["trailing"].tobytes()
                )
                found.append(_Patch(offset, SECTOR, sector))
                used += 1
            elif length:
                found.append(_Patch(offset, length, None))
        return found


def _parts(entry: _Entry, data: bytes) -> tuple[_Table, _Table]:
    """An entry's descriptors, and the sectors behind them (_DATA_SECTOR); arrays over `data`."""
    table = np.frombuffer(data, _DESCRIPTOR, entry.descriptors, _ENTRY.size)
    behind = round_up(_ENTRY.size + table.nbytes, SECTOR)
    return table, np.frombuffer(data[behind:], _DATA_SECTOR)
