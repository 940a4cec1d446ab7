"""Running a program that may be broken: for so long at most, and reading so much at most."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import printable

__all__ = ["Ran", "run_program"]

TIMEOUT_S = 30.0
TICK_S = 0.01
MAX_OUTPUT = 64 << 10


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended.

    status: its exit status, None where it did not end by itself. failure: why it is of no use ("it
    did not end within 30 s"), None where it ended with 0. output: of both streams, its beginning.
    """

    status: int | None
    output: str
    failure: str | None

    @property
    def has_ended(self) -> bool:
        return self.status is not None


def run_program(command: Sequence[str], directory: str | None = None) -> Ran:
    """Run a program without input; it and all that it started are ended after TIMEOUT_S."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return Ran(None, "", f"it cannot be run: {reason}")
    try:
        deadline = time.monotonic() + TIMEOUT_S
        output, is_over = _read(process, deadline)
        is_over = is_over and _ends(process.pid, deadline)
    finally:
        # Before it is waited for: as long as it is not, no other group can have its number.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if not is_over:
        return Ran(None, output, f"it did not end within {TIMEOUT_S:g} s")
    if status < 0:
        return Ran(status, output, f"it was ended by signal {-status}")
    if status:
        said = _last_line(output)
        return Ran(status, output, f"it ended with status {status}" + (f": {said}" if said else ""))
    return Ran(status, output, None)


def _read(process: subprocess.Popen[bytes], deadline: float) -> tuple[str, bool]:
    """(what it printed, whether it closed its output in time); what is too much is not kept."""
    assert process.stdout is not None
    kept = bytearray()
    is_over = False
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        while not is_over and (left := deadline - time.monotonic()) > 0:
            if ready.select(left):
                part = os.read(process.stdout.fileno(), MAX_OUTPUT)
                kept += part[: MAX_OUTPUT - len(kept)]
                is_over = not part
    return kept.decode("utf-8", "replace"), is_over


def _ends(pid: int, deadline: float) -> bool:
    """Whether a process ends in time; it is left to be waited for."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while os.waitid(os.P_PID, pid, flags) is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(TICK_S)
    return True


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return printable(lines[-1], 200) if lines else ""
