"""fixed-vhd"""

from __future__ import annotations

from collections.abc import Iterator

from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject
from ._footer import PREPARE_VHD


class FixedVhd(Check):
    id = "fixed-vhd"
    title = "the image is a fixed VHD"
    severity = Severity.ERROR
    what = "The format of the image."
    why = (
        "Azure takes fixed VHDs only, for generation 1 and generation 2 alike: no VHDX, no dynamic "
        "or differencing VHD, no qcow2, VMDK, VDI or raw disk, and nothing compressed."
    )
    fix = "`vhdfast convert` makes a fixed VHD of it."
    references = (PREPARE_VHD,)
    cured_by_convert = True
    order = 10

    def run(self, subject: Subject) -> Iterator[Finding]:
        image = subject.image
        if image is None or subject.error is not None:
            yield self.skipped("what it is cannot be told")
            return
        container = image.layer.options.container
        if subject.is_fixed_vhd and subject.source.stream is None and container is None:
            yield self.passed("this is a fixed VHD")
            return
        what = f"{subject.format}, {subject.subformat}"
        if subject.source.stream is not None:
            what += f", in a {subject.source.stream} stream"
        if container is not None:
            what += f", in a container ({container})"
        yield self.failed(
            f"this is no fixed VHD, but {what}",
            Evidence("format", what, "vhd, fixed"),
            remedy=subject.convert_command,
        )
