"""What checks of a fixed VHD's footer share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from ...formats.vhd.footer import Footer
from ..base import Check, Evidence, Finding, Reference
from ..subject import Subject

VHD_SPECIFICATION = Reference(
    "Virtual Hard Disk Image Format Specification 1.0",
    "https://www.microsoft.com/en-us/download/details.aspx?id=23850",
)
UPLOAD_GENERIC = Reference(
    "Prepare Linux for imaging in Azure: general requirements",
    "https://learn.microsoft.com/en-us/azure/virtual-machines/linux/create-upload-generic",
)
PREPARE_VHD = Reference(
    "Prepare a Windows VHD or VHDX to upload to Azure",
    "https://learn.microsoft.com/en-us/azure/virtual-machines/windows/prepare-for-upload-vhd-image",
)


class FooterCheck(Check):
    """A check of one field of the footer at the very end of a fixed VHD."""

    references: ClassVar[tuple[Reference, ...]] = (VHD_SPECIFICATION,)
    cured_by_convert = True
    order = 30

    @abstractmethod
    def look(self, subject: Subject, footer: Footer) -> Iterator[Finding]:
        """What the field says."""

    def run(self, subject: Subject) -> Iterator[Finding]:
        if not subject.is_fixed_vhd:
            yield self.skipped("this is no fixed VHD")
        elif subject.footer is None:
            yield self.skipped("there is no footer at the end of the file")
        else:
            yield from self.look(subject, subject.footer)

    def at(
        self, subject: Subject, offset: int, what: str, found: str, expected: str | None = None
    ) -> Evidence:
        """Evidence about the field at `offset` in the footer, bytes."""
        return Evidence(what, found, expected, offset=subject.tail_offset + offset)

    @staticmethod
    def repair(subject: Subject) -> str:
        return f"vhdfast repair {subject.quoted_path}"
