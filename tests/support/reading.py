"""How tests look at images: their maps and notices, as the code under test gives them."""

from __future__ import annotations

from pathlib import Path

from vhdfast import Image, Kind, open_image

__all__ = ["codes", "opened", "the_map"]


def opened(path: Path, format: str | None = None) -> Image:
    """As the image's own tables have it, whatever the file system knows of holes."""
    return open_image(path, format, ask_holes=False)


def the_map(image: Image, max_rows: int = 65536) -> list[tuple[int, int, Kind, int | None]]:
    """(offset, length, kind, file offset) of every row; windows are joined by nobody."""
    return [
        (extent.offset, extent.length, extent.kind, extent.file_offset)
        for window in image.windows(max_rows=max_rows)
        for extent in window
    ]


def codes(image: Image) -> list[str]:
    """The codes of the image's notices, in their order."""
    return [notice.code for notice in image.notices]
