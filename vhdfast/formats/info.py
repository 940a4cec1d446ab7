"""What an image says of itself, and what is noticed of it on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ImageInfo", "Notice", "Notify"]

Notify = Callable[[str, str, int | None], None]  # ImageFormat.notice: (code, message, offset)


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning about an image that is readable all the same.

    code: a stable word. message: what was found and what was done about it. As text both, the code
    in brackets: `vhdfast explain` takes it.
    """

    code: str
    message: str
    path: str | None = None
    offset: int | None = None

    def __str__(self) -> str:
        where = "" if self.offset is None else f" (at offset {self.offset:#x})"
        return f"{self.message}{where} [{self.code}]"


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the headers of an image say; JSON-able (docs/json.md)."""

    format: str
    subformat: str
    path: str
    virtual_size: int
    file_size: int  # of the compressed file, where it is one
    sector_size: int = 512
    block_size: int | None = None
    creator: str | None = None
    geometry: tuple[int, int, int] | None = None  # cylinders, heads, sectors per track
    identifiers: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None  # the image below this one; Image.info fills in both
    chain: tuple[str, ...] = ()  # all images below this one, the nearest first
    details: Mapping[str, Any] = field(default_factory=dict)  # in the format's own words
    notices: tuple[Notice, ...] = ()
    stream: str | None = None  # "xz" …, where the file is compressed
