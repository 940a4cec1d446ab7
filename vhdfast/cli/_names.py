"""Names on a command line: of images, from stdin in the place of "-", and of targets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import IO

from ..errors import UsageError
from ._output import Console

__all__ = ["read_names", "warn_of_suffix"]

CHUNK = 64 * 1024
LONGEST = 64 * 1024  # bytes of a name: more than any system's path, or a signed URL, has


def read_names(words: Sequence[str], is_null: bool) -> Iterator[str]:
    """The names one by one, as they come: what writes to stdin may still be at work.

    is_null: names on stdin end in a NUL, otherwise in a line feed. Raises UsageError for what no
    name can be.
    """
    for word in words:
        if word == "-":
            yield from split_names(sys.stdin.buffer, b"\0" if is_null else b"\n")
        else:
            yield word


def split_names(file: IO[bytes], end: bytes) -> Iterator[str]:
    """What stands between the ends; empty names are left out."""
    rest = b""
    # read1 answers with what is there: read would wait for a whole chunk.
    while chunk := file.read1(CHUNK):  # type: ignore[attr-defined]
        *whole, rest = (rest + chunk).split(end)
        for name in whole:
            if name:
                yield _name(name)
        if len(rest) > LONGEST:
            _name(rest)
    if rest:
        yield _name(rest)


def _name(name: bytes) -> str:
    if len(name) > LONGEST:
        raise UsageError(
            f"a name on stdin has more than {LONGEST} bytes",
            hint="--null takes names that end in a NUL; without it they are lines",
        )
    if b"\0" in name:
        raise UsageError("a name on stdin holds a NUL", hint="say --null, as for find -print0")
    return os.fsdecode(name)


def warn_of_suffix(target: str, to: str, console: Console) -> None:
    """Where a target is called like a format that it will not be: --to chooses, not the name."""
    from ..formats import FORMATS
    from ..outputs import OUTPUTS

    suffix = os.path.splitext(target)[1].lower()
    means = [kind for kind in FORMATS.values() if suffix in kind.suffixes]
    if means and not any(OUTPUTS[to].suffix in kind.suffixes for kind in means):
        console.warn(f"{target}: what is written is a {to}, though the name says {means[0].name}")
