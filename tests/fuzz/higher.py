"""Targets that stand on images: all checks over any file, partition tables on any disk.

Each is a class in HIGHER, made with (box, path, flags); `run` raises VhdfastError where the file
cannot be used, and Broken where a promise is not kept.
"""

from __future__ import annotations

import dataclasses
import io
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import vhdfast
from vhdfast.checks import CHECKS, CheckedImage, CheckOptions, Evidence, Outcome, Selection
from vhdfast.errors import PartitionTableError, UsageError
from vhdfast.guest.gpt_move import Write, move_backup_gpt
from vhdfast.guest.partitions import Partition, PartitionTable, read_partitions
from vhdfast.report import REPORTS, Run, form_names, report_of
from vhdfast.report.plot_layout import lay_out
from vhdfast.report.plot_shares import Shares
from vhdfast.report.plot_svg import draw
from vhdfast.report.text import image_lines

from .broken import Broken
from .encoding import DETECT, GUESS, SECOND, SNAPSHOT

__all__ = ["HIGHER"]

MIB = 1 << 20
MAX_CELL_WINDOWS = 12
CELLS = 64  # of a picture: many take long to draw

for _form in form_names():
    report_of(_form)


class Checks:
    """All checks, and every form of report.

    flags: judged as what is uploaded; as a data disk; of generation 2; the file is called .vhd.
    """

    suffix = ""

    def __init__(self, box: Any, path: Path, flags: int) -> None:
        self.path, self.temporary = path, box.temporary
        self.options = CheckOptions(
            True if flags & GUESS else None,
            "data" if flags & SNAPSHOT else "auto",
            "2" if flags & SECOND else "auto",
        )
        self.count = 0

    @staticmethod
    def name(flags: int) -> str:
        return "disk.vhd" if flags & DETECT else "disk"

    def run(self) -> None:
        try:
            image = vhdfast.check(self.path, options=self.options, temporary=self.temporary)
        except UsageError:  # a container of several disks wants to be told which
            image = vhdfast.check(
                self.path, options=self.options, temporary=self.temporary, disk="1"
            )
        self.count = len(image.findings)
        if {finding.check for finding in image.findings} != set(CHECKS):
            raise Broken("a check said nothing")
        for finding in image.findings:
            if not finding.message or "\n" in finding.message:
                raise Broken(f"{finding.check} says {finding.message!r}")
            for evidence in finding.evidence:
                self._evidence(finding.check, evidence)
            if finding.outcome in (Outcome.FAIL, Outcome.UNKNOWN) and "None" in finding.message:
                raise Broken(f"{finding.check} says {finding.message!r}")
        status = image.exit_code()
        if status not in (0, 1, 3):
            raise Broken(f"exit status {status}")
        if status == 0 and image.judged_as_is:
            self._is_accepted()
        self._reports(image)

    def _evidence(self, name: str, evidence: Evidence) -> None:
        if evidence.offset is not None and not 0 <= evidence.offset < 1 << 64:
            raise Broken(f"{name}: evidence at offset {evidence.offset}")

    def _is_accepted(self) -> None:
        """What no check speaks against, plain code must find to be a fixed VHD."""
        size = self.path.stat().st_size
        with open(self.path, "rb") as file:
            file.seek(max(0, size - 512))
            footer = file.read()
        data = size - 512
        if footer[:8] != b"conectix" or footer[60:64] != b"\0\0\0\2":
            raise Broken("no fixed VHD, and nothing speaks against it")
        if data % MIB or not 20 * MIB <= data <= 32767 << 30:
            raise Broken(f"a disk of {data} bytes, and nothing speaks against it")
        if int.from_bytes(footer[48:56], "big") != data:
            raise Broken("the footer gives another size, and nothing speaks against it")
        if ~(sum(footer) - sum(footer[64:68])) & 0xFFFFFFFF != int.from_bytes(footer[64:68], "big"):
            raise Broken("the footer's checksum is wrong, and nothing speaks against it")

    def _reports(self, image: CheckedImage) -> None:
        selection = Selection()
        run = Run(selection.checks(), selection, False, datetime.now(timezone.utc))
        for name in form_names():
            out = io.BytesIO()
            report = REPORTS[name](out, run)
            try:
                report.begin()
                report.image(image)
                report.end(image.exit_code())
            finally:
                report.close()
            if name == "junit":
                ElementTree.fromstring(out.getvalue())
            else:
                json.loads(out.getvalue())
        for line in image_lines(image, 80, True):
            "".join(text for text, _ in line).encode("utf-8", "surrogateescape")


class Partitions:
    """What a disk's partition table says, the picture of it, and moving the backup of a GPT.

    flags: the disk has sectors of 4096 bytes; it grows by nothing, else by a MiB.
    """

    suffix = ".raw"

    def __init__(self, box: Any, path: Path, flags: int) -> None:
        self.path = path
        self.sector_size = 4096 if flags & DETECT else 512
        self.growth = 0 if flags & GUESS else MIB
        self.count = 0

    @staticmethod
    def name(flags: int) -> str:
        return "disk.raw"

    def run(self) -> None:
        with vhdfast.open_image(self.path, "raw") as image:
            size = image.virtual_size
            table = read_partitions(image.pread, size, self.sector_size)
            self._draw(image, table)
            if table is None:
                return
            self.count = len(table.partitions)
            json.dumps(dataclasses.asdict(table))
            if len(table.problems) > 65 or len({one.number for one in table.partitions}) != (
                self.count
            ):
                raise Broken(f"{len(table.problems)} problems, {self.count} partitions")
            self._move(image, table)

    def _draw(self, image: Any, table: PartitionTable | None) -> None:
        if not image.virtual_size:
            return
        shares = Shares(0, image.virtual_size, CELLS)
        for number, window in enumerate(image.windows()):
            if number == MAX_CELL_WINDOWS:
                break
            shares.add(window)
        layout = lay_out("disk", "raw, file", image.virtual_size, shares, table)
        ElementTree.fromstring(draw(layout))

    def _move(self, image: Any, table: PartitionTable) -> None:
        """After it the same partitions lie there, and the backup at the end. A failure in the
        middle of it leaves a table with the same partitions."""
        old, new = image.virtual_size, image.virtual_size + self.growth
        disk = _Overlay(image, new)
        stages = move_backup_gpt(disk.pread, table, old, new, sector_size=self.sector_size)
        for stage in stages:
            for write in stage:
                disk.put(write)
            between = read_partitions(disk.pread, new, self.sector_size)
            if between is None or between.partitions != table.partitions:
                raise Broken("in between other partitions are there")
        moved = read_partitions(disk.pread, new, self.sector_size)
        if moved is None or moved.partitions != table.partitions or not moved.backup_is_at_end:
            raise Broken("other partitions than before, or no backup at the end")
        for partition in table.partitions:
            self._is_untouched(disk, partition)
        try:
            left = move_backup_gpt(disk.pread, moved, old, new, sector_size=self.sector_size)
        except PartitionTableError as error:
            raise Broken(f"it cannot be moved again: {error}") from error
        if left:
            raise Broken(f"moving it again would write {[write.what for write in left[0]]}")

    def _is_untouched(self, disk: _Overlay, partition: Partition) -> None:
        for write in disk.writes:
            if write.offset in (0, self.sector_size):
                continue  # where MBR and header lie: a hybrid disc has a partition over them
            if write.offset < partition.end and partition.offset < write.offset + len(write.data):
                raise Broken(f"{write.what} is written into partition {partition.number}")


class _Overlay:
    """A disk that may have grown, with what was written to it."""

    def __init__(self, image: Any, size: int) -> None:
        self.image, self.size = image, size
        self.writes: list[Write] = []

    def put(self, write: Write) -> None:
        if write.offset < 0 or write.offset + len(write.data) > self.size:
            raise Broken(f"{write.what} would lie outside the disk")
        self.writes.append(write)

    def pread(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        old = self.image.pread(offset, length) if offset < self.image.virtual_size else b""
        out = bytearray(old.ljust(length, b"\0"))
        for write in self.writes:
            low = max(offset, write.offset)
            high = min(offset + length, write.offset + len(write.data))
            if low < high:
                out[low - offset : high - offset] = write.data[
                    low - write.offset : high - write.offset
                ]
        return bytes(out)


HIGHER: dict[str, type[Checks] | type[Partitions]] = {"check": Checks, "partitions": Partitions}
