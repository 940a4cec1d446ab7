"""Lines for a terminal: pieces of text with a style each, wrapped by the columns they take."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Literal

__all__ = ["Line", "Style", "columns_of", "counted", "hanging", "pad"]

Style = Literal["", "bad", "warn", "note", "good", "strong", "quiet", "command"]
Line = list[tuple[str, Style]]


def hanging(indent: str, text: str, width: int, style: Style = "", by: int = 0) -> Iterator[Line]:
    """Text behind an indent, wrapped at spaces; lines after the first hang `by` columns deeper.

    A word that is longer than a line stays whole, so that a path can be copied.
    """
    start, line = indent, ""
    for word in text.replace("\n", " ").split(" "):
        longer = f"{line} {word}" if line else word
        if line.strip() and columns_of(start) + columns_of(longer) > width:
            yield [(start + line, style)]
            start, line = indent + " " * by, word
        else:
            line = longer
    yield [(start + line, style)]


def columns_of(text: str) -> int:
    """Columns that a text takes: wide characters take two, those that combine none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def pad(text: str, width: int) -> str:
    """A text, filled up with spaces to so many columns."""
    return text + " " * (width - columns_of(text))


def counted(count: int, word: str) -> str:
    """A count with its noun: 1 note, 2 notes."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
