"""size-limits"""

from __future__ import annotations

from collections.abc import Iterator

from ...units import GIB, MIB, format_bytes, round_up
from ..base import Check, Evidence, Finding, Reference, Severity
from ..subject import Subject

SMALLEST = 20 * MIB
LARGEST = 32767 * GIB


class SizeLimits(Check):
    id = "size-limits"
    title = "the disk is neither too small nor too large for a managed disk"
    severity = Severity.ERROR
    what = "The virtual size against what a managed disk may have: 20 MiB to 32767 GiB."
    why = (
        "A direct upload takes 20972032 to 35183298347520 bytes, with the footer; another size is "
        "refused when the disk is created."
    )
    fix = (
        "`vhdfast convert --size=20M` makes a small disk large enough. A disk that is too large "
        "has to be shrunk, or split over several disks, in the guest."
    )
    references = (
        Reference(
            "Disks - Create Or Update: uploadSizeBytes",
            "https://learn.microsoft.com/en-us/rest/api/compute/disks/create-or-update",
        ),
    )
    order = 60

    def run(self, subject: Subject) -> Iterator[Finding]:
        size = subject.virtual_size
        if size is None:
            yield self.unknown("the virtual size cannot be told")
            return
        size = size if subject.is_judged_as_is else round_up(size, MIB)
        if size < SMALLEST:
            remedy = f"{subject.convert_command} --size=20M"
            if subject.is_fixed_vhd:
                remedy = f"vhdfast resize {subject.quoted_path} 20M"
            yield self.failed(
                f"the disk of {format_bytes(size)} is smaller than the 20 MiB that Azure asks for",
                Evidence("virtual size", str(size), f"at least {SMALLEST}"),
                remedy=remedy,
            )
        elif size > LARGEST:
            yield self.failed(
                f"the disk of {format_bytes(size)} is larger than the largest managed disk",
                Evidence("virtual size", str(size), f"at most {LARGEST}"),
                remedy="shrink or split the disk in the guest, then export it again",
            )
        else:
            yield self.passed(
                f"{format_bytes(size)} fit a managed disk",
                Evidence("virtual size", str(size), f"{SMALLEST} to {LARGEST}"),
            )
