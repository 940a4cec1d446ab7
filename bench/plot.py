#!/usr/bin/env python3
"""The pictures of docs/pictures that show records: ratios, growth, fragmentation.

    python bench/plot.py [--machine NAME] [--folder DIR]

Drawn from bench/record/<machine>/ alone. A picture without a record is not drawn.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import recording
from table import PAGES, machine_of, size

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
Record = dict[str, Any]

FONTS = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
INK, GREY, FAINT, PAPER = "#1f2328", "#59636e", "#d1d9e0", "#ffffff"
# Told apart by the colour-blind (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# Engines and how their lines are drawn; the others are in the tables.
ENGINES = {
    "vhdfast": ("vhdfast", ""),
    "qemu-img": ("qemu-img", "6 4"),
    "qemu-img-m16": ("qemu-img -m 16 -W", "2 3"),
    "qemu-img-direct": ("qemu-img -m 16 -W -t none", "9 3 2 3"),
}
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 860, 150, 24, 64, 48
ROW = 26
AXIS = 70  # where the lines of a series begin


def number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


class Picture:
    """An SVG that grows element by element; pixels, the origin at the upper left."""

    def __init__(self, title: str, height: int, below: str, left: float = LEFT) -> None:
        self.title, self.height = title, height
        self.parts: list[str] = []
        self.text(left, 26, title, size=15, bold=True)
        self.text(left, 44, below, size=11, fill=GREY)

    def text(
        self, x: float, y: float, words: str, size: float = 12, fill: str = INK,
        anchor: str = "start", bold: bool = False,
    ) -> None:  # fmt: skip
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{number(x)}" y="{number(y)}" font-size="{number(size)}" fill="{fill}" '
            f'text-anchor="{anchor}"{weight}>{escape(words)}</text>'
        )

    def line(
        self, points: Iterable[tuple[float, float]], stroke: str, width: float = 1, dash: str = ""
    ) -> None:
        place = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<polyline points="{place}" fill="none" stroke="{stroke}" '
            f'stroke-width="{number(width)}"{dashes}/>'
        )

    def rect(self, x: float, y: float, width: float, height: float, fill: str, tip: str) -> None:
        self.parts.append(
            f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" '
            f'height="{number(height)}" fill="{fill}"><title>{escape(tip)}</title></rect>'
        )

    def dot(self, x: float, y: float, fill: str, tip: str) -> None:
        self.parts.append(
            f'<circle cx="{number(x)}" cy="{number(y)}" r="4" fill="{fill}">'
            f"<title>{escape(tip)}</title></circle>"
        )

    def svg(self) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{self.height}" '
            f'viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label={quoteattr(self.title)} '
            f"font-family={quoteattr(FONTS)}>"
        )
        paper = f'<rect width="{WIDTH}" height="{self.height}" fill="{PAPER}"/>'
        return "\n".join([head, paper, *self.parts, "</svg>\n"])


class Scale:
    """A logarithmic axis: values from low to high to pixels from start to end."""

    def __init__(self, values: Iterable[float], start: float, end: float, base: int) -> None:
        logs = [math.log(value, base) for value in values]
        self.base, self.start, self.end = base, start, end
        self.low = math.floor(min(logs) + 1e-9)
        self.high = max(math.ceil(max(logs) - 1e-9), self.low + 1)

    def __call__(self, value: float) -> float:
        share = (math.log(value, self.base) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        step = max(1, (self.high - self.low + 9) // 10)
        return [float(self.base) ** power for power in range(self.low, self.high + 1, step)]


def caption(records: list[Record]) -> str:
    host = records[0]["machine"]
    return f"{host['cpu']}, {host['cpus']} CPUs, {host['file_system']}; medians"


# ---- ratios -------------------------------------------------------------------------------------


def ratios(records: list[Record]) -> Picture | None:
    """For each format a bar for each qemu-img: its time divided by that of vhdfast."""
    own = [r for r in records if r["case"]["group"] == "formats" and r["cache"] == "warm"]
    own = [r for r in own if len(r["summary"]) > 1]
    if not own:
        return None
    names = [name for name in ENGINES if name != "vhdfast"]
    found = [row["wall_ratio"] for r in own for e, row in r["summary"].items() if e in names]
    rows = sum(len([e for e in names if e in r["summary"]]) for r in own)
    height = TOP + rows * ROW // 2 + len(own) * 14 + BOTTOM + 30
    picture = Picture("Time of qemu-img divided by that of vhdfast", height, caption(own))
    scale = Scale([1, *found], LEFT, WIDTH - RIGHT - 40, 2)
    bottom = height - BOTTOM - 18
    for tick in scale.ticks():
        is_one = tick == 1
        picture.line([(scale(tick), TOP - 8), (scale(tick), bottom)], INK if is_one else FAINT)
        picture.text(scale(tick), bottom + 16, number(tick), 11, GREY, "middle")
    y = float(TOP)
    for record in own:
        present = [e for e in names if e in record["summary"]]
        middle = y + len(present) * ROW / 4 + 3
        picture.text(LEFT - 10, middle, record["case"]["name"], anchor="end")
        for engine in present:
            ratio = record["summary"][engine]["wall_ratio"]
            one, end = scale(1), scale(ratio)
            tip = f"{record['case']['name']}, {ENGINES[engine][0]}: {ratio:.2f}"
            colour = COLOURS[names.index(engine)]
            picture.rect(min(one, end), y, max(abs(end - one), 1), ROW / 2 - 3, colour, tip)
            picture.text(max(one, end) + 4, y + 9, f"{ratio:.2f}", 10, GREY)
            y += ROW / 2
        y += 14
    legend(picture, [(ENGINES[e][0], COLOURS[i], "") for i, e in enumerate(names)])
    return picture


# ---- series -------------------------------------------------------------------------------------


def series(
    group: str, title: str, axis: str, label: Callable[[int], str]
) -> Callable[[list[Record]], Picture | None]:
    """Time over x, a line for each format and engine."""

    def draw(records: list[Record]) -> Picture | None:
        own = [r for r in records if r["case"]["group"] == group and r["cache"] == "warm"]
        if not own:
            return None
        formats = list(dict.fromkeys(r["case"]["format"] for r in own))
        lines: dict[tuple[str, str], list[tuple[int, float]]] = {}
        for record in sorted(own, key=lambda r: r["case"]["x"]):
            for engine, row in record["summary"].items():
                if engine in ENGINES:
                    key = (record["case"]["format"], engine)
                    lines.setdefault(key, []).append((record["case"]["x"], row["wall_s"]))
        picture = Picture(title, 460, caption(own), AXIS)
        points = [point for line in lines.values() for point in line]
        bottom = 460 - BOTTOM - 44
        across = Scale([x for x, _ in points], AXIS, WIDTH - RIGHT - 20, 2)
        up = Scale([max(y, 1e-3) for _, y in points], bottom, TOP, 10)
        for tick in up.ticks():
            picture.line([(AXIS, up(tick)), (WIDTH - RIGHT - 20, up(tick))], FAINT)
            picture.text(AXIS - 8, up(tick) + 4, f"{number(tick)} s", 11, GREY, "end")
        for x in sorted({x for x, _ in points}):
            picture.line([(across(x), bottom), (across(x), bottom + 4)], GREY)
            picture.text(across(x), bottom + 18, label(x), 11, GREY, "middle")
        picture.text(WIDTH - RIGHT - 20, bottom + 34, axis, 11, GREY, "end")
        for (name, engine), line in lines.items():
            colour = COLOURS[formats.index(name) % len(COLOURS)]
            words, dash = ENGINES[engine]
            places = [(across(x), up(max(y, 1e-3))) for x, y in line]
            picture.line(places, colour, 2 if engine == "vhdfast" else 1.3, dash)
            for (x, y), place in zip(line, places, strict=True):
                picture.dot(*place, colour, f"{name}, {words}, {label(x)}: {y:.2f} s")
        keys = [(name, COLOURS[i % len(COLOURS)], "") for i, name in enumerate(formats)]
        seen = [engine for engine in ENGINES if any(e == engine for _, e in lines)]
        legend(picture, [*keys, *((*ENGINES[e][:1], INK, ENGINES[e][1]) for e in seen)], AXIS)
        return picture

    return draw


def legend(picture: Picture, keys: list[tuple[str, str, str]], left: float = LEFT) -> None:
    x, y = left, picture.height - 14
    for words, colour, dash in keys:
        picture.line([(x, y - 4), (x + 26, y - 4)], colour, 3 if not dash else 1.5, dash)
        picture.text(x + 32, y, words, 11)
        x += 48 + 6.2 * len(words)


PLOTS: dict[str, Callable[[list[Record]], Picture | None]] = {
    "ratios": ratios,
    "growth": series("growth", "512 MiB of data on ever larger disks", "virtual size", size),
    "fragmentation": series(
        "fragmentation", "1 GiB of data in ever more pieces", "pieces", lambda x: f"{x}"
    ),
}


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="pictures from the records")
    parser.add_argument("--machine", metavar="NAME", help="a folder of the records")
    parser.add_argument("--records", type=Path, default=recording.RECORDS, metavar="DIR")
    parser.add_argument("--folder", type=Path, default=PICTURES, metavar="DIR")
    args = parser.parse_args(words)
    machine = args.machine or machine_of(PAGES[-1].read_text())
    records = recording.read(args.records / machine)
    for name, draw in PLOTS.items():
        picture = draw(records)
        if picture is None:
            print(f"{name}: no record")
            continue
        path = args.folder / f"{name}.svg"
        path.write_text(picture.svg())
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
