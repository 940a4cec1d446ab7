"""What is asked of a target, checked before anything is written."""

from __future__ import annotations

import os
import uuid

from .errors import ImageError, TargetTooLargeError, UsageError
from .outputs import OUTPUTS, FileOutput
from .units import MAX_OFFSET, check_align, format_bytes, round_up

__all__ = [
    "check_jobs",
    "check_largest",
    "check_rate",
    "checked_uuid",
    "free_space",
    "output_kind",
    "rounded_size",
    "source_date_epoch",
]


def output_kind(to: str) -> type[FileOutput]:
    kind = OUTPUTS.get(to)
    if kind is None or not issubclass(kind, FileOutput):
        raise UsageError(f"unknown output {to!r}", hint=f"one of: {', '.join(sorted(OUTPUTS))}")
    return kind


def check_jobs(jobs: int | None) -> None:
    if jobs is not None and jobs < 1:
        raise UsageError(f"{jobs} workers cannot work", hint="give --jobs at least 1")


def check_rate(rate: int | None) -> None:
    if rate is not None and rate < 1:
        raise UsageError(f"{rate} bytes a second would never end")


def rounded_size(size: int, align: int, path: str) -> int:
    check_align(align)
    rounded = round_up(size, align)
    if rounded > MAX_OFFSET:
        raise ImageError(f"a disk of {size} bytes cannot be rounded up to {align}", path=path)
    return rounded


def check_largest(size: int, kind: type[FileOutput], path: str, hint: str) -> None:
    if size > kind.constraints.max_size:
        raise TargetTooLargeError(
            f"the disk would have {format_bytes(size)}, a {kind.name} holds at most "
            f"{format_bytes(kind.constraints.max_size)}",
            path=path,
            hint=f"{hint}, or choose another output",
        )


def free_space(directory: str) -> int | None:
    try:
        status = os.statvfs(directory)
    except OSError:
        return None
    # File systems that count nothing (proc, some network ones) say nothing of their room.
    return status.f_bavail * status.f_frsize if status.f_blocks else None


def checked_uuid(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no UUID", hint="write it like 01234567-89ab-cdef-0123-456789abcdef"
        ) from error


def source_date_epoch() -> float | None:
    """SOURCE_DATE_EPOCH, the convention for builds that are the same to the byte."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    try:
        return float(int(text))
    except ValueError as error:
        raise UsageError(
            f"SOURCE_DATE_EPOCH is {text!r}, expected seconds since 1970"
        ) from error
