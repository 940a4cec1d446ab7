"""sector-size"""

from __future__ import annotations

from collections.abc import Iterator

from ... import contents
from ...units import SECTOR
from ..base import Check, Evidence, Finding, Reference, Severity
from ..subject import Subject


class SectorSize(Check):
    id = "sector-size"
    title = "the disk was made for 512-byte sectors"
    severity = Severity.ERROR
    what = "The logical sector size of the image, and the one its partition table was made for."
    why = (
        "Azure presents disks with 512-byte logical sectors. A partition table counts sectors: one "
        "made for 4096-byte sectors leads to wrong places, and no partition is found."
    )
    fix = "Move the system to a disk with 512-byte sectors, and export that."
    references = (
        Reference(
            "Virtual Hard Disk Image Format Specification 1.0",
            "https://www.microsoft.com/en-us/download/details.aspx?id=23850",
        ),
    )
    order = 70

    def run(self, subject: Subject) -> Iterator[Finding]:
        image = subject.image
        if image is None:
            yield self.unknown("the disk cannot be read")
            return
        evidence = Evidence("logical sector size", str(image.sector_size), str(SECTOR))
        four_k = 4096
        if image.sector_size == SECTOR:
            # A GPT made for 4096-byte sectors has its header there, and none at 512.
            table = image.pread(SECTOR, 8) != b"EFI PART" and image.pread(four_k, 8) == b"EFI PART"
            if not table:
                yield self.passed("the disk has 512-byte sectors", evidence)
                return
            evidence = Evidence("GPT header", "at sector 1 of 4096 bytes", "at byte 512")
        elif contents.partition_table(image.pread, image.sector_size) is None:
            yield self.passed(
                f"the image has {image.sector_size}-byte sectors, and no partition table that "
                "depends on it", evidence,
            )  # fmt: skip
            return
        yield self.failed(
            "the partition table was made for 4096-byte sectors, and Azure presents 512",
            evidence, remedy="move the system to a disk with 512-byte sectors",
        )  # fmt: skip
