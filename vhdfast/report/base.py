"""What every report for programs is: a subclass of Report, registered by existing.

docs/hacking/adding-a-report.md walks through one.
"""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ..checks import Check, CheckedImage, Selection
    from ..errors import VhdfastError

__all__ = ["REPORTS", "Report", "Rows", "Run"]

KEPT_IN_MEMORY = 1 << 20  # bytes of what is written later


@dataclass(frozen=True, slots=True)
class Run:
    """What holds for all images of a run."""

    checks: Sequence[type[Check]]
    selection: Selection
    strict: bool
    started: datetime  # with a time zone


class Report(ABC):
    """Written image by image, so that memory does not grow with their number.

    `begin` once, `image` and `error` in the order of the images, `end` once. What is written is
    whole only after `end`; `close` comes last, with or without it.
    """

    name: ClassVar[str]  # what --report takes; the module is form_<name>.py
    # What the first 512 bytes of this form always hold: only a file that has it is replaced.
    marker: ClassVar[bytes]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name in REPORTS:
            raise TypeError(f"two reports call themselves {cls.name!r}")
        REPORTS[cls.name] = cls

    def __init__(self, out: IO[bytes], run: Run) -> None:
        self.out = out
        self.run = run

    def write(self, text: str) -> None:
        self.out.write(text.encode("utf-8"))

    @abstractmethod
    def begin(self) -> None:
        """What stands before the first image."""

    @abstractmethod
    def image(self, image: CheckedImage) -> None:
        """One image that was checked."""

    @abstractmethod
    def error(self, path: str, error: VhdfastError) -> None:
        """One that could not be; path is fit to be shown."""

    @abstractmethod
    def end(self, exit_code: int) -> None:
        """What stands behind the last one. exit_code: of the run, as far as its images decide."""

    def close(self) -> None:  # noqa: B027 - few reports keep something aside
        """Release what was kept aside."""


REPORTS: dict[str, type[Report]] = {}


class Rows:
    """The elements of a JSON array that are written later; many of them wait on disk."""

    def __init__(self, indent: int) -> None:
        self._indent = " " * indent
        self._file = tempfile.SpooledTemporaryFile(KEPT_IN_MEMORY)  # noqa: SIM115
        self.count = 0

    def add(self, value: Any) -> None:
        text = row(value, self._indent, self.count == 0)
        self._file.write(text.encode("utf-8"))
        self.count += 1

    def write_to(self, out: IO[bytes]) -> None:
        """The elements; brackets are the caller's."""
        self._file.seek(0)
        while chunk := self._file.read(KEPT_IN_MEMORY):
            out.write(chunk)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Rows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()


def row(value: Any, indent: str, is_first: bool) -> str:
    """An element of a JSON array on lines of its own, after a comma unless it is the first."""
    text = json.dumps(value, indent=2).replace("\n", f"\n{indent}")
    return f"{'' if is_first else ','}\n{indent}{text}"
