"""One input against one format, and everything that must hold whatever its bytes are.

box = Box(Path("/some/empty/directory"))
outcome = check(box, "vhdx", packed)        raises Broken where a promise is broken
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import json
import os
import stat
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import vhdfast
from vhdfast import codecs, formats
from vhdfast.errors import InternalError, UsageError, VhdfastError
from vhdfast.extents import Kind, concatenate
from vhdfast.streams import STREAMS, Spool

from . import neighbours
from .broken import Broken
from .encoding import DETECT, GUESS, SECOND, SNAPSHOT, Input
from .higher import HIGHER

__all__ = ["Box", "Broken", "Outcome", "check", "targets"]

MAX_SECONDS = float(os.environ.get("VHDFAST_FUZZ_SECONDS", "1"))  # of CPU, for one input
MAX_MEMORY = 256 << 20
MAX_WINDOWS = 12
MAX_SMALL_WINDOWS = 40
PLACES = 6  # that are read
PLACE = 3000  # bytes of each
# A stream takes as long as it is, and may stand for a million times its bytes: the disk's room is
# what bounds that. Here it is small, as are packed files.
STREAM_ROOM = 16 << 20
STREAM_BYTES = 1 << 18

ROOT = Path(__file__).resolve().parents[2]
# What Python itself opens: modules that are imported late, the zone of the clock …
_PYTHON = tuple(
    {sys.base_prefix, sys.prefix, str(ROOT / "vhdfast"), *sysconfig.get_paths().values()}
)
_SYSTEM = ("/proc/self/", "/proc/meminfo", "/proc/cpuinfo", "/sys/", "/dev/null", "/dev/urandom")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork",
              "socket.connect", "socket.bind", "os.remove", "os.rename", "os.rmdir",
              "os.truncate", "os.chmod", "os.chown", "os.link", "os.symlink")  # fmt: skip


def _fill_up(
    self: Spool, offset: int, piece: bytes, *, write: Callable[..., None] = Spool.write
) -> None:
    if offset + len(piece) > STREAM_ROOM:
        raise self._failed(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), offset)
    write(self, offset, piece)


@dataclass
class Outcome:
    """What became of an input. error: the code of its VhdfastError, "" where it was read."""

    error: str
    seconds: float
    peak: int
    rows: int = 0


def targets() -> dict[str, str]:
    """{name: suffix} of all that can be opened: formats, containers, streams, by registration;
    and of what stands on them (`higher`)."""
    kinds: dict[str, Any] = dict(formats.FORMATS)
    for module, table in (("containers", "CONTAINERS"), ("streams", "STREAMS")):
        with contextlib.suppress(ImportError):
            found = getattr(__import__(f"vhdfast.{module}", fromlist=[table]), table)
            kinds |= found if isinstance(found, dict) else {kind.name: kind for kind in found}
    opened = {name: next(iter(kind.suffixes), "") for name, kind in sorted(kinds.items())}
    return opened | {name: target.suffix for name, target in HIGHER.items()}


class Box:
    """A directory of its own, and a watch over what is opened outside of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.temporary = self.folder / "temporary"
        self.temporary.mkdir(exist_ok=True)
        neighbours.write(self.folder)
        self.suffixes = targets()
        self.strays: list[str] = []
        self._watching = False
        self._before = (0, 0)
        sys.addaudithook(self._saw)
        # What is loaded by the first unit must not count as memory of an input.
        codecs.decoder()

    def path(self, name: str) -> Path:
        # Raw disks are detected by their name too; other formats' names say nothing.
        return self.folder / f"disk{self.suffixes.get(name, '')}"

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        self.strays.clear()
        self._watching = True
        try:
            with mock.patch.object(Spool, "write", _fill_up):
                yield
        finally:
            self._watching = False
        if self.strays:
            raise Broken("; ".join(self.strays))

    def _saw(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event in _FORBIDDEN:
            inside = [str(a) for a in arguments if isinstance(a, str | bytes)]
            if event == "os.truncate" and isinstance(arguments[0], int):
                inside = [os.readlink(f"/proc/self/fd/{arguments[0]}")]
            if not inside or not all(self._is_temporary(path) for path in inside):
                self.strays.append(f"{event}{arguments!r}")
        elif event == "open":
            path, mode, flags = arguments
            if isinstance(path, int):
                return
            path = os.fsdecode(path)
            writes = bool(flags & _WRITING) or bool(mode and set(mode) & set("wax+"))
            if not self._may_open(path, writes):
                self.strays.append(f"opened {path!r} with flags {flags:#x}")

    def _is_temporary(self, path: str) -> bool:
        return os.path.abspath(path).startswith(str(self.temporary))

    def _may_open(self, path: str, writes: bool) -> bool:
        # No realpath here: the directory has no links, and this must not open anything itself.
        whole = os.path.abspath(path)
        if self._is_temporary(whole):
            return True
        if writes:
            return False
        return whole.startswith((f"{self.folder}/", *_PYTHON, *_SYSTEM))


def check(box: Box, name: str, packed: bytes) -> Outcome:
    """Open, describe, map and read the input as format `name`. Raises Broken."""
    made = Input.unpack(packed)
    higher = HIGHER.get(name)
    path = box.path(name) if higher is None else box.folder / higher.name(made.flags)
    if name in STREAMS and made.size > STREAM_BYTES:
        return Outcome("too-long", 0, 0)
    try:
        made.write(path)
    except OSError:  # larger than a file may be here
        return Outcome("unwritable", 0, 0)
    before, descriptors = _state(path), _descriptors()
    resident = _reset_peak()
    started, wall = time.process_time(), time.monotonic()
    error = ""
    walk: Any = (higher or functools.partial(_Walk, name=name))(box, path=path, flags=made.flags)
    try:
        with box.watch():
            walk.run()
    except InternalError as problem:
        raise Broken(f"an internal error: {problem}") from problem
    except VhdfastError as problem:
        if isinstance(problem, UsageError):
            raise Broken(f"a usage error: {problem}") from problem
        _check_error(problem)
        error = problem.code
    seconds = time.process_time() - started
    outcome = Outcome(error, seconds, max(0, _peak() - resident), walk.count)
    if seconds > MAX_SECONDS:
        raise Broken(f"{seconds:.2f} s of CPU time, {time.monotonic() - wall:.2f} s in all")
    if outcome.peak > MAX_MEMORY:
        raise Broken(f"{outcome.peak >> 20} MiB of memory")
    del walk
    if _state(path) != before:
        raise Broken("the source is not what it was")
    if _descriptors() != descriptors:
        raise Broken(f"{_descriptors() - descriptors} descriptors were left open")
    left = os.listdir(box.temporary)
    if left:
        for entry in left:
            os.remove(box.temporary / entry)
        raise Broken(f"{left} was left in the temporary directory")
    return outcome


def _check_error(problem: VhdfastError) -> None:
    json.dumps(problem.to_dict())
    if not str(problem).isprintable():
        raise Broken(f"a message that cannot be printed: {str(problem)!r}")
    if problem.offset is not None and not 0 <= problem.offset < 1 << 64:
        raise Broken(f"an error at offset {problem.offset}")


class _Walk:
    """One opening of the input."""

    def __init__(self, box: Box, *, name: str, path: Path, flags: int) -> None:
        self.name: str | None = name if name in formats.FORMATS and not flags & DETECT else None
        self.path = path
        self.options: dict[str, Any] = {"temporary": box.temporary}
        if flags & GUESS:
            self.options["backing_format"] = "auto"
        if flags & SNAPSHOT:
            self.options["snapshot"] = "1"
        if flags & SECOND:
            self.options["disk"] = "2"
        self.count = 0
        self.is_whole = False

    def run(self) -> None:
        image = self._opened()
        if image is None:
            return
        with image:
            info = image.info()
            json.dumps(dataclasses.asdict(info))
            if not 0 <= image.virtual_size < 1 << 63:
                raise Broken(f"a disk of {image.virtual_size} bytes")
            rows, end, problem = _map(image, vhdfast.extents.MAX_ROWS, MAX_WINDOWS)
            self.count = len(rows)
            # Reading looks at whole windows of the map, and so at what is wrong behind a place.
            self.is_whole = problem is None and end == image.virtual_size
            small, small_end, small_problem = _map(image, 3, MAX_SMALL_WINDOWS)
            if self.is_whole and small_problem is not None:
                raise Broken(f"the map in small windows fails, in large ones not: {small_problem}")
            common = min(end, small_end)
            if _normal(rows, common) != _normal(small, common):
                raise Broken(f"two maps of [0, {common}): {_normal(rows, common)[:9]} and "
                             f"{_normal(small, common)[:9]}")  # fmt: skip
            if len(rows):
                self._read_places(image, rows, end)
            for notice in image.notices:
                str(notice)
            image.check_unchanged()
        if problem is not None:
            raise problem

    def _opened(self) -> Any:
        """With all options; some formats have no use for some and say so. A container of several
        disks wants to be told which, and may have nothing that can be told."""
        plain = {"temporary": self.options["temporary"]}
        for options in (self.options, plain, {**plain, "disk": "1"}):
            with contextlib.suppress(UsageError):
                return vhdfast.open_image(self.path, self.name, **options)
        return None

    def _read_places(self, image: Any, rows: Any, end: int) -> None:
        """What pread answers against what the rows say, from plain code of its own."""
        chosen = {0, len(rows) - 1, len(rows) // 2}
        for kind in Kind:
            found = np.flatnonzero(rows["kind"] == kind)
            chosen |= {int(found[i]) for i in (0, len(found) // 2, -1)[: PLACES // 3] if len(found)}
        for index in sorted(chosen):
            row = rows[index]
            start, length = int(row["offset"]), int(row["length"])
            # Into the row before, and out of it into the next.
            for at in {max(0, start - 7), max(start, start + length - PLACE // 2)}:
                self._read_place(image, rows, at, min(PLACE, end - at))

    def _read_place(self, image: Any, rows: Any, at: int, length: int) -> None:
        expected = _bytes(image, rows, at, length)
        try:
            found = image.pread(at, length)
        except VhdfastError as problem:
            good = expected is not None and self.is_whole
            if isinstance(problem, InternalError) or good:
                raise Broken(f"reading {length} bytes at {at}: {problem}") from problem
            return
        # None: plain code does not decode a unit. libdeflate takes streams that RFC 1951 forbids.
        if expected is not None and found != expected:
            raise Broken(f"other bytes than the rows say at {at}, length {length}")


def _map(image: Any, max_rows: int, windows: int) -> tuple[Any, int, VhdfastError | None]:
    """(rows, where they end, what went wrong then)."""
    parts, end = [], 0
    problem = None
    try:
        for _ in range(windows):
            if end >= image.virtual_size:
                break
            window = image.extents(end, None, max_rows)
            if not 0 < len(window.rows) <= max_rows or window.offset != end:
                raise Broken(f"a window of {len(window.rows)} rows at {window.offset}")
            parts.append(window.rows)
            end = window.end
    except InternalError:
        raise
    except VhdfastError as error:
        problem = error
    return concatenate(parts), end, problem


def _normal(rows: Any, end: int) -> list[tuple[int, ...]]:
    """The rows of [0, end) as tuples, with what continues made one: how they were cut is gone."""
    out: list[list[int]] = []
    for row in rows[rows["offset"] < end].tolist():
        offset, length, at, stored, decoded, skip, file, kind, codec = row
        length = min(length, end - offset)
        if kind < Kind.DATA:
            at = file = 0
        if kind != Kind.COMPRESSED:
            stored = decoded = skip = codec = 0
        last = out[-1] if out else None
        if last is not None and last[7:] == [kind, codec] and last[6] == file:
            if kind < Kind.DATA or (kind == Kind.DATA and last[2] + last[1] == at):
                last[1] += length
                continue
            if last[2:5] == [at, stored, decoded] and last[5] + last[1] == skip:
                last[1] += length
                continue
        out.append([offset, length, at, stored, decoded, skip, file, kind, codec])
    return [tuple(row) for row in out]


def _bytes(image: Any, rows: Any, at: int, length: int) -> bytes | None:
    """[at, at + length) by plain reads of the sources; None where a unit does not decode."""
    out = bytearray(length)
    first = max(0, int(np.searchsorted(rows["offset"], np.uint64(at), side="right")) - 1)
    for row in rows[first:]:
        offset = int(row["offset"])
        if offset >= at + length:
            break
        low, high = max(offset, at), min(offset + int(row["length"]), at + length)
        if low >= high or row["kind"] == Kind.ZERO:
            continue
        source = image.layer.sources[int(row["file"])]
        place = int(row["file_offset"])
        if row["kind"] == Kind.DATA:
            part = source.read(place + low - offset, high - low)
        else:
            packed = source.read(place, int(row["stored_length"]))
            unit = codecs.decode(int(row["codec"]), packed, int(row["decoded_length"]))
            if unit is None:
                return None
            skip = int(row["skip"]) + low - offset
            part = unit[skip : skip + high - low]
        if len(part) != high - low:
            raise Broken(f"a row of [{low}, {high}) has only {len(part)} bytes in its source")
        out[low - at : high - at] = part
    return bytes(out)


# ---- what is measured ----------------------------------------------------------------------------


def _state(path: Path) -> tuple[int, ...]:
    status = os.stat(path)
    return (status.st_size, status.st_mtime_ns, status.st_ino, status.st_blocks,
            stat.S_IMODE(status.st_mode))  # fmt: skip


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _reset_peak() -> int:
    """Forget the highest use of memory so far; returns the present one, bytes."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return _status("VmRSS:")


def _peak() -> int:
    return _status("VmHWM:")


def _status(word: str) -> int:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(word):
                return int(line.split()[1]) << 10
    return 0
