"""partitions-fit"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ...guest.partitions import PartitionTable
from ...units import format_bytes
from ..base import Finding, Severity
from ..subject import Subject
from ._partitions import PartitionCheck

SHOWN = 8


class PartitionsFit(PartitionCheck):
    id = "partitions-fit"
    title = "every partition ends within the disk"
    severity = Severity.ERROR
    what = "The end of each partition, and the size of the disk."
    why = (
        "Where a partition ends behind the disk, its end is lost: the file was cut short, or a "
        "tool went by the geometry of a VHD, which spans less than the disk. File systems refuse "
        "to mount, or lose what lay there."
    )
    fix = (
        "Export or copy the disk again, and compare sizes. A VHD of which a tool read less than "
        "there is has all of it still: `vhdfast convert` goes by the current size."
    )
    order = 81

    def look(self, subject: Subject, table: PartitionTable) -> Iterator[Finding]:
        outside = [one for one in table.partitions if one.end > table.disk_size]
        for one in outside[:SHOWN]:
            finding = self.failed(
                f"partition {one.number} ends {format_bytes(one.end - table.disk_size)} behind the "
                "end of the disk",
                self.at(
                    subject, f"end of partition {one.number}, which begins", str(one.end),
                    f"at most {table.disk_size}", one.offset,
                ),
                remedy="export or copy the disk again",
            )  # fmt: skip
            if one.is_extended:  # it holds no data of its own, and systems cut it
                finding = dataclasses.replace(finding, severity=Severity.WARNING)
            yield finding
        if len(outside) > SHOWN:
            yield self.failed(f"{len(outside) - SHOWN} partitions more end behind the disk")
        if not outside:
            count = len(table.partitions)
            yield self.passed(f"{count} partition{'' if count == 1 else 's'} end within the disk")
