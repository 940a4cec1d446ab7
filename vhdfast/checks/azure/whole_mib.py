"""whole-mib"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd.footer import FOOTER_LENGTH
from ...units import MIB, format_bytes, round_up
from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject
from ._footer import PREPARE_VHD, UPLOAD_GENERIC


class WholeMib(Check):
    id = "whole-mib"
    title = "the virtual size is a whole number of MiB"
    severity = Severity.ERROR
    what = "The virtual size of the disk, without the footer, divided by 1048576."
    why = (
        "Azure refuses the disk: 'The VHD … has an unsupported virtual size of N bytes. The size "
        "must be a whole number (in MBs).' Creating a disk for a direct upload fails earlier: 'The "
        "upload size in bytes N - 512 bytes for the VHD footer … must be a multiple of MiB.' "
        "Some ways of import report a wrong cookie instead."
    )
    fix = (
        "`vhdfast convert` rounds the size up to the next MiB; `vhdfast repair` does the same to a "
        "fixed VHD in place. The disk grows by zeros, no partition changes."
    )
    references = (UPLOAD_GENERIC, PREPARE_VHD)
    cured_by_convert = True
    order = 50

    def run(self, subject: Subject) -> Iterator[Finding]:
        size = subject.virtual_size
        if size is None:
            yield self.unknown("the virtual size cannot be told")
            return
        wanted = round_up(size, MIB)
        evidence = Evidence("virtual size", str(size), str(wanted))
        if size == wanted:
            yield self.passed(f"the virtual size is {size // MIB} MiB", evidence)
            return
        reply = f"'… has an unsupported virtual size of {size} bytes. The size must be a whole "
        reply += "number (in MBs).'"
        yield self.failed(
            f"the virtual size of {size} bytes is no whole number of MiB; it should be "
            f"{format_bytes(wanted)}, a file of {wanted + FOOTER_LENGTH} bytes",
            evidence,
            Evidence("Azure would say", reply),
            remedy=f"vhdfast repair {subject.quoted_path}"
            if subject.is_fixed_vhd
            else subject.convert_command,
        )
