"""What a qemu-img does to the size of a disk: a small one is converted, and the footer is read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from ..errors import printable
from ..formats.vhd.footer import FOOTER_LENGTH, DiskType, Footer
from ..formats.vhd.geometry import geometry_for, size_of
from ..units import MIB
from .programs import run_program

__all__ = ["TRIAL_SIZE", "Trial", "try_conversion"]

# No geometry has this size.
TRIAL_SIZE = 64 * MIB
assert size_of(geometry_for(TRIAL_SIZE)) != TRIAL_SIZE
_HEAD, _TAIL = b"the first sector".ljust(512, b"."), b"the last sector".ljust(512, b".")

Result = Literal["exact", "rounded", "failed", "wrong"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A disk of TRIAL_SIZE bytes, converted to a fixed VHD.

    options: what stood behind -o. result: "exact"; "rounded": a larger size; "failed": qemu-img
    wrote nothing; "wrong": what it wrote is no such VHD, or does not hold the disk. reason: of the
    last two. spans_more: the geometry spans more than the exact size, so that a reader that goes
    by it takes the footer for data.
    """

    options: str
    result: Result
    size: int | None = None  # bytes, as the footer says
    reason: str | None = None
    spans_more: bool = False
    has_ended: bool = True  # by itself


def try_conversion(program: str, directory: str, options: str) -> Trial:
    """Convert in `directory`, which is the trial's own. Raises OSError where it is not writable."""
    source = os.path.join(directory, "trial.raw")
    target = os.path.join(directory, f"{options.replace(',', '-')}.vhd")
    with open(source, "wb") as file:
        file.truncate(TRIAL_SIZE)
        file.write(_HEAD)
        file.seek(-len(_TAIL), os.SEEK_END)
        file.write(_TAIL)
    command = [program, "convert", "-f", "raw", "-O", "vpc", "-o", options, source, target]
    ran = run_program(command, directory)
    if ran.failure is not None:
        return Trial(options, "failed", reason=ran.failure, has_ended=ran.has_ended)
    try:
        with open(target, "rb") as file:
            return _judge(options, file.fileno())
    except FileNotFoundError:
        said = printable(ran.output.strip(), 200)
        reason = "it said that all went well and wrote nothing" + (f": {said}" if said else "")
        return Trial(options, "failed", reason=reason)


def _judge(options: str, fd: int) -> Trial:
    length = os.fstat(fd).st_size
    footer = Footer.parse(os.pread(fd, FOOTER_LENGTH, max(0, length - FOOTER_LENGTH)))
    if footer is None:
        return _wrong(options, f"what it wrote ({length} bytes) does not end with a VHD footer")
    if not footer.is_intact:
        return _wrong(options, "the footer that it wrote has a wrong checksum")
    size = footer.current_size
    if footer.disk_type != DiskType.FIXED:
        return _wrong(options, f"it wrote a VHD of type {footer.disk_type}, not a fixed one")
    if size < TRIAL_SIZE or length != size + FOOTER_LENGTH:
        return _wrong(options, f"the footer says {size} bytes, in a file of {length} bytes")
    head = os.pread(fd, len(_HEAD), 0)
    tail = os.pread(fd, len(_TAIL), TRIAL_SIZE - len(_TAIL))
    if (head, tail) != (_HEAD, _TAIL):
        return _wrong(options, "what it wrote does not hold the disk")
    if size != TRIAL_SIZE:
        return Trial(options, "rounded", size)
    # Every reader takes the largest geometry for "see the size".
    spans_more = size < footer.chs_size < size_of((65535, 16, 255))
    return Trial(options, "exact", size, spans_more=spans_more)


def _wrong(options: str, reason: str) -> Trial:
    return Trial(options, "wrong", reason=reason)
