"""Progress as qemu-img prints it: "    (12.34/100%)" and a carriage return.

Programs read it so (oVirt's among them). Without -p, SIGUSR1 asks for one line of it.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType

from ..monitor import Monitor

__all__ = ["QemuProgress"]


class QemuProgress(Monitor):
    """A context: entering prints the first line where `enabled`, leaving it the last line feed.

    skip: per cent that must pass between two lines.
    """

    def __init__(self, enabled: bool, skip: float) -> None:
        self._enabled = enabled
        self._skip = skip
        self._total = 0
        self._now = 0.0
        self._shown = 0.0

    def __enter__(self) -> QemuProgress:
        self._before = signal.signal(signal.SIGUSR1, self._asked)
        self._print(0.0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGUSR1, self._before)
        if self._enabled:
            sys.stdout.write("\n")
            sys.stdout.flush()

    def start(self, what: str, total: int) -> None:
        self._total = total

    def advance(self, done: int) -> None:
        if self._total:
            self._now = min(100.0, 100 * done / self._total)
            if self._now > self._shown + self._skip:
                self._print(self._now)

    def done(self) -> None:
        """All of it: 100 per cent, whatever was counted."""
        self._print(100.0)

    def _print(self, share: float) -> None:
        self._now = self._shown = share
        if self._enabled:
            sys.stdout.write(f"    ({share:3.2f}/100%)\r")
            sys.stdout.flush()

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if not self._enabled:
            print(f"    ({self._now:3.2f}/100%)", file=sys.stderr, flush=True)
