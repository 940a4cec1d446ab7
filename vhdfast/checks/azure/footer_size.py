"""footer-size"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd.footer import FOOTER_LENGTH, Footer
from ...units import format_bytes
from ..base import Evidence, Finding, Severity
from ..subject import Subject
from ._footer import PREPARE_VHD, VHD_SPECIFICATION, FooterCheck


class FooterSize(FooterCheck):
    id = "footer-size"
    title = "the footer gives the size that the file has before it"
    severity = Severity.ERROR
    what = (
        "The current size in the footer and the size of the file: a fixed VHD is the bytes of the "
        "disk, then 512 bytes of footer."
    )
    why = (
        "Where the footer claims more than is there, the file was cut or its footer is of another "
        "disk; where it claims less, the end of the disk is invisible. Azure demands that both "
        "agree."
    )
    fix = (
        "Copy the file again if it may have been cut. Where it holds all of the disk, "
        "`vhdfast repair` brings both together."
    )
    references = (VHD_SPECIFICATION, PREPARE_VHD)

    def look(self, subject: Subject, footer: Footer) -> Iterator[Finding]:
        there = subject.file_size - FOOTER_LENGTH
        evidence = (
            self.at(subject, 48, "current size", str(footer.current_size), str(there)),
            Evidence("size of the file", str(subject.file_size), str(there + FOOTER_LENGTH)),
        )
        if footer.current_size == there:
            yield self.passed("the size in the footer is that of the file, less 512", *evidence)
            return
        relation = "more" if footer.current_size > there else "less"
        yield self.failed(
            f"the footer gives {format_bytes(footer.current_size)}, {relation} than the "
            f"{format_bytes(there)} before it",
            *evidence,
            remedy="copy the file again and compare checksums"
            if relation == "more" and footer.is_intact
            else self.repair(subject),
        )
