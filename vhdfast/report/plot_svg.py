"""The picture as SVG: text stays text, every cell tells its range to whoever points at it."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from .plot_layout import PAPER, Item, Layout, Rect

__all__ = ["draw"]

FONTS = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


def draw(layout: Layout) -> bytes:
    return ('<?xml version="1.0" encoding="UTF-8"?>\n' + element(layout, "title") + "\n").encode()


def element(layout: Layout, tips: str) -> str:
    """The svg element. tips: "title" as SVG has them, "data" as attributes for a page's script."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{layout.width}" height="{layout.height}" '
        f'viewBox="0 0 {layout.width} {layout.height}" role="img" '
        f"aria-label={quoteattr(f'Map of {layout.title}')} font-family={quoteattr(FONTS)}>"
    )
    paper = f'<rect width="{layout.width}" height="{layout.height}" fill="{PAPER}"/>'
    items = (_item(item, tips) for item in layout.items)
    return "\n".join([head, paper, *items, "</svg>"])


def _item(item: Item, tips: str) -> str:
    if isinstance(item, Rect):
        place = f'x="{_n(item.x)}" y="{_n(item.y)}" width="{_n(item.width)}"'
        rect = f'<rect {place} height="{_n(item.height)}" fill="{item.fill}"'
        if item.group:
            rect += f' class="{item.group}"'
        if not item.tip:
            return rect + "/>"
        if tips == "title":
            return f"{rect}><title>{escape(item.tip)}</title></rect>"
        return f"{rect} data-tip={quoteattr(item.tip)}/>"
    anchor = "" if item.anchor == "start" else f' text-anchor="{item.anchor}"'
    weight = ' font-weight="600"' if item.bold else ""
    return (
        f'<text x="{_n(item.x)}" y="{_n(item.y)}" font-size="{_n(item.size)}" '
        f'fill="{item.fill}"{anchor}{weight} xml:space="preserve">{escape(item.text)}</text>'
    )


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
