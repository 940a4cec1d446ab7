"""Running a program and measuring it; samples, and what they come to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CopyError, ReadError, UsageError, printable

__all__ = ["Row", "Sample", "drop_cache", "launch", "read_through", "rotated", "summary"]

LAUNCHER = os.path.join(os.path.dirname(__file__), "launch.py")
# What a program gets to remove its target in, before it is killed.
GRACE_S = 10.0
SAID_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: seconds of wall and of CPU (user and system), bytes of resident memory."""

    engine: str
    round: int
    wall_s: float
    cpu_s: float
    peak_rss: int


@dataclass(frozen=True, slots=True)
class Row:
    """What an engine's samples come to.

    wall_s, cpu_s: medians. peak_rss: the largest. wall_ratio, cpu_ratio: the median over rounds of
    its time divided by the first engine's in the same round; wall_ratios: one for each round.
    """

    wall_s: float
    cpu_s: float
    peak_rss: int
    wall_ratio: float
    cpu_ratio: float
    wall_ratios: tuple[float, ...]


def summary(samples: Sequence[Sample], base: str) -> dict[str, Row]:
    """{engine: Row}: `base`, with which all are compared, then the others as they first ran."""
    ours = {sample.round: sample for sample in samples if sample.engine == base}
    names = sorted({s.engine: None for s in samples}, key=lambda name: name != base)
    found = {}
    for name in names:
        own = [s for s in samples if s.engine == name and s.round in ours]
        if not own:
            continue
        walls = [s.wall_s / ours[s.round].wall_s for s in own]
        cpus = [s.cpu_s / max(ours[s.round].cpu_s, 1e-9) for s in own]
        found[name] = Row(
            round(statistics.median(s.wall_s for s in own), 3),
            round(statistics.median(s.cpu_s for s in own), 3),
            max(s.peak_rss for s in own),
            round(statistics.median(walls), 3),
            round(statistics.median(cpus), 3),
            tuple(round(wall, 3) for wall in walls),
        )
    return found


def rotated(engines: Sequence[Any], number: int) -> list[Any]:
    """The engines in the order of a round: each is the first one in turn."""
    shift = number % len(engines)
    return [*engines[shift:], *engines[:shift]]


def launch(
    name: str,
    argv: Sequence[str],
    *,
    sync: str | None = None,
    number: int = 0,
    limit_s: float | None = None,
    answers: Iterable[int] = (0,),
) -> tuple[Sample | None, int]:
    """Run a program: (what it took, its exit status); (None, -1) where it took above limit_s.

    sync: a file that is synced behind it, counted as its own work. answers: exit statuses that are
    none of failure. Raises UsageError where the program cannot be run, CopyError where it fails.
    Whatever ends the call, the program has ended.
    """
    order = json.dumps({"argv": list(argv), "sync": sync}).encode()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", LAUNCHER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True,
        )  # fmt: skip
        try:
            out, _ = process.communicate(order, timeout=limit_s)
        except subprocess.TimeoutExpired:
            return None, -1
        finally:
            _end(process)
        tail = _tail(said.fileno())
    try:
        found = json.loads(out)
    except ValueError:
        raise CopyError(f"{name} was ended from outside{tail}") from None
    if "error" in found:
        raise UsageError(f"{argv[0]} cannot be run: {found['error']}")
    status = os.waitstatus_to_exitcode(found["status"])
    if status not in answers:
        how = f"status {status}" if status >= 0 else f"signal {-status}"
        raise CopyError(f"{name} ended with {how}{tail}")
    return Sample(name, number, found["wall_s"], found["cpu_s"], found["peak_rss"]), status


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the launcher and what it started, gently first: then no target is left behind."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _tail(fd: int) -> str:
    size = os.fstat(fd).st_size
    text = os.pread(fd, SAID_BYTES, max(0, size - SAID_BYTES)).decode(errors="replace").strip()
    return f": {printable(text.splitlines()[-1])}" if text else ""


# ---- the page cache -----------------------------------------------------------------------------


def drop_cache(path: str) -> None:
    """Take a file out of the page cache; what of it is not on disk yet is written first."""
    with _reading(path) as fd:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def read_through(path: str) -> None:
    """Bring a file into the page cache, as far as it is stored and fits."""
    with _reading(path) as fd:
        buffer = memoryview(bytearray(1 << 20))
        at, size = 0, os.fstat(fd).st_size
        while at < size:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
                end = os.lseek(fd, at, os.SEEK_HOLE)
            except OSError:  # holes up to the end
                return
            while at < end:
                count = os.preadv(fd, [buffer[: min(len(buffer), end - at)]], at)
                if not count:
                    return
                at += count


@contextlib.contextmanager
def _reading(path: str) -> Any:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise ReadError(f"it cannot be opened: {error.strerror}", path=path) from error
    try:
        yield fd
    finally:
        os.close(fd)
