"""What verbs print with: text or JSON on stdout, messages and progress on stderr."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

from ..errors import printable
from ..monitor import Monitor
from ..units import format_size

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Console", "make_monitor"]

PLAIN_INTERVAL_S = 30.0
JSON_INTERVAL_S = 1.0
# A bar for less would only flicker, once for each of a thousand small images.
BAR_AFTER_S = 0.5

NARROWEST = 40  # columns: what is narrower is not wrapped for

# Select Graphic Rendition (ECMA-48, 8.3.117) of the styles of report/layout.py.
_RENDITIONS = {
    "bad": "1;31",
    "warn": "1;33",
    "note": "36",
    "good": "32",
    "strong": "1",
    "quiet": "2",
    "command": "1;36",
}


class Console:
    """Where a verb prints. --quiet silences text and warnings, --json text; JSON always comes.

    Lines hold names and texts out of images: nothing of them reaches a terminal that it would obey.
    """

    def __init__(self, is_json: bool, is_quiet: bool, log: str | None) -> None:
        self.is_json = is_json
        self.is_quiet = is_quiet
        self._log: IO[str] | None = open(log, "a", encoding="utf-8") if log else None  # noqa: SIM115

    def text(self, line: str = "") -> None:
        """A line for people: nothing of it where JSON was asked for."""
        line = printable(line, len(line))
        if not self.is_json and not self.is_quiet:
            print(line)
        self._keep(line)

    def styled(self, pieces: Sequence[tuple[str, str]]) -> None:
        """A line of (text, style) for people; styles are colours on a terminal alone."""
        clean = [(printable(text, len(text)), style) for text, style in pieces]
        if not self.is_json and not self.is_quiet:
            print("".join(_rendered(*piece) if self.is_coloured else piece[0] for piece in clean))
        self._keep("".join(text for text, _ in clean))

    @cached_property
    def is_coloured(self) -> bool:
        """Whether styles are shown: NO_COLOR and FORCE_COLOR decide before the terminal does."""
        if os.environ.get("NO_COLOR"):
            return False
        forced = os.environ.get("FORCE_COLOR", "")
        if forced:
            return forced != "0"
        return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    @property
    def width(self) -> int:
        """Columns to wrap for: COLUMNS, or the terminal's, or 80."""
        import shutil  # which would make --version slow

        return max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)

    def error(self, line: str) -> None:
        """An error that does not end the verb, on stderr; --quiet does not silence it."""
        line = printable(line, len(line))
        print(f"vhdfast: error: {line}", file=sys.stderr)
        self._keep(f"error: {line}")

    def warn(self, line: str) -> None:
        """A warning, on stderr."""
        line = printable(line, len(line))
        if not self.is_quiet:
            print(f"vhdfast: warning: {line}", file=sys.stderr)
        self._keep(f"warning: {line}")

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


def _rendered(text: str, style: str) -> str:
    return f"\x1b[{_RENDITIONS[style]}m{text}\x1b[0m" if style and text else text


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
    """A bar with share, amount, rate and time left on a terminal, where the work takes long."""

    def start(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._started = time.monotonic()
        self._progress: Progress | None = None

    def _show(self) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        progress = Progress(
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
        self._task = progress.add_task(self._what, total=max(self._total, 1))
        progress.start()
        self._progress = progress

    def advance(self, done: int) -> None:
        if self._progress is None:
            if time.monotonic() - self._started < BAR_AFTER_S:
                return
            self._show()
        assert self._progress is not None
        self._progress.update(self._task, completed=done)

    def finish(self) -> None:
        if self._progress is not None:
            self._progress.stop()


def make_monitor(choice: str, is_quiet: bool) -> Monitor:
    """The monitor for --progress."""
    if choice == "none" or (choice == "auto" and is_quiet):
        return Monitor()
    if choice == "json":
        return JsonMonitor()
    return BarMonitor() if choice == "auto" and sys.stderr.isatty() else PlainMonitor()
