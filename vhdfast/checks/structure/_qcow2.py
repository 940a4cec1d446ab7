"""What checks of qcow2 refcounts share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from ..base import Check, Evidence, Finding, Reference
from ..refcounts import Refcounts, WrongCounts
from ..subject import Subject

QCOW2 = Reference(
    "QEMU: qcow2 image file format", "https://www.qemu.org/docs/master/interop/qcow2.html"
)


class RefcountCheck(Check):
    """A check of what the refcounts of a qcow2 image say."""

    references: ClassVar[tuple[Reference, ...]] = (QCOW2,)

    @abstractmethod
    def look(self, subject: Subject, counts: Refcounts) -> Iterator[Finding]:
        """What they say."""

    def run(self, subject: Subject) -> Iterator[Finding]:
        counts = subject.refcounts
        if counts is None:
            yield self.skipped("this is no qcow2 image, or it cannot be opened")
        else:
            yield from self.look(subject, counts)

    @staticmethod
    def evidence(wrong: WrongCounts, what: str) -> Iterator[Evidence]:
        for offset, found, expected in wrong.first:
            yield Evidence(what, str(found), str(expected), offset=offset)

    @staticmethod
    def repair(subject: Subject, mode: str) -> str:
        return f"qemu-img check -r {mode} {subject.quoted_path}"
