"""The picture as PNG, at twice its size in pixels."""

from __future__ import annotations

import functools
import io
from typing import Any

from ..errors import UsageError
from .plot_layout import PAPER, Layout, Rect, Text

__all__ = ["SCALE", "draw", "find_pillow"]

SCALE = 2
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def find_pillow() -> None:
    """Raises UsageError where Pillow is not installed."""
    try:
        import PIL.ImageFont  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "a PNG needs Pillow, which is not installed",
            hint="pip install 'vhdfast[plot]', or write an .svg or .html",
        ) from error


def draw(layout: Layout) -> bytes:
    """Raises UsageError where Pillow is not installed."""
    find_pillow()
    from PIL import Image, ImageDraw, ImageFont

    @functools.cache
    def font(size: float) -> Any:
        return ImageFont.load_default(size * SCALE)

    image = Image.new("RGB", (layout.width * SCALE, layout.height * SCALE), PAPER)
    canvas = ImageDraw.Draw(image)
    for item in layout.items:
        if isinstance(item, Rect):
            left, top = round(item.x * SCALE), round(item.y * SCALE)
            right = max(left + 1, round((item.x + item.width) * SCALE))
            bottom = max(top + 1, round((item.y + item.height) * SCALE))
            canvas.rectangle((left, top, right - 1, bottom - 1), fill=item.fill)
        else:
            _text(canvas, item, font(item.size))
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _text(canvas: Any, item: Text, font: Any) -> None:
    canvas.text(
        (item.x * SCALE, item.y * SCALE), item.text, fill=item.fill, font=font,
        anchor=_ANCHORS[item.anchor], stroke_width=int(item.bold),
    )  # fmt: skip
