"""qemu-chs-size"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd import VhdImage
from ...formats.vhd.footer import Footer
from ...formats.vhd.producer import (
    IntendedSize,
    Producer,
    SizeEvidence,
    candidate_sizes,
    gather_size_evidence,
    identify,
    intended_size,
)
from ...units import MIB, format_bytes
from ..base import Check, Evidence, Finding, Reference, Severity
from ..subject import Subject

_CONFIRMED = {
    "gpt-backup": "where the disk's GPT has its backup",
    "zero-tail": "behind which all is zero",
    None: "which nothing on the disk confirms",
}


class QemuChsSize(Check):
    id = "qemu-chs-size"
    title = "the size was not rounded up to whole cylinders"
    severity = Severity.WARNING
    what = (
        "Who wrote a VHD, by its creator, geometry and size; and, where the size was rounded, what "
        "it was before: the end of the GPT and of the data tell."
    )
    why = (
        "From 2.2.1 on qemu-img makes a VHD as large as the next size that a geometry of "
        "cylinders, heads and sectors spans, hardly ever a whole number of MiB: Azure refuses "
        "it. Versions up to 2.2.0 keep the size, and write a geometry that spans more than it; "
        "from 2.6 on the option force_size keeps it."
    )
    fix = (
        "`vhdfast repair` and `vhdfast convert` keep every byte and round the size up to the next "
        "MiB. To make such images right from the start: `vhdfast convert`, or `qemu-img convert -O "
        "vpc -o subformat=fixed,force_size` of a disk of whole MiB."
    )
    references = (
        Reference(
            "Launchpad bug 1490611: Using qemu >=2.2.1 to convert raw->VHD (fixed) adds extra "
            "padding to the result file",
            "https://bugs.launchpad.net/qemu/+bug/1490611",
        ),
        Reference(
            "Prepare Linux for imaging in Azure: general requirements",
            "https://learn.microsoft.com/en-us/azure/virtual-machines/linux/create-upload-generic",
        ),
    )
    cured_by_convert = True

    def run(self, subject: Subject) -> Iterator[Finding]:
        footer = _footer(subject)
        if not subject.is_vhd or footer is None:
            yield self.skipped("this is no VHD" if not subject.is_vhd else "there is no footer")
            return
        size = footer.current_size
        producer = identify(footer, subject.file_size)
        if producer is None:
            yield self.passed("no known program rounded the size")
            return
        who = f"{producer.name} ({producer.versions})" if producer.versions else producer.name
        spanned = "/".join(map(str, footer.geometry)) + f", which is {footer.chs_size} bytes"
        evidence = Evidence(
            "geometry", spanned, offset=None if subject.footer is None else subject.tail_offset + 56
        )
        if producer.code == "qemu-exact":
            yield self.passed(
                f"{who} kept the size that was asked for; the geometry spans more", evidence
            )
        elif not producer.is_chs_rounded:
            yield self.passed(f"written by {who}, which keeps the size", evidence)
        elif size % MIB == 0:
            yield self.passed(f"{who} rounded to cylinders that are whole MiB", evidence)
        else:
            yield self._rounded(subject, size, who, producer, evidence)

    def _rounded(
        self, subject: Subject, size: int, who: str, producer: Producer, evidence: Evidence
    ) -> Finding:
        found: SizeEvidence | None = None
        if subject.image is not None and subject.image.virtual_size == size:
            found = gather_size_evidence(subject.image, candidate_sizes(size))
        meant = intended_size(size, found)
        return self.failed(
            f"{who} made the disk {size} bytes large, whole cylinders but no whole MiB; "
            + self._meaning(meant, found),
            evidence, *self._ends(found),
            remedy=f"vhdfast repair {subject.quoted_path}"
            if subject.is_fixed_vhd
            else subject.convert_command,
        )  # fmt: skip

    @staticmethod
    def _meaning(meant: IntendedSize | None, found: SizeEvidence | None) -> str:
        if meant is not None:
            return (
                f"most likely {format_bytes(meant.size)} were asked for, "
                f"{_CONFIRMED[meant.confirmed_by]}"
            )
        if found is not None:
            return "the disk is in use with this size"
        return "what was asked for cannot be told"

    @staticmethod
    def _ends(found: SizeEvidence | None) -> Iterator[Evidence]:
        if found is None:
            return
        for end in found.gpt_ends:
            yield Evidence("GPT backup header", f"at the end of a disk of {end} bytes")
        yield Evidence("zeros", f"from byte {found.data_end} of the disk to its end")


def _footer(subject: Subject) -> Footer | None:
    """The footer that the image is read by, or the one at the end of the file."""
    if subject.image is not None and isinstance(subject.image.layer, VhdImage):
        return subject.image.layer.footer
    return subject.footer
