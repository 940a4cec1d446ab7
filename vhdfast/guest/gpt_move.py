"""Moving the backup of a GPT to the end of a disk that grew.

UEFI 2.10 (5.3.2) wants the backup header in the last sector: a disk that was made larger has it in
the middle, firmware and tools complain, and what was gained cannot be partitioned. The writes come
as stages; whoever makes them makes each durable before the next one. At any moment one header with
its entries is whole and leads to all partitions.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..errors import PartitionTableError
from .gpt import HEADER, SIGNATURE, has_sane_array, read_header
from .mbr import MBR_LENGTH, PROTECTIVE, Mbr
from .table import GptHeader, PartitionTable, Pread

__all__ = ["Stage", "Write", "move_backup_gpt"]

_RESTORE = "restore the partition table first (gdisk: r, then b or d), with a copy of the disk"


class Write(NamedTuple):
    """Bytes to be put at an offset of the virtual disk; `what` is for people."""

    offset: int
    data: bytes
    what: str


Stage = tuple[Write, ...]
Range = tuple[int, int]  # from, to (bytes)


def move_backup_gpt(
    pread: Pread,
    table: PartitionTable,
    old_size: int,
    new_size: int,
    *,
    sector_size: int = 512,
) -> list[Stage]:
    """The writes after which the disk of new_size bytes has its GPT backup at its end.

    pread: reads the disk as it is; it may still have its old size.
    table: what `read_partitions` said of it. old_size: where the disk ended when its backup was
    written: the same at a second call after a crash, so that what is left there is found.
    sector_size: that the disk presents.

    A damaged primary is restored from the backup first. The old backup is erased where nothing else
    lies. What is on the disk already is not written again: where all of it is, the list is empty.
    After any part of the writes of a stage and all of those before it, the disk can be read again
    and the call repeated.

    Raises PartitionTableError where there is no GPT, neither header is intact, they contradict each
    other, a partition would not fit, or the table was made for other sectors; and what pread does.
    """
    return _Move(pread, table, old_size, new_size, sector_size).stages()


class _Move:
    """One call: what is there, and what shall be."""

    def __init__(
        self, pread: Pread, table: PartitionTable, old_size: int, new_size: int, sector_size: int
    ) -> None:
        self.pread, self.table, self.size = pread, table, sector_size
        self.old_size, self.new_size = old_size, new_size
        self.header = self._the_header()
        header = self.header
        self.sector = pread(header.offset, sector_size)
        self.array = pread(header.entries_offset, header.entries_length)
        if zlib.crc32(self.array) != header.entries_crc or self.sector[:8] != SIGNATURE:
            raise PartitionTableError(
                "the GPT changed since it was read", offset=header.offset, hint="try again"
            )
        self.array = self.array.ljust(header.entries_space, b"\0")
        self.space = len(self.array) // sector_size
        self.last = new_size // sector_size - 1
        self.entries = self.last - self.space
        primary = table.primary
        is_known = primary is not None and primary.header_matches
        self.primary_entries = primary.entries_lba if primary is not None and is_known else 2
        self.mbr = Mbr.parse(pread(0, MBR_LENGTH))
        self.partitions = self._partitions()
        self._check_room()

    def _the_header(self) -> GptHeader:
        table = self.table
        if table.scheme != "gpt":
            raise PartitionTableError("the disk has no GPT, so that there is no backup to move")
        if table.sector_size != self.size:
            raise PartitionTableError(
                f"the GPT was made for sectors of {table.sector_size} bytes, the disk has sectors "
                f"of {self.size}",
                offset=table.sector_size,
            )
        header = table.header
        if header is None:
            raise PartitionTableError(
                "neither GPT header is intact: nothing says where the partitions lie",
                offset=self.size,
                hint=_RESTORE,
            )
        other = table.backup
        if other is not None and other.is_intact and _content(other) != _content(header):
            raise PartitionTableError(
                "both copies of the GPT are intact and name different partitions",
                offset=other.offset,
                hint=_RESTORE,
            )
        return header

    def _partitions(self) -> list[tuple[str, Range]]:
        """What must not be written to: partitions, those of a hybrid MBR too."""
        found = [
            (f"partition {one.number}", (one.offset, one.end)) for one in self.table.partitions
        ]
        for entry in () if self.mbr is None else self.mbr.entries:
            if entry.type != PROTECTIVE:
                start = entry.start * self.size
                end = start + entry.count * self.size
                found.append((f"partition {entry.slot} of the hybrid MBR", (start, end)))
        return found

    def _check_room(self) -> None:
        header, size = self.header, self.size
        for name, (_, end) in self.partitions:
            if end > self.entries * size:
                raise PartitionTableError(
                    f"{name} ends at {end}; a disk of {self.new_size} bytes has room for "
                    f"partitions up to {max(0, self.entries * size)}",
                    hint="give the disk a larger size",
                )
        if self.entries <= header.first_usable_lba:
            raise PartitionTableError(
                f"a disk of {self.new_size} bytes has no room for a GPT",
                hint="give the disk a larger size",
            )
        low, high = self.primary_entries, self.primary_entries + self.space
        is_primary = header is self.table.primary
        if high > self.entries or not (is_primary or 2 <= low < high <= header.first_usable_lba):
            raise PartitionTableError(
                f"the primary GPT entries would lie in sectors {low} to {high - 1}, where they "
                "cannot be",
                offset=header.offset if is_primary else size,
                hint=_RESTORE,
            )
        for name, (start, end) in () if is_primary else self.partitions:
            # What damaged the primary may be that partition's own data.
            if start < high * size and size < end:
                raise PartitionTableError(
                    f"{name} begins at {start}, where the primary GPT would be restored",
                    offset=start,
                    hint=_RESTORE,
                )

    # ---- the stages -----------------------------------------------------------------------------

    def stages(self) -> list[Stage]:
        size = self.size
        stages: list[list[Write]] = []
        if self.header is not self.table.primary:
            # The old backup may lie where the new one goes: until the primary is whole it is all
            # that there is.
            restored = self._made(1, self.header.my_lba, self.primary_entries, None)
            stages.append(
                [
                    Write(self.primary_entries * size, self.array, "primary GPT entries, restored"),
                    Write(size, restored, "primary GPT header, restored"),
                ]
            )
        usable = self.entries - 1
        backup = self._made(self.last, 1, self.entries, usable)
        primary = self._made(1, self.last, self.primary_entries, usable)
        stages.append(
            [
                Write(self.entries * size, self.array, "backup GPT entries"),
                Write(self.last * size, backup, "backup GPT header"),
            ]
        )
        stages.append([Write(size, primary, "primary GPT header"), *self._protective_mbr()])
        stages.append(list(self._erased()))
        kept = (tuple(write for write in stage if self._is_news(write)) for stage in stages)
        return [stage for stage in kept if stage]

    def _made(self, my: int, alternate: int, entries: int, last_usable: int | None) -> bytes:
        """The header that counts, in another place; what the fields behind it say stays."""
        fields = list(HEADER.unpack_from(self.sector))
        fields[3] = 0
        fields[5:7] = my, alternate
        if last_usable is not None:
            fields[8] = last_usable
        fields[10] = entries
        length = self.header.header_size
        blank = HEADER.pack(*fields) + self.sector[HEADER.size :]
        crc = struct.pack("<I", zlib.crc32(blank[:length]))
        return blank[:16] + crc + blank[20:]

    def _protective_mbr(self) -> Iterator[Write]:
        """The size in a protective MBR; a hybrid one has its own idea of what it protects."""
        if self.mbr is None or len(self.mbr.entries) != 1 or self.mbr.protective is None:
            return
        entry = self.mbr.protective
        count = min(self.last, 0xFFFFFFFF)
        if entry.start != 1 or entry.count in (count, 0xFFFFFFFF):
            return
        at = 446 + 16 * (entry.slot - 1)
        sector = bytearray(self.pread(0, MBR_LENGTH))
        sector[at + 5 : at + 8] = b"\xff\xff\xff"  # beyond what cylinders can say
        sector[at + 12 : at + 16] = struct.pack("<I", count)
        yield Write(0, bytes(sector), "protective MBR")

    def _erased(self) -> Iterator[Write]:
        """Zeros over old backups: entries before headers, by which they are found again."""
        size, guid = self.size, self.header.disk_guid
        limit = max(self.old_size, self.new_size, self.table.disk_size)
        for lba in dict.fromkeys(self._old_places()):
            old = read_header(self.pread, lba * size, size, limit)
            is_ours = old is not None and old.disk_guid == guid
            if (
                old is not None and is_ours and old.header_matches and old.my_lba == lba
                and has_sane_array(old.entry_count, old.entry_size)
                and old.entries_offset < old.offset
            ):  # fmt: skip
                start = old.entries_offset
                for low, high in self._free(start, min(start + old.entries_space, old.offset)):
                    yield Write(low, bytes(high - low), "old backup GPT entries, erased")
            else:
                # Their header is gone, a crash or the new backup was faster: they are known by what
                # they say.
                start = (lba - self.space) * size
                for low, high in self._free(start, lba * size):
                    if self.pread(low, high - low) == self.array[low - start : high - start]:
                        yield Write(low, bytes(high - low), "old backup GPT entries, erased")
            if is_ours:
                for low, high in self._free(lba * size, (lba + 1) * size):
                    yield Write(low, bytes(high - low), "old backup GPT header, erased")

    def _old_places(self) -> Iterator[int]:
        """Sectors in which a backup header may have been before, the new one left out."""
        header = self.header
        places = [self.old_size // self.size - 1]
        is_primary = header is self.table.primary
        places.append(header.alternate_lba if is_primary else header.my_lba)
        if self.table.backup is not None:
            places.append(self.table.backup.offset // self.size)
        if self.mbr is not None and self.mbr.protective is not None:
            places.append(self.mbr.protective.count)
        for lba in places:
            if header.first_usable_lba + self.space <= lba < self.last:
                yield lba

    def _free(self, low: int, high: int) -> Iterator[Range]:
        """The parts of [low, high) in which nothing lies that is still needed."""
        primary_end = (self.primary_entries + self.space) * self.size
        used = [(0, max(self.header.first_usable_lba * self.size, primary_end))]
        used.append((self.entries * self.size, (self.last + 1) * self.size))
        used.extend(where for _, where in self.partitions)
        return _without(low, min(high, self.new_size), used)

    def _is_news(self, write: Write) -> bool:
        return self.pread(write.offset, len(write.data)) != write.data


def _content(header: GptHeader) -> tuple[object, ...]:
    return header.disk_guid, header.entry_count, header.entry_size, header.entries_crc


def _without(low: int, high: int, used: Iterable[Range]) -> Iterator[Range]:
    """[low, high) without the used ranges, which may overlap."""
    for start, end in sorted(used):
        if low < start < high:
            yield low, start
        if start < high:
            low = max(low, end)
    if low < high:
        yield low, high
