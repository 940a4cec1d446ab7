"""Text that must fit: how wide it is at most in a font that nobody knows yet."""

from __future__ import annotations

import unicodedata

from ..errors import printable

__all__ = ["clean", "fitted", "width"]

# Ems, of DejaVu Sans, the widest of the usual sans-serif fonts.
_WIDTHS = {
    **dict.fromkeys("ijl.,:;'|!I ", 0.34),
    **dict.fromkeys("ft()[]r-/", 0.42),
    **dict.fromkeys("mwMW@%", 0.98),
}


def clean(text: str, limit: int = 200) -> str:
    """A name out of an image on one line: what cannot be printed becomes '?'."""
    return printable(text, limit)


def width(text: str, size: float, bold: bool = False) -> float:
    """Pixels that the text takes at most, or nearly so."""
    units = 0.0
    for character in text:
        if unicodedata.east_asian_width(character) in "WF":
            units += 1.0
        else:
            units += _WIDTHS.get(character, 0.72 if character.isupper() else 0.64)
    return units * size * (1.12 if bold else 1.0)


def fitted(text: str, size: float, room: float, bold: bool = False) -> str:
    """The text, cut with an ellipsis where it is wider than the room; "" where nothing fits."""
    if width(text, size, bold) <= room:
        return text
    while text and width(text + "…", size, bold) > room:
        text = text[:-1]
    return text.rstrip() + "…" if text else ""
