"""footer-present"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.vhd.footer import (
    COOKIE,
    FOOTER_LENGTH,
    OLD_FOOTER_LENGTH,
    STRAY_SEARCH,
    Footer,
    find_stray_footer,
)
from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject
from ._footer import PREPARE_VHD, VHD_SPECIFICATION, FooterCheck


class FooterPresent(Check):
    id = "footer-present"
    title = "a VHD footer is at the very end of the file"
    severity = Severity.ERROR
    what = (
        "The last 512 bytes of a fixed VHD are its footer: it begins with the cookie 'conectix' "
        "and says how large the disk is. The file is searched for a footer that stands elsewhere, "
        "is one byte short, or has lost its cookie."
    )
    why = (
        "Azure looks for the footer in the last 512 bytes and nowhere else. Without it the import "
        "ends with a message about a cookie value, often after the whole upload. An upload that "
        "was broken off looks the same: its last 512 bytes never arrived."
    )
    fix = (
        "A raw disk becomes a fixed VHD with `vhdfast convert`; a VHD whose footer is damaged, or "
        "has something behind it, is mended by `vhdfast repair`. A file that was cut short has to "
        "be copied again."
    )
    references = (VHD_SPECIFICATION, PREPARE_VHD)
    cured_by_convert = True
    order = 20

    def run(self, subject: Subject) -> Iterator[Finding]:
        if not subject.is_fixed_vhd and not subject.is_judged_as_is:
            yield self.skipped("this is no fixed VHD")
            return
        at = subject.tail_offset
        if subject.footer is not None:
            yield self.passed(
                "the footer is where it belongs", Evidence("footer", "found", offset=at)
            )
            return
        repair = FooterCheck.repair(subject)
        found = Evidence(
            "last 512 bytes", f"begin with {subject.tail[:8]!r}", repr(COOKIE), offset=at
        )
        if len(subject.tail) < FOOTER_LENGTH:
            yield self.failed(
                f"the file has {subject.file_size} bytes, fewer than a footer", found,
                remedy="copy the file again, and compare checksums",
            )  # fmt: skip
        elif _lost_its_cookie(subject.tail):
            yield self.failed("there is a footer, but its cookie is damaged", found, remedy=repair)
        elif subject.tail[-OLD_FOOTER_LENGTH:].startswith(COOKIE):
            yield self.failed(
                "the footer is one byte short, as Virtual PC wrote it before 2004", found,
                remedy=repair,
            )  # fmt: skip
        elif (stray := _stray(subject)) is not None:
            behind = subject.file_size - stray - FOOTER_LENGTH
            yield self.failed(
                f"the footer is followed by {behind} bytes; it belongs at the very end",
                Evidence("footer", "found", offset=stray), found,
                remedy=repair,
            )  # fmt: skip
        elif subject.format in ("raw", None):
            yield self.failed(
                "the file has no VHD footer: it is a raw disk, or was cut short", found,
                remedy=f"{subject.convert_command}, or copy the file again if it was cut short",
            )  # fmt: skip
        else:
            yield self.failed(
                f"the file has no VHD footer: it is a {subject.format} image", found,
                remedy=subject.convert_command,
            )  # fmt: skip


def _lost_its_cookie(tail: bytes) -> bool:
    footer = Footer.parse(COOKIE + tail[len(COOKIE) :])
    return footer is not None and footer.version == 0x00010000 and footer.is_intact


def _stray(subject: Subject) -> int | None:
    start = max(0, subject.file_size - STRAY_SEARCH)
    tail = subject.source.read(start, STRAY_SEARCH)
    at = find_stray_footer(tail, subject.file_size)
    if at is None:
        return None
    footer = Footer.parse(tail[at - start : at - start + FOOTER_LENGTH])
    return at if footer is not None and footer.is_intact else None
