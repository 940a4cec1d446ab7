"""What qemu-img prints of an image, in the form of LIKE_VERSION."""

from __future__ import annotations

import json
import math
from typing import Any

from .options import Words
from .real import HandOver

__all__ = ["human_size", "output_form", "plain_text", "print_json"]

_UNITS = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def human_size(size: int) -> str:
    """Three digits and a unit, which changes at 1000 of the smaller one: "1.21 MiB", "0.98 GiB"."""
    power = (math.frexp(size / (1000 / 1024))[1] - 1) // 10 if size else 0
    return f"{size / (1 << 10 * power):.3g} {_UNITS[power]}B"


def output_form(words: Words) -> str:
    """ "human" or "json", by --output."""
    return words.check_each("--output", ("human", "json")) or "human"


def plain_text(path: str) -> str:
    """A name that is printed as it is by both; others are escaped by rules of their own."""
    if not (path.isascii() and path.isprintable()) or "'" in path:
        raise HandOver(f"the name {path!r} would be printed otherwise")
    return path


def print_json(document: Any) -> None:
    print(json.dumps(document, indent=4))
