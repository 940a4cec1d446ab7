"""Partition tables: GPT with its backup, MBR with logical partitions.

    table = read_partitions(image.pread, image.virtual_size, image.sector_size)

The tables are believed where Linux believes them: a GPT stands behind an MBR that has an entry of
type 0xEE, whatever else that has.
"""

from __future__ import annotations

import dataclasses

from ..errors import UsageError
from .gpt import read_gpt, read_header
from .mbr import MBR_LENGTH, Mbr, read_mbr
from .table import GptHeader, Partition, PartitionTable, Pread, Problem, Problems

__all__ = ["GptHeader", "Partition", "PartitionTable", "Pread", "Problem", "read_partitions"]

SECTOR_SIZES = (512, 4096)


def read_partitions(pread: Pread, disk_size: int, sector_size: int = 512) -> PartitionTable | None:
    """The partition table of a disk of disk_size bytes; None where it has none.

    sector_size: that the disk presents, 512 or 4096 bytes. A GPT that was made for the other one is
    read all the same, with that `sector_size` and the problem "other-sector-size".

    Damage does not raise: it is among the table's `problems`. Raises what `pread` does, and
    UsageError for another sector size.
    """
    if sector_size not in SECTOR_SIZES:
        raise UsageError(f"no disk has sectors of {sector_size} bytes", hint="give 512 or 4096")
    if disk_size < MBR_LENGTH:
        return None
    mbr = Mbr.parse(pread(0, MBR_LENGTH))
    is_protective = mbr is not None and mbr.protective is not None
    sizes = sorted(SECTOR_SIZES, key=lambda size: size != sector_size)
    signed = (size for size in sizes if read_header(pread, size, size, disk_size) is not None)
    made_for = next(signed, None)
    if made_for is None and is_protective:
        ends = (
            size
            for size in sizes
            if read_header(pread, (disk_size // size - 1) * size, size, disk_size) is not None
        )
        made_for = next(ends, sector_size)
    if made_for is not None and (is_protective or mbr is None or not mbr.entries):
        table = read_gpt(pread, mbr, disk_size, made_for)
    elif mbr is None:
        return None
    else:
        table = read_mbr(pread, mbr, disk_size, sector_size)
    return _with_problems(table, sector_size, made_for)


def _with_problems(table: PartitionTable, sector_size: int, made_for: int | None) -> PartitionTable:
    """The table with what is wrong with it as a whole."""
    problems = Problems()
    if table.sector_size != sector_size:
        problems.add(
            "other-sector-size",
            f"the table was made for sectors of {table.sector_size} bytes: on this disk of "
            f"{sector_size}-byte sectors nothing finds it",
            table.sector_size,
        )
    elif table.scheme == "mbr" and made_for is not None:
        problems.add(
            "stale-gpt", "a GPT header lies behind an MBR that does not point to one", made_for
        )
    _judge_places(table, problems)
    return dataclasses.replace(table, problems=(*table.problems, *problems.as_tuple()))


def _judge_places(table: PartitionTable, problems: Problems) -> None:
    """Partitions outside the disk, and on top of each other."""
    before: Partition | None = None
    for partition in sorted(table.partitions, key=lambda one: (one.offset, one.number)):
        if partition.end > table.disk_size:
            problems.add(
                "outside-disk",
                f"partition {partition.number} ends at {partition.end}, the disk at "
                f"{table.disk_size}",
                partition.offset,
            )
        if partition.is_extended:  # logical ones lie in it
            continue
        if before is not None and partition.offset < before.end:
            problems.add(
                "overlap",
                f"partitions {before.number} and {partition.number} overlap",
                partition.offset,
            )
        if before is None or partition.end > before.end:
            before = partition
