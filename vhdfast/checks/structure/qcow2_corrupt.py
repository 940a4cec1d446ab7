"""qcow2-corrupt"""

from __future__ import annotations

from collections.abc import Iterator

from ...formats.qcow2 import Qcow2Image
from ...formats.qcow2.header import CORRUPT, INCOMPATIBLE_AT
from ..base import Check, Evidence, Finding, Severity
from ..subject import Subject
from ._qcow2 import QCOW2


class Qcow2Corrupt(Check):
    id = "qcow2-corrupt"
    title = "no program has marked the image as corrupt"
    severity = Severity.WARNING
    what = "The corrupt bit among the incompatible features of a qcow2 image."
    why = (
        "qemu sets it when it finds that a write would hit the image's own tables, and from then "
        "on opens the image for reading only. What led to it may have damaged data before."
    )
    fix = (
        "`vhdfast check` tells what is wrong; compare the disk with a backup. On a copy, `qemu-img "
        "check -r all` mends the tables and clears the bit."
    )
    references = (QCOW2,)
    order = 15

    def run(self, subject: Subject) -> Iterator[Finding]:
        layer = None if subject.image is None else subject.image.layer
        if not isinstance(layer, Qcow2Image):
            yield self.skipped("this is no qcow2 image, or it cannot be opened")
            return
        # The field is big-endian: the bit is in its last byte.
        place = INCOMPATIBLE_AT + 7
        if layer.header.incompatible & CORRUPT:
            yield self.failed(
                "a program found the image corrupt, and marked it",
                Evidence("corrupt bit", "set", "not set", offset=place),
                remedy=f"copy the image, then: qemu-img check -r all {subject.quoted_path}",
            )
        else:
            yield self.passed("the image is not marked as corrupt")
