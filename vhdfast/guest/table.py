"""What a partition table says, whatever its scheme: plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..units import round_up
from .types import type_name

__all__ = ["GptHeader", "Partition", "PartitionTable", "Pread", "Problem", "Problems"]

Pread = Callable[[int, int], bytes]  # (offset, length) -> bytes, short at the end of the disk alone

# A hostile table may be wrong in more places than anyone reads.
MAX_PROBLEMS = 64

EXTENDED_TYPES = ("0x05", "0x0f", "0x85")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a table, in one sentence.

    code: a stable word (docs/internals/partitions.md). offset: in the disk, bytes.
    """

    code: str
    message: str
    offset: int | None = None


class Problems:
    """Collects problems, up to a bound."""

    def __init__(self) -> None:
        self._found: list[Problem] = []
        self._left_out = 0

    def add(self, code: str, message: str, offset: int | None = None) -> None:
        if len(self._found) < MAX_PROBLEMS:
            self._found.append(Problem(code, message, offset))
        else:
            self._left_out += 1

    def as_tuple(self) -> tuple[Problem, ...]:
        if not self._left_out:
            return tuple(self._found)
        return (*self._found, Problem("more-problems", f"{self._left_out} problems more"))


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition, as the table has it: it may lie outside the disk (then there is a Problem).

    number: as in Linux' names (sda1): GPT counts entries, MBR has 1 to 4 and logical ones from 5.
    offset, length: bytes.
    type: the type GUID in lower case, of an MBR "0x83".
    name: GPT; as it is in the table, printable or not.
    unique_id: the PARTUUID of Linux, also of an MBR: "1a2b3c4d-05".
    attributes: GPT: the 64 bits; MBR: the status byte.
    bootable: GPT: attribute 2, for BIOS boot; MBR: status 0x80.
    """

    number: int
    offset: int
    length: int
    type: str
    name: str
    unique_id: str
    attributes: int
    bootable: bool

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.length

    @property
    def type_name(self) -> str | None:
        """The type for people ("EFI system", "Linux LVM"); None where it is not known here."""
        return type_name(self.type)

    @property
    def is_extended(self) -> bool:
        """An MBR's extended partition, which holds logical ones and no data of its own."""
        return self.type in EXTENDED_TYPES


@dataclass(frozen=True, slots=True)
class GptHeader:
    """A GPT header as it is on the disk (UEFI 2.10, 5.3.2), and what was found about it.

    offset: where it was found, bytes. sector_size: bytes of an LBA.
    header_matches, entries_match: the CRC-32 of the header, of the array of entries.
    """

    offset: int
    sector_size: int
    revision: int
    header_size: int
    header_crc: int
    my_lba: int
    alternate_lba: int
    first_usable_lba: int
    last_usable_lba: int
    disk_guid: str
    entries_lba: int
    entry_count: int
    entry_size: int
    entries_crc: int
    header_matches: bool
    entries_match: bool

    @property
    def is_intact(self) -> bool:
        """Both checksums match, and the header says that it lies where it was found."""
        return (
            self.header_matches
            and self.entries_match
            and self.my_lba * self.sector_size == self.offset
        )

    @property
    def entries_offset(self) -> int:
        """Where the array of entries begins, bytes."""
        return self.entries_lba * self.sector_size

    @property
    def entries_length(self) -> int:
        """Bytes that the checksum of the array covers."""
        return self.entry_count * self.entry_size

    @property
    def entries_space(self) -> int:
        """Bytes of the sectors that the array takes."""
        return round_up(self.entries_length, self.sector_size)


@dataclass(frozen=True, slots=True)
class PartitionTable:
    """The partitions of a disk.

    scheme: "gpt" or "mbr". sector_size: bytes of a sector for which the table was made.
    disk_id: the GUID of the disk; of an MBR its signature, eight hexadecimal digits; "" where no
    header could be read.
    partitions: in the order of their numbers; an MBR's extended ones among them (`is_extended`).
    primary, backup: GPT headers that were found, intact or not.
    problems: all that is wrong, in the order in which it was found.
    """

    scheme: str
    sector_size: int
    disk_size: int
    disk_id: str
    partitions: tuple[Partition, ...]
    primary: GptHeader | None = None
    backup: GptHeader | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def end(self) -> int:
        """Where the last partition ends, bytes; 0 without partitions."""
        return max((partition.end for partition in self.partitions), default=0)

    @property
    def header(self) -> GptHeader | None:
        """The GPT header that counts: the primary where it is intact, else an intact backup."""
        for header in (self.primary, self.backup):
            if header is not None and header.is_intact:
                return header
        return None

    @property
    def backup_is_at_end(self) -> bool:
        """Whether the GPT backup header that was found lies in the last sector of the disk."""
        last = self.disk_size // self.sector_size - 1
        return self.backup is not None and self.backup.offset == last * self.sector_size
