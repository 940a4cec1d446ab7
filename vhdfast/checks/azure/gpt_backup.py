"""gpt-backup"""

from __future__ import annotations

from collections.abc import Iterator

from ...guest.partitions import PartitionTable
from ...units import MIB, round_up
from ..base import Finding, Severity
from ..subject import Subject
from ._partitions import PartitionCheck


class GptBackup(PartitionCheck):
    id = "gpt-backup"
    title = "the GPT's backup lies at the end of the disk"
    severity = Severity.NOTE
    what = (
        "Where the backup header of a GPT lies, and where the disk will end once its size is a "
        "whole number of MiB."
    )
    why = (
        "A disk that grows leaves the backup in the middle. It boots all the same: kernel and "
        "firmware go by the primary. Tools warn that not all of the space is used, and if the "
        "primary is lost the backup is not looked for where it lies."
    )
    fix = (
        "`vhdfast convert --relocate-gpt` moves it while it converts, `vhdfast repair "
        "--relocate-gpt` in a VHD as it is; in the guest `sgdisk -e` does."
    )
    order = 82

    def look(self, subject: Subject, table: PartitionTable) -> Iterator[Finding]:
        if table.scheme != "gpt":
            yield self.skipped("the disk has no GPT")
            return
        if subject.error is not None:
            yield self.skipped("without its footer it is not known where the disk ends")
            return
        if table.backup is None:
            yield self.skipped("no backup was found, of which partition-table tells")
            return
        size = table.sector_size
        end = table.disk_size
        rounded = round_up(end, MIB)
        # A disk of 512-byte sectors may not end with a sector of the table.
        wanted = (rounded // size - 1) * size
        found = table.backup.offset
        evidence = self.at(subject, "backup header", f"byte {found}", f"byte {wanted}", found)
        if found == wanted:
            yield self.passed("the backup lies in the last sector", evidence)
        elif table.backup_is_at_end:
            yield self.failed(
                f"the backup lies in the last sector now, and {rounded - end} bytes before the end "
                "once the size is rounded up to whole MiB",
                evidence, remedy=self._remedy(subject),
            )  # fmt: skip
        else:
            yield self.failed(
                "the backup does not lie in the last sector: the disk was resized",
                evidence, remedy=self._remedy(subject),
            )  # fmt: skip

    @staticmethod
    def _remedy(subject: Subject) -> str:
        if subject.is_judged_as_is and subject.is_fixed_vhd:
            return f"vhdfast repair {subject.quoted_path} --relocate-gpt"
        return f"{subject.convert_command} --relocate-gpt"
