"""The picture as a page that needs nothing else: the SVG in it, with tips that follow the mouse."""

from __future__ import annotations

from html import escape

from . import plot_svg
from .plot_layout import Layout

__all__ = ["draw"]

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%(title)s</title>
<style>
  body { margin: 0; background: #fff; }
  svg { display: block; margin: 0 auto; max-width: 100%%; height: auto; }
  [data-tip]:hover { stroke: #1f2328; stroke-width: 1.5; }
  #tip { position: fixed; display: none; padding: 6px 9px; border-radius: 4px;
         background: #1f2328; color: #fff; font: 12px/1.5 system-ui, sans-serif;
         white-space: pre; pointer-events: none; }
</style>
</head>
<body>
%(svg)s
<div id="tip" role="tooltip"></div>
<script>
  const tip = document.getElementById("tip");
  document.addEventListener("pointermove", (event) => {
    const text = event.target.getAttribute && event.target.getAttribute("data-tip");
    tip.style.display = text ? "block" : "none";
    if (!text) return;
    tip.textContent = text;
    const right = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 6);
    const below = event.clientY + 18 + tip.offsetHeight > innerHeight;
    tip.style.left = Math.max(6, right) + "px";
    tip.style.top = (below ? event.clientY - tip.offsetHeight - 8 : event.clientY + 18) + "px";
  });
</script>
</body>
</html>
"""


def draw(layout: Layout) -> bytes:
    svg = plot_svg.element(layout, "data")
    return (_PAGE % {"title": escape(f"Map of {layout.title}"), "svg": svg}).encode()
