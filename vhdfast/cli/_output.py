"""What verbs print with: text or JSON on stdout, messages and progress on stderr."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import IO, Any

from ..errors import printable
from ..monitor import Monitor
from ..units import format_size

__all__ = ["Console", "make_monitor"]

PLAIN_INTERVAL_S = 30.0
JSON_INTERVAL_S = 1.0


class Console:
    """Where a verb prints. --quiet silences text and warnings, --json text; JSON always comes.

    Lines hold names that strangers chose: nothing in them moves a cursor, or cannot be encoded.
    """

    def __init__(self, is_json: bool, is_quiet: bool, is_verbose: bool, log: str | None) -> None:
        self.is_json = is_json
        self.is_quiet = is_quiet
        self.is_verbose = is_verbose
        self._log: IO[str] | None = open(log, "a", encoding="utf-8") if log else None  # noqa: SIM115

    def text(self, line: str = "") -> None:
        """A line for people: nothing of it where JSON was asked for."""
        line = _clean(line)
        if not self.is_json and not self.is_quiet:
            print(line)
        self._keep(line)

    def detail(self, line: str) -> None:
        """A line for --verbose, on stderr."""
        line = _clean(line)
        if self.is_verbose:
            print(line, file=sys.stderr)
        self._keep(line)

    def warn(self, line: str) -> None:
        """A warning, on stderr."""
        line = _clean(line)
        if not self.is_quiet:
            print(f"vhdfast: warning: {line}", file=sys.stderr)
        self._keep(f"warning: {line}")

    def error(self, line: str) -> None:
        line = _clean(line)
        print(f"vhdfast: {line}", file=sys.stderr)
        self._keep(line)

    def json(self, kind: str, value: Mapping[str, Any]) -> None:
        """The one JSON document of a verb, where it was asked for."""
        if self.is_json:
            document = {"schema": f"vhdfast.{kind}/1", **value}
            print(json.dumps(document, default=_plain, indent=2))

    def _keep(self, line: str) -> None:
        if self._log is not None:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            self._log.write(f"{stamp} {line}\n")
            self._log.flush()

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


def _clean(line: str) -> str:
    return printable(line, len(line))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def columns(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of "name: value" with the values below each other."""
    rows = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in rows), default=0) + 1
    return [f"{name + ':':<{width}} {value}" for name, value in rows]


# ---- progress -----------------------------------------------------------------------------------


class PlainMonitor(Monitor):
    """A line every 30 seconds, for logs."""

    def start(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._started = self._shown = time.monotonic()

    def advance(self, done: int) -> None:
        now = time.monotonic()
        if now - self._shown < PLAIN_INTERVAL_S:
            return
        self._shown = now
        rate = done / max(now - self._started, 1e-9)
        share = done / self._total if self._total else 1.0
        left = (self._total - done) / rate if rate else 0.0
        print(
            f"{self._what}: {share:.0%}, {format_size(done)} of {format_size(self._total)}, "
            f"{format_size(rate)}/s, {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )


class JsonMonitor(Monitor):
    """A JSON line a second, and one at the end of each phase."""

    def start(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._started = time.monotonic()
        self._shown = 0.0
        self.advance(0)

    def advance(self, done: int) -> None:
        self._done = done
        if time.monotonic() - self._shown >= JSON_INTERVAL_S:
            self._print(False)

    def _print(self, is_over: bool) -> None:
        self._shown = time.monotonic()
        line = {
            "schema": "vhdfast.progress/1",
            "phase": self._what,
            "done": self._done,
            "total": self._total,
            "seconds": round(self._shown - self._started, 3),
            "finished": is_over,
        }
        print(json.dumps(line), file=sys.stderr, flush=True)

    def finish(self) -> None:
        self._print(True)


class BarMonitor(Monitor):
    """A bar with share, amount, rate and time left on a terminal."""

    def start(self, what: str, total: int) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=RichConsole(stderr=True),
            transient=True,
            refresh_per_second=4,
        )
        self._progress.start()
        self._task = self._progress.add_task(what, total=max(total, 1))

    def advance(self, done: int) -> None:
        self._progress.update(self._task, completed=done)

    def finish(self) -> None:
        self._progress.stop()


def make_monitor(choice: str, is_quiet: bool) -> Monitor:
    """The monitor for --progress."""
    if choice == "none" or (choice == "auto" and is_quiet):
        return Monitor()
    if choice == "json":
        return JsonMonitor()
    return BarMonitor() if choice == "auto" and sys.stderr.isatty() else PlainMonitor()
