"""readable"""

from __future__ import annotations

from collections.abc import Iterator

from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject


class Readable(Check):
    id = "readable"
    title = "the image can be read"
    severity = Severity.ERROR
    what = "Whether the image's format is known and its headers make sense."
    why = "What cannot be opened can neither be converted nor be booted from."
    fix = "The message says what is wrong; most damage comes from a copy that was cut short."
    order = 0

    def run(self, subject: Subject) -> Iterator[Finding]:
        error = subject.error
        if error is None:
            yield self.passed(f"this is a {subject.format} image, {subject.subformat}")
        elif subject.image is not None and subject.is_fixed_vhd:
            yield self.skipped("the file is looked at as a fixed VHD that lost its footer")
        else:
            found = Evidence("error", error.message, path=error.path, offset=error.offset)
            yield self.failed(f"{error.message}", found, remedy=error.hint)
