"""What a version of qemu-img should do to the size of a fixed VHD, going by its number.

Distributions carry changes back: what it really does is for a trial to say (`qemu_img`). Sources:
the history of qemu's block/vpc.c (1.1: fixed VHDs; 2.2.1 and 2.3.0: sizes rounded to whole
cylinders; 2.6.0: force_size), Launchpad bug 1490611.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Version", "parse_version"]

_VERSION = re.compile(
    r"qemu-img version (\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?([^\s,()]*)"
    r"[ \t]*(?:\(([^()\n]{1,200})\))?"
)


@dataclass(frozen=True, slots=True)
class Version:
    """A version of qemu-img; `package` is what a distribution adds to it."""

    number: tuple[int, int, int]
    suffix: str = ""  # "-rc1"
    package: str | None = None

    def __str__(self) -> str:
        text = ".".join(map(str, self.number)) + self.suffix
        return text if self.package is None else f"{text} ({self.package})"

    @property
    def writes_exact_sizes(self) -> bool:
        """Whether `subformat=fixed` alone should keep a size."""
        return self.number <= (2, 2, 0)

    @property
    def has_force_size(self) -> bool:
        return self.number >= (2, 6, 0)


def parse_version(output: str) -> Version | None:
    """The version in what `qemu-img --version` (or a help text of old ones) prints."""
    match = _VERSION.search(output)
    if match is None:
        return None
    major, minor, micro, suffix, package = match.groups()
    return Version((int(major), int(minor), int(micro or 0)), suffix, package)
