"""The end of a disk: proof that it is unused before it is cut off, and that undo may cut it.

Of disks that lie flat in their file: raw ones and fixed VHDs. Nothing is written here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from . import contents
from .edits import Record, nonzero
from .errors import ReadError, UnprovenError
from .files import SourceFile, pread_all
from .formats.vhd.footer import FOOTER_LENGTH, OLD_FOOTER_LENGTH, DiskType, Footer
from .guest.partitions import GptHeader, Pread, read_partitions
from .units import SECTOR, format_bytes

__all__ = ["check_cut", "check_undone", "first_outside", "flat_disk", "gpt_ranges"]


def check_cut(source: SourceFile, old: int, new: int, relocates_gpt: bool) -> None:
    """Prove that the end of a disk, [new, old), is unused: no partition, nothing but zeros.

    What is no disk of partitions, a file system on all of it, keeps its size.

    relocates_gpt: the backup of a GPT may lie there, for it is moved before. Raises UnprovenError.
    """
    pread = flat_disk(source, old)
    table = read_partitions(pread, old)
    backup: list[tuple[int, int]] = []
    if table is None:
        _check_empty(source, pread, 0, new)
    else:
        # A boot loader of a file system on the whole disk may look like a table of nothing.
        if table.scheme == "mbr" and not table.partitions:
            _check_empty(source, pread, SECTOR, new)
        for sign, name in contents.file_systems(pread):
            if not any(one.offset <= sign < one.end for one in table.partitions):
                raise _unproven(
                    source,
                    f"a signature of {name} lies outside of all partitions, and nothing tells "
                    "where its data ends",
                    sign,
                )
        if table.scheme == "gpt" and table.header is None:
            raise _unproven(source, "the GPT is damaged, so that nothing tells where it ends", new)
        for partition in table.partitions:
            if partition.end > new:
                raise _unproven(
                    source,
                    f"partition {partition.number} ends at {partition.end}, behind the "
                    f"{format_bytes(new)} that would be left",
                    partition.offset,
                )
        if table.backup is not None:
            backup = gpt_ranges(table.backup)
    spared = backup if relocates_gpt else []
    for offset, data in _data(source, new, old):
        at = first_outside(offset, data, spared)
        if at is None:
            continue
        if any(start <= at < end for start, end in backup):
            raise _unproven(source, "the backup of the GPT lies there; --relocate-gpt moves it", at)
        raise _unproven(source, "it is not empty", at)


def check_undone(path: str, fd: int, record: Record) -> None:
    """Prove of a file that a change made larger that its disk does not need the end.

    The guest may have enlarged a partition or its file system without writing behind that size.
    Raises UnprovenError; of dynamic disks nothing is asked, whose end is a footer alone.
    """
    disk_size, size = os.fstat(fd).st_size, record.old_size
    footer = Footer.parse(pread_all(fd, disk_size - FOOTER_LENGTH, FOOTER_LENGTH))
    if footer is not None:
        if footer.disk_type != DiskType.FIXED:
            return
        disk_size -= FOOTER_LENGTH
    if _had_footer(record):
        size -= FOOTER_LENGTH

    def pread(offset: int, length: int) -> bytes:
        return pread_all(fd, offset, max(0, min(length, disk_size - offset)))

    table = read_partitions(pread, disk_size)
    ends = [(one.end, f"partition {one.number}") for one in table.partitions] if table else []
    ends.append((contents.file_system_size(pread) or 0, "the file system"))
    end, what = max(ends)
    if end > size:
        raise UnprovenError(
            f"{what} ends at {end}, behind the {format_bytes(size)} that the disk would have "
            "again: it was enlarged since",
            path=path,
            hint="shrink it in the guest first",
        )


def _had_footer(record: Record) -> bool:
    """Whether the file ended with the footer of a VHD before a change that gave it another end."""
    starts = [record.old_size - length for length in (FOOTER_LENGTH, OLD_FOOTER_LENGTH)]
    return any(
        offset <= start and Footer.parse(data[start - offset :]) is not None
        for start in starts
        for offset, data in record.old
    )


def _check_empty(source: SourceFile, pread: Pread, start: int, end: int) -> None:
    holds = contents.describe(pread)
    for offset, _ in _data(source, start, end):
        raise _unproven(
            source,
            f"the disk has no partitions ({holds or 'unknown data'}), so that nothing tells where "
            "its data ends",
            offset,
        )


def _unproven(source: SourceFile, why: str, offset: int) -> UnprovenError:
    return UnprovenError(
        f"the end of the disk cannot be cut off: {why}",
        path=source.path,
        offset=offset,
        hint="shrink the partitions in the guest first, or leave out --shrink",
    )


def _data(source: SourceFile, start: int, end: int) -> Iterable[tuple[int, bytes]]:
    try:
        yield from nonzero(source.fileno(), start, end)
    except OSError as error:
        raise ReadError(f"reading failed: {error.strerror}", path=source.path) from error


def gpt_ranges(header: GptHeader) -> list[tuple[int, int]]:
    """Where a header lies, and its entries where it is intact: a damaged one may lead to data."""
    places = [(header.offset, header.offset + header.sector_size)]
    if header.is_intact:
        places.append((header.entries_offset, header.entries_offset + header.entries_space))
    return places


def first_outside(offset: int, data: bytes, spared: list[tuple[int, int]]) -> int | None:
    """Where the first byte that is not zero lies, but for spared ranges."""
    left = bytearray(data)
    for start, end in spared:
        low, high = max(start, offset), min(end, offset + len(data))
        if low < high:
            left[low - offset : high - offset] = bytes(high - low)
    rest = bytes(left).lstrip(b"\0")
    return offset + len(data) - len(rest) if rest else None


def flat_disk(source: SourceFile, size: int) -> Pread:
    """Reads a flat disk that is the first bytes of a file."""
    return lambda offset, length: source.read(offset, max(0, min(length, size - offset)))
