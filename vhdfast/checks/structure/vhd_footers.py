"""vhd-footers"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd.footer import Footer
from ..azure._footer import VHD_SPECIFICATION
from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject


class VhdFooters(Check):
    id = "vhd-footers"
    title = "both footers of a dynamic VHD are there, intact and the same"
    severity = Severity.WARNING
    what = "The footer at the end of a dynamic or differencing VHD, and its copy at the start."
    why = (
        "Readers use one of them: qemu that at the start, others that at the end. Where one is "
        "lost the disk opens with some programs only, and nothing is in reserve. A missing footer "
        "at the end is what a copy leaves that was broken off."
    )
    fix = (
        "Compare the file with the original: one that lacks its end has to be copied again. "
        "`vhdfast repair` restores a damaged footer from the other one."
    )
    references = (VHD_SPECIFICATION,)
    order = 12

    def run(self, subject: Subject) -> Iterator[Finding]:
        if not subject.is_vhd or not subject.is_sparse_vhd:
            yield self.skipped("this is no dynamic or differencing VHD")
            return
        head, tail = subject.head_footer, subject.footer
        if tail is None:  # Virtual PC before 2004 left out the last byte
            tail = Footer.parse(subject.tail[1:])
        wrong = [
            finding
            for footer, where, offset in (
                (head, "start", 0), (tail, "end", subject.tail_offset),
            )
            if (finding := self._judge(subject, footer, where, offset)) is not None
        ]  # fmt: skip
        yield from wrong
        if wrong:
            return
        different = [
            name for name in Footer.__slots__ if getattr(head, name) != getattr(tail, name)
        ]
        if different:
            yield self.failed(
                "the footer at the end and its copy at the start are both intact, and differ",
                *(
                    Evidence(
                        name.replace("_", " "), str(getattr(tail, name)),
                        f"{getattr(head, name)}, as at the start", offset=subject.tail_offset,
                    )
                    for name in different
                ),
                remedy=subject.convert_command,
            )  # fmt: skip
        else:
            yield self.passed("both footers are intact and the same")

    def _judge(
        self, subject: Subject, footer: Footer | None, where: str, offset: int
    ) -> Finding | None:
        if footer is None:
            found = subject.head if offset == 0 else subject.tail
            return self.failed(
                f"there is no footer at the {where} of the file",
                Evidence("cookie", repr(found[:8]), "b'conectix'", offset=offset),
                remedy=f"vhdfast repair {subject.quoted_path}",
            )
        if not footer.is_intact:
            return self.failed(
                f"the checksum of the footer at the {where} of the file is wrong",
                Evidence(
                    "checksum", f"{footer.stored_checksum:#010x}", f"{footer.checksum:#010x}",
                    offset=offset + 64,
                ),
                remedy=f"vhdfast repair {subject.quoted_path}",
            )  # fmt: skip
        return None
