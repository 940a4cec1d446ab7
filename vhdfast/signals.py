"""Signals that ask a program to stop, as an exception that cleans everything up."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["Interrupted", "signals"]


class Interrupted(BaseException):
    """A signal asked to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP all raise Interrupted, so that everything is cleaned up."""

    kept: dict[int, Any] = {}

    def stop(number: int, frame: FrameType | None) -> None:
        # Cleaning up takes no longer than a segment; a second Ctrl-C must not cut it short.
        for other in kept:
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup's wish to live on is respected; threads other than the main one cannot listen.
        with contextlib.suppress(ValueError):
            if signal.getsignal(number) is not signal.SIG_IGN:
                kept[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for listened, handler in kept.items():
            signal.signal(listened, handler)
