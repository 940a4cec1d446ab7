"""footer-geometry"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd.footer import LARGEST_GEOMETRY, Footer
from ...formats.vhd.geometry import geometry_for
from ...units import format_bytes
from ..base import Finding, Severity
from ..subject import Subject
from ._footer import FooterCheck


class FooterGeometry(FooterCheck):
    id = "footer-geometry"
    title = "the footer's geometry is that of a disk of this size"
    severity = Severity.WARNING
    what = (
        "Cylinders, heads and sectors in the footer: 65535/16/255, which tells every reader to go "
        "by the current size; a geometry that spans just that; or the one that the specification "
        "gives the size, which falls short of most sizes and is what Hyper-V, VirtualBox and Azure "
        "write."
    )
    why = (
        "Azure goes by the current size. Virtual PC, and qemu before 10 for most creators, go by "
        "the geometry: with another one they lose the end of the disk, or read the footer as data."
    )
    fix = "`vhdfast repair` writes 65535/16/255."

    def look(self, subject: Subject, footer: Footer) -> Iterator[Finding]:
        geometry = "/".join(map(str, footer.geometry))
        evidence = self.at(
            subject, 56, "geometry", geometry, "65535/16/255, or one that fits the current size"
        )
        if footer.geometry == LARGEST_GEOMETRY:
            yield self.passed("the geometry leaves the size to the current size", evidence)
        elif footer.chs_size == footer.current_size:
            yield self.passed("the geometry spans the current size", evidence)
        elif footer.geometry == geometry_for(footer.current_size):
            yield self.passed("the geometry is the one that the specification gives", evidence)
        else:
            relation = "more" if footer.chs_size > footer.current_size else "less"
            yield self.failed(
                f"the geometry {geometry} spans {format_bytes(footer.chs_size)}, {relation} than "
                f"the current size of {format_bytes(footer.current_size)}", evidence,
                remedy=self.repair(subject),
            )  # fmt: skip
