"""partition-table"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ...guest.partitions import PartitionTable
from ..base import Finding, Severity
from ..subject import Subject
from ._partitions import PartitionCheck

# What others checks speak of.
ELSEWHERE = {"backup-not-at-end", "outside-disk", "other-sector-size"}
SEVERITIES = {
    "no-gpt-header": Severity.ERROR,  # no partition can be found
    "hybrid-mbr": Severity.NOTE,
    "stale-gpt": Severity.NOTE,
    "outside-usable": Severity.NOTE,
}
SHOWN = 8


class PartitionTableIntact(PartitionCheck):
    id = "partition-table"
    title = "the partition table is intact"
    severity = Severity.ERROR
    what = (
        "Both headers of a GPT, their checksums and those of their entries, and the protective "
        "MBR; of an MBR its entries and the chain of its logical partitions; overlaps of either."
    )
    why = (
        "Where the primary GPT is damaged, Linux finds no partition unless told to use the backup, "
        "and the machine does not boot; where both are, nobody finds any. Damage that has not yet "
        "hurt (a bad backup, an overlap) is a warning, oddities are notes."
    )
    fix = (
        "`vhdfast convert --relocate-gpt` restores a damaged primary from the backup; in the "
        "guest, `sgdisk -e` or gdisk's recovery menu. A disk without an intact table has to be "
        "copied again, or its partitions found by testdisk."
    )
    order = 80

    def look(self, subject: Subject, table: PartitionTable) -> Iterator[Finding]:
        problems = [each for each in table.problems if each.code not in ELSEWHERE]
        for problem in problems[:SHOWN]:
            severity = SEVERITIES.get(problem.code, Severity.WARNING)
            evidence = self.at(subject, problem.code, problem.message, None, problem.offset)
            finding = self.failed(
                problem.message, evidence, remedy=self._remedy(subject, table, problem.code)
            )
            yield dataclasses.replace(finding, severity=severity)
        if len(problems) > SHOWN:
            finding = self.failed(f"{len(problems) - SHOWN} problems more with the partition table")
            yield dataclasses.replace(finding, severity=Severity.WARNING)
        if not problems:
            yield self.passed(f"the {table.scheme.upper()} is intact")

    @staticmethod
    def _remedy(subject: Subject, table: PartitionTable, code: str) -> str | None:
        if code == "no-gpt-header":
            return "copy the disk again, and compare checksums"
        if not code.startswith(("primary-", "no-primary")) or table.header is None:
            return None
        if subject.is_judged_as_is and subject.is_fixed_vhd:
            return f"vhdfast repair {subject.quoted_path} --relocate-gpt"
        return f"{subject.convert_command} --relocate-gpt"
