"""What many images came to together: a table with the worst first."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator

from ..checks import CheckedImage, Outcome, Severity
from ..errors import VhdfastError
from .layout import Line, counted, pad
from .text import outcome_of, style_of, weights

__all__ = ["Summary"]

MAX_ROWS = 100

# The worst last; the words are those of the verdict.
_KINDS = ("no known obstacle", "not judged", "warning", "obstacle", "not read")
_WORDS = {
    "not read": "could not be read",
    "obstacle": "with an obstacle",
    "warning": "with warnings",
    "not judged": "not judged",
    "no known obstacle": "without a known obstacle",
}


class Summary:
    """Counts all images and remembers the worst, so that memory does not grow with their number."""

    def __init__(self, strict: bool, max_rows: int = MAX_ROWS) -> None:
        self._strict = strict
        self._max_rows = max_rows
        self._kinds: Counter[str] = Counter()
        # (rank, minus its place in the order, kind, counts, path): the mildest first.
        self._worst: list[tuple[tuple[int, ...], int, str, str, str]] = []

    @property
    def total(self) -> int:
        return self._kinds.total()

    def image(self, image: CheckedImage) -> None:
        kind = outcome_of(image, self._strict)
        rank = (
            _KINDS.index(kind),
            len(image.obstacles),
            len(image.undecided),
            len(image.of(Outcome.FAIL, Severity.WARNING)),
            len(image.of(Outcome.FAIL, Severity.NOTE)),
        )
        self._add(rank, kind, ", ".join(weights(image)), image.path)

    def error(self, path: str, error: VhdfastError) -> None:
        self._add((_KINDS.index("not read"),), "not read", error.code, path)

    def _add(self, rank: tuple[int, ...], kind: str, counts: str, path: str) -> None:
        entry = (rank, -self.total, kind, counts, path)
        self._kinds[kind] += 1
        if len(self._worst) < self._max_rows:
            heapq.heappush(self._worst, entry)
        else:
            heapq.heappushpop(self._worst, entry)

    def lines(self) -> Iterator[Line]:
        """The counts, and a row for each of the worst: verdict, counts, path."""
        found = [f"{self._kinds[kind]} {_WORDS[kind]}" for kind in _WORDS if self._kinds[kind]]
        yield [(f"{counted(self.total, 'image')}: {', '.join(found)}", "strong")]
        rows = sorted(self._worst, reverse=True)
        kind_width = max((len(kind) for _, _, kind, _, _ in rows), default=0)
        count_width = max((len(counts) for _, _, _, counts, _ in rows), default=0)
        for _, _, kind, counts, path in rows:
            middle = f"  {pad(counts, count_width)}" if count_width else ""
            yield [("  ", ""), (pad(kind, kind_width), style_of(kind)), (f"{middle}  {path}", "")]
        if self.total > len(rows):
            yield [(f"  and {self.total - len(rows)} more, none of them worse", "quiet")]
