"""os-disk-size"""

from __future__ import annotations

from collections.abc import Iterator

from ...units import GIB, format_bytes
from ..base import Check, Evidence, Finding, Reference, Severity
from ..subject import Subject

GENERATION_1 = 2048 * GIB
GENERATION_2 = 4095 * GIB


class OsDiskSize(Check):
    id = "os-disk-size"
    title = "the disk is not too large to boot from"
    severity = Severity.ERROR
    what = (
        "The virtual size against what an OS disk may have: 2048 GiB for generation 1, 4095 GiB "
        "for generation 2. Data disks (--role data) are not limited by it."
    )
    why = (
        "Azure refuses an OS disk of more than 4095 GiB. Microsoft supports more than 2 TiB for "
        "generation 2 only: generation 1 boots by BIOS, and an MBR does not reach further. Such a "
        "machine may be created all the same, and fail or see the first 2 TiB alone."
    )
    fix = (
        "Shrink the disk in the guest, move data to disks of their own, or make the guest boot by "
        "UEFI and create a generation 2 machine."
    )
    references = (
        Reference(
            "Support for generation 2 VMs on Azure",
            "https://learn.microsoft.com/en-us/azure/virtual-machines/generation-2",
        ),
        Reference(
            "Introduction to Azure managed disks",
            "https://learn.microsoft.com/en-us/azure/virtual-machines/managed-disks-overview",
        ),
    )
    order = 61

    def run(self, subject: Subject) -> Iterator[Finding]:
        size, generation = subject.virtual_size, subject.options.generation
        if size is None:
            yield self.unknown("the virtual size cannot be told")
            return
        if subject.options.role == "data":
            yield self.skipped("this is a data disk")
            return
        limit = GENERATION_2 if generation == "2" else GENERATION_1
        evidence = Evidence("virtual size", str(size), f"at most {limit}")
        if size <= limit:
            yield self.passed(f"{format_bytes(size)} fit an OS disk", evidence)
            return
        if size <= GENERATION_2 and generation == "auto":
            yield self.unknown(
                f"the disk of {format_bytes(size)} can be the OS disk of a generation 2 machine "
                "only",
                evidence,
                remedy="say which it is to be with --generation 1, --generation 2 or --role data",
            )
            return
        yield self.failed(
            f"the disk of {format_bytes(size)} is larger than an OS disk may be",
            evidence,
            remedy="shrink it in the guest; for a data disk say --role data",
        )
