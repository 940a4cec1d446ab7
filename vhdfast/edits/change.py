"""What is to be done to a file: writes and sizes, in stages.

A stage is durable before the next one starts; within a stage nothing is promised about the order.
So a planner puts into one stage what may be there in part, and into the next what must not be seen
without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..errors import InternalError
from ..files import Identity
from ..units import MAX_OFFSET

__all__ = ["Change", "Stage", "Step", "Write", "is_name"]

# Bounds of a change, and of an undo file that is read. All that a repair writes is small.
MAX_STAGES = 32
MAX_WRITES = 4096
MAX_SAVED = 16 << 20  # bytes that all writes put there, and bytes that are replaced or cut off


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that replace what lies at `offset` of the file, or extend it.

    what: the structure, for people ("footer"). meaning: what becomes of it ("checksum 0x12 ->
    0x34", "zeroed"); may be empty.
    """

    offset: int
    data: bytes
    what: str
    meaning: str = ""

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class Stage:
    """Writes that do not overlap, and the size of the file after them.

    size: None leaves it at what the writes make of it.
    """

    writes: tuple[Write, ...] = ()
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one file, planned from what was read of it.

    title: the verb that plans it ("repair"). seen: the file as the planner saw it; `apply` refuses
    a file that is not that one any more. new_name: what the file is called at the end, in the
    directory where it lies; replace: a file that has that name gives way. Without stages the file
    is only renamed, in one step that needs no undo file.
    """

    path: str
    title: str
    stages: tuple[Stage, ...]
    seen: Identity
    new_name: str | None = None
    replace: bool = False

    @property
    def old_size(self) -> int:
        return self.seen.size

    @property
    def new_size(self) -> int:
        return sizes(self.old_size, self.stages)[-1]

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is done, one thing after the other, for people and programs."""
        return steps(self.old_size, self.stages)

    def check(self) -> None:
        """Raise InternalError where a planner broke the rules above."""
        if self.new_name is not None and not is_name(self.new_name):
            raise InternalError("a change to a name that is none", path=self.path)
        if self.new_name is not None and not self.stages:
            return
        reason = fault(self.old_size, self.stages)
        if reason is not None:
            raise InternalError(f"a change that cannot be made: {reason}", path=self.path)


@dataclass(frozen=True, slots=True)
class Step:
    """A write, or a change of the file's size: then offset is None, and length the size after it.

    stage: from 1 on. what: "footer", "file size" …. meaning: as a Write has it.
    """

    stage: int
    offset: int | None
    length: int
    what: str
    meaning: str


def is_name(name: str) -> bool:
    """Whether this names a file in the directory itself, and nothing elsewhere."""
    try:
        length = len(os.fsencode(name))
    except UnicodeEncodeError:
        return False
    return 0 < length <= 255 and name not in (".", "..") and not {*name} & {"/", os.sep, "\0"}


def steps(old_size: int, stages: Sequence[Stage]) -> tuple[Step, ...]:
    """What stages do."""
    found = []
    before = old_size
    for number, (stage, size) in enumerate(
        zip(stages, sizes(old_size, stages)[1:], strict=True), 1
    ):
        for write in stage.writes:
            found.append(Step(number, write.offset, len(write.data), write.what, write.meaning))
            before = max(before, write.end)
        if size != before:
            what = "file size"
            found.append(Step(number, None, size, what, f"{before} -> {size} bytes"))
        before = size
    return tuple(found)


def sizes(old_size: int, stages: Sequence[Stage]) -> list[int]:
    """Sizes of the file: before, and after each stage."""
    found = [old_size]
    for stage in stages:
        ends = (write.end for write in stage.writes)
        found.append(max(found[-1], *ends, 0) if stage.size is None else stage.size)
    return found


def fault(old_size: int, stages: Sequence[Stage]) -> str | None:
    """Why these stages are no change, or None."""
    if not 0 < len(stages) <= MAX_STAGES:
        return f"{len(stages)} stages, expected 1 to {MAX_STAGES}"
    writes = [write for stage in stages for write in stage.writes]
    if len(writes) > MAX_WRITES:
        return f"{len(writes)} writes, at most {MAX_WRITES} are made"
    if sum(len(write.data) for write in writes) > MAX_SAVED:
        return f"more than {MAX_SAVED} bytes to write"
    if any(not write.data or not 0 <= write.offset <= MAX_OFFSET for write in writes):
        return "a write of nothing, or before the file"
    for stage, size in zip(stages, sizes(old_size, stages)[1:], strict=True):
        if not 0 <= size <= MAX_OFFSET:
            return f"a size of {size} bytes"
        ordered = sorted(stage.writes, key=lambda write: write.offset)
        if ordered and ordered[-1].end > size:
            return f"a write that ends at {ordered[-1].end}, behind a size of {size}"
        if any(one.end > other.offset for one, other in pairwise(ordered)):
            return "writes of one stage that overlap"
    return None


def join(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges (start, end) in ascending order, those that touch or overlap as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > start:
            joined.append((start, end))
    return joined
