"""Digests of a virtual disk: equal for every format, and for zeros stored or left out.

`sha256-1m`: the disk is cut into blocks of 1 MiB, the last one shorter. The SHA-256 of each, in
lower-case hexadecimal digits and a newline, then the size of the disk in decimal digits and a
newline, are hashed with SHA-256 once more. A block of zeros costs 65 bytes of hashing, and what is
read is hashed on all threads; docs/hash.md shows how other programs compute the same.

`sha256`: what sha256sum gives for the disk as a raw file; it hashes every zero, one after another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._native import is_zero
from .engine import SCRATCH_BYTES, Turns, run, should_stop
from .errors import ReadError, UsageError
from .files import is_url
from .formats import Notice, OpenOptions, ReadOptions
from .image import Image, open_as
from .monitor import Monitor
from .plan import Segment, blocks
from .streams import Unpacking
from .units import MAX_OFFSET, MIB, check_align, round_up

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "PLAIN",
    "TREE",
    "DiskDigest",
    "Expected",
    "check_digest",
    "digest_line",
    "hash_disk",
    "hash_image",
    "read_digests",
]

TREE = "sha256-1m"
PLAIN = "sha256"
BLOCK = MIB
# What is hashed at once of digests of zeros, or of zeros themselves.
ZERO_LINES = 4096
LINE_LENGTH = 65
ZERO_BYTES = bytes(MIB)
# A file of digests is a list of names that people keep: one that is longer is none.
MAX_DIGEST_FILE = 16 * MIB

_LINE = re.compile(
    rf"(?P<escaped>\\?)(?:{TREE}:(?P<size>[0-9]{{1,19}}):)?(?P<hex>[0-9a-fA-F]{{64}})"
    r" [ *](?P<path>.+)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class DiskDigest:
    """A digest of a disk; sizes in bytes.

    algorithm: "sha256-1m" or "sha256". hex: 64 lower-case digits. size: what was hashed, the disk
    and zeros behind it. read: bytes of the disk that were read for it. notices: warnings about the
    image.
    """

    algorithm: str
    hex: str
    size: int
    virtual_size: int
    read: int
    notices: tuple[Notice, ...] = ()

    @property
    def text(self) -> str:
        """What stands before the name in a line: equal text, equal disks."""
        return self.hex if self.algorithm == PLAIN else f"{self.algorithm}:{self.size}:{self.hex}"


# ---- computing ----------------------------------------------------------------------------------


class _Digest:
    """Takes the disk from its start to its end, pieces of data and the zeros between them.

    `prepare` runs on many threads at once, all else on one at a time, in the order of the disk.
    """

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.at = 0  # bytes of the disk taken so far

    def prepare(self, view: memoryview) -> bytes | memoryview:
        """What is hashed for a piece of the disk."""
        raise NotImplementedError

    def zeros_to(self, end: int) -> None:
        """Zeros up to `end`, or less where the run was stopped."""
        raise NotImplementedError

    def finish(self) -> str:
        return self.hash.hexdigest()


class _Tree(_Digest):
    """sha256-1m. Pieces begin at whole blocks."""

    def __init__(self) -> None:
        super().__init__()
        self._zero_line = _line(ZERO_BYTES)
        self._zero_lines = self._zero_line * ZERO_LINES

    def prepare(self, view: memoryview) -> bytes:
        lines = []
        for start in range(0, len(view), BLOCK):
            block = view[start : start + BLOCK]
            is_whole = len(block) == BLOCK
            lines.append(self._zero_line if is_whole and is_zero(block) else _line(block))
        return b"".join(lines)

    def zeros_to(self, end: int) -> None:
        left = (end - self.at) // BLOCK
        while left and not should_stop():
            count = min(left, ZERO_LINES)
            self.hash.update(self._zero_lines[: count * LINE_LENGTH])
            self.at += count * BLOCK
            left -= count
        if not left and end > self.at:
            self.hash.update(_line(bytes(end - self.at)))
            self.at = end

    def finish(self) -> str:
        self.hash.update(b"%d\n" % self.at)
        return self.hash.hexdigest()


class _Plain(_Digest):
    """sha256 of every byte."""

    def prepare(self, view: memoryview) -> memoryview:
        return view

    def zeros_to(self, end: int) -> None:
        while self.at < end and not should_stop():
            count = min(end - self.at, len(ZERO_BYTES))
            self.hash.update(memoryview(ZERO_BYTES)[:count])
            self.at += count


def _line(block: bytes | memoryview) -> bytes:
    return hashlib.sha256(block).hexdigest().encode() + b"\n"


class _Progress(Monitor):
    """How far the digest is, though zeros are no work of the engine's."""

    def __init__(self, monitor: Monitor | None, digest: _Digest) -> None:
        self._monitor = monitor or Monitor()
        self._digest = digest

    def start(self, what: str, total: int) -> None:
        self._monitor.start(what, total)

    def advance(self, done: int) -> None:
        self._monitor.advance(max(done, self._digest.at))

    def finish(self) -> None:
        self._monitor.finish()


def hash_disk(
    image: Image,
    size: int | None = None,
    *,
    plain: bool = False,
    jobs: int | None = None,
    monitor: Monitor | None = None,
) -> DiskDigest:
    """Hash a disk as if zeros followed it up to `size` bytes; by default none do.

    Raises UsageError where size is below the disk's, and what reading raises.
    """
    end = image.virtual_size if size is None else size
    if end > MAX_OFFSET:
        raise UsageError(f"a size of {end} bytes is beyond 2^63", path=image.path)
    if end < image.virtual_size:
        raise UsageError(
            f"a size of {end} bytes, the disk has {image.virtual_size}", path=image.path
        )
    return _hash(image, end, _Plain() if plain else _Tree(), jobs, monitor)


def _hash(
    image: Image,
    end: int,
    digest: _Digest,
    jobs: int | None,
    monitor: Monitor | None,
) -> DiskDigest:
    turns = Turns()
    read = 0
    # Compressed units are not cut, so that none is decoded twice.
    piece = round_up(max(SCRATCH_BYTES, image.layer.unit_size), BLOCK)

    def work() -> Iterator[Segment | None]:
        yield from blocks(image, piece)
        yield None

    def do(item: tuple[int, Segment | None], scratch: memoryview) -> int:
        nonlocal read
        number, segment = item
        if segment is None:
            if turns.wait(number):
                digest.zeros_to(end)
            return 0
        # Where zeros follow the disk, they end its last block.
        view = scratch[: min(piece, end - segment.offset)]
        image.read_rows(segment.rows, segment.offset, view)
        prepared = digest.prepare(view)
        if not turns.wait(number):
            return 0
        digest.zeros_to(segment.offset)
        digest.hash.update(prepared)
        digest.at = segment.offset + len(view)
        read += segment.stored
        turns.done()
        return 0

    run(
        enumerate(work()), do, what="hashing", total=end, jobs=jobs,
        monitor=_Progress(monitor, digest), scratch_bytes=piece,
    )  # fmt: skip
    algorithm = PLAIN if isinstance(digest, _Plain) else TREE
    return DiskDigest(algorithm, digest.finish(), end, image.virtual_size, read, image.notices)


def hash_image(
    source: str | os.PathLike[str],
    *,
    size: int | None = None,
    align: int | None = None,
    plain: bool = False,
    from_format: str | None = None,
    jobs: int | None = None,
    monitor: Monitor | None = None,
    **reading: Unpack[ReadOptions],
) -> DiskDigest:
    """A digest of the disk in an image, the same for every format (docs/hash.md).

    size: hash as if zeros followed the disk up to there. align: the same up to a multiple of it.
    plain: what sha256sum gives for the disk as a raw file. reading: ReadOptions. Raises UsageError
    where size is below the disk's, and what opening and reading raise.
    """
    how = dataclasses.replace(OpenOptions.of(reading), unpacking=Unpacking(monitor, jobs))
    with open_as(source, from_format, how) as image:
        end = image.virtual_size if size is None else size
        if align is not None:
            check_align(align)
            end = round_up(end, align)
        digest = hash_disk(image, end, plain=plain, jobs=jobs, monitor=monitor)
        image.check_unchanged()
        return digest


# ---- lines of digests ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expected:
    """A line of a file of digests. size: None for sha256, whose lines do not give it."""

    path: str
    algorithm: str
    hex: str
    size: int | None

    @property
    def text(self) -> str:
        return self.hex if self.size is None else f"{self.algorithm}:{self.size}:{self.hex}"


_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_PLAIN = {escape: character for character, escape in _ESCAPES.items()}


def digest_line(digest: DiskDigest, path: str) -> str:
    """A line as sha256sum writes it, which marks names with line breaks and backslashes."""
    if not set(path) & set(_ESCAPES):
        return f"{digest.text}  {path}"
    return f"\\{digest.text}  {''.join(_ESCAPES.get(each, each) for each in path)}"


def read_digests(path: str | os.PathLike[str]) -> list[Expected]:
    """The lines of a file of digests, as `digest_line` and sha256sum write them.

    path: "-" is standard input. Empty lines and those that begin with # do not count. Raises
    ReadError where it cannot be read, UsageError where a line is none, names a URL, or where there
    is none at all.
    """
    try:
        place: int | str | os.PathLike[str] = 0 if path == "-" else path
        with open(
            place, encoding="utf-8", errors="surrogateescape", newline="\n", closefd=place != 0
        ) as file:
            text = file.read(MAX_DIGEST_FILE + 1)
    except OSError as error:
        raise ReadError(f"cannot be read: {error.strerror}", path=path) from error
    if len(text) > MAX_DIGEST_FILE:
        raise UsageError(
            f"more than {MAX_DIGEST_FILE} characters are no list of digests", path=path
        )
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if line and not line.startswith("#"):
            found.append(_parse(line, number, path))
    if not found:
        raise UsageError("there is no digest in this file", path=path)
    return found


def _parse(line: str, number: int, path: str | os.PathLike[str]) -> Expected:
    match = _LINE.fullmatch(line)
    size = None if match is None or match["size"] is None else int(match["size"])
    if match is None or (size is not None and size > MAX_OFFSET):
        raise UsageError(
            f"line {number} is no digest and name",
            path=path,
            hint="give what vhdfast hash or sha256sum printed",
        )
    name = match["path"]
    if match["escaped"]:
        name = re.sub(r"\\(?:\\|n|r)", lambda found: _PLAIN[found[0]], name)
    if is_url(name):
        # A list may be a stranger's: it must not make this machine call others.
        raise UsageError(
            f"line {number} names a URL, which a list may not", path=path, hint="hash it by itself"
        )
    return Expected(name, PLAIN if size is None else TREE, match["hex"].lower(), size)


def check_digest(
    expected: Expected,
    *,
    from_format: str | None = None,
    jobs: int | None = None,
    monitor: Monitor | None = None,
    **reading: Unpack[ReadOptions],
) -> DiskDigest | None:
    """The digest to hold against a line of a list; None where the disk is larger than its size.

    Raises what opening and reading raise.
    """
    how = dataclasses.replace(OpenOptions.of(reading), unpacking=Unpacking(monitor, jobs))
    with open_as(expected.path, from_format, how) as image:
        if expected.size is not None and expected.size < image.virtual_size:
            return None
        plain = expected.size is None
        digest = hash_disk(image, expected.size, plain=plain, jobs=jobs, monitor=monitor)
        image.check_unchanged()
        return digest
