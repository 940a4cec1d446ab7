"""What checks of the disk's partition table share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from ...guest.partitions import PartitionTable
from ..base import Check, Evidence, Finding, Reference
from ..subject import Subject

UEFI = Reference(
    "UEFI Specification 2.10, 5: GUID Partition Table (GPT) Disk Layout",
    "https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html",
)


class PartitionCheck(Check):
    """A check of the partition table of a disk that has one."""

    references: ClassVar[tuple[Reference, ...]] = (UEFI,)

    @abstractmethod
    def look(self, subject: Subject, table: PartitionTable) -> Iterator[Finding]:
        """What the table says."""

    def run(self, subject: Subject) -> Iterator[Finding]:
        if subject.image is None:
            yield self.unknown("the disk cannot be read")
        elif (table := subject.partitions) is None:
            yield self.skipped("the disk has no partition table")
        else:
            yield from self.look(subject, table)

    @staticmethod
    def at(
        subject: Subject, what: str, found: str, expected: str | None, offset: int | None
    ) -> Evidence:
        """Evidence about what lies at `offset` of the disk, bytes."""
        if offset is None:
            return Evidence(what, found, expected)
        return Evidence(
            f"{what}, at byte {offset} of the disk", found, expected,
            offset=subject.place_of(offset),
        )  # fmt: skip
