"""Where everything of the picture of a disk goes, in pixels, whatever draws it.

The disk is a grid of 64 cells a row, each an equal slice, read like a text. Below each row runs a
ribbon in the colours of the partitions that lie there; the bar above has them at the scale of the
whole disk, the list below has all of them by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..extents import Kind
from ..guest.partitions import Partition, PartitionTable
from ..units import format_bytes, format_size
from .plot_shares import KINDS, Shares
from .plot_text import clean, fitted, width

__all__ = ["COLOURS", "Item", "Layout", "Rect", "Text", "cell_colour", "lay_out"]

COLUMNS = 64
LEFT, RIGHT, TOP, BOTTOM = 96, 32, 24, 28
PITCH = 14  # of cells; one pixel of it is the gap
RIBBON = 3
BAR = 30
WIDTH = LEFT + COLUMNS * PITCH - 1 + RIGHT
GRID = COLUMNS * PITCH - 1
MAX_LISTED = 192
MAX_DRAWN = 512  # partitions; a hostile table may have thousands, each as large as the disk

INK, GREY, FAINT, PAPER, WARN = "#1f2328", "#59636e", "#d1d9e0", "#ffffff", "#9a3412"
FREE = "#eef1f4"
# Blue, orange and a light grey differ in brightness too, for eyes that see no colours (Okabe, Ito).
COLOURS = {Kind.DATA: "#0072b2", Kind.COMPRESSED: "#e69f00", Kind.ZERO: "#e6e9ed"}
NAMES = {Kind.DATA: "data", Kind.COMPRESSED: "compressed data", Kind.ZERO: "zeros, not stored"}
# Light, told apart by the colour-blind, and black text on them can be read (Tol's light scheme).
PARTITIONS = ("#ee8866", "#eedd88", "#44bb99", "#ffaabb", "#bbcc33", "#99ddff", "#77aadd")
# A cell that holds anything shows it.
LEAST_TINT = 0.18


@dataclass(frozen=True, slots=True)
class Rect:
    """A filled rectangle; tip: text for whoever points at it."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    tip: str = ""
    group: str = ""  # "cell", "partition"


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text; y is its baseline."""

    x: float
    y: float
    text: str
    size: float = 12
    fill: str = INK
    anchor: str = "start"  # "middle", "end"
    bold: bool = False


Item = Rect | Text


@dataclass(slots=True)
class Layout:
    """What to draw, in this order, on white."""

    title: str
    width: int = WIDTH
    height: int = 0
    items: list[Item] = field(default_factory=list)


def lay_out(
    name: str, what: str, disk_size: int, shares: Shares, table: PartitionTable | None
) -> Layout:
    """The picture of a disk.

    name: of its file. what: its format. shares: of the part that is shown. table: its partitions.
    """
    return _Painter(clean(name), clean(what), disk_size, shares, table).paint()


class _Painter:
    def __init__(
        self, name: str, what: str, disk_size: int, shares: Shares, table: PartitionTable | None
    ) -> None:
        self.shares, self.table, self.disk_size, self.what = shares, table, disk_size, what
        self.layout = Layout(name)
        self.start, self.end = shares.offset, shares.offset + shares.length
        everything = () if table is None else table.partitions
        self.listed = [one for one in everything if not one.is_extended]
        self.colours = {
            one.number: PARTITIONS[index % len(PARTITIONS)] for index, one in enumerate(self.listed)
        }
        shown = [one for one in self.listed if one.offset < self.end and one.end > self.start]
        # The smallest last: none of them is hidden behind its neighbour.
        self.shown = sorted(shown[:MAX_DRAWN], key=lambda one: -one.length)

    def paint(self) -> Layout:
        y = self._head(TOP)
        y = self._legend(y)
        y = self._bar(y)
        y = self._grid(y)
        y = self._list(y)
        self.layout.height = int(y + BOTTOM)
        return self.layout

    def _rect(
        self, x: float, y: float, w: float, h: float, fill: str, tip: str = "", group: str = ""
    ) -> None:
        self.layout.items.append(Rect(x, y, w, h, fill, tip, group))

    def _text(
        self, x: float, y: float, text: str, size: float = 12, fill: str = INK,
        anchor: str = "start", bold: bool = False,
    ) -> None:  # fmt: skip
        if text:
            self.layout.items.append(Text(x, y, text, size, fill, anchor, bold))

    # ---- above the grid -------------------------------------------------------------------------

    def _head(self, y: float) -> float:
        self._text(LEFT, y + 20, fitted(self.layout.title, 20, GRID, True), 20, INK, "start", True)
        parts = [self.what, format_bytes(self.disk_size)]
        if self.shares.length != self.disk_size:
            parts.append(f"shown from {format_size(self.start)} to {format_size(self.end)}")
        parts.append(f"a cell is {format_size(self.shares.cell)}")
        self._text(LEFT, y + 44, fitted("  ·  ".join(parts), 13, GRID), 13, GREY)
        return y + 62

    def _legend(self, y: float) -> float:
        x: float = LEFT
        for kind, total in self.shares.totals.items():
            if not total and kind == Kind.COMPRESSED:
                continue
            self._rect(x, y, 13, 13, COLOURS[kind])
            text = f"{NAMES[kind]}: {format_size(total)}, {_percent(total, self.shares.length)}"
            self._text(x + 20, y + 11, text, 12)
            x += 20 + width(text, 12) + 20
        self._ramp(y)
        return y + 34

    def _ramp(self, y: float) -> None:
        """How dark a cell is that holds data in a part of it."""
        right = LEFT + GRID
        totals = self.shares.totals
        is_packed = totals[Kind.COMPRESSED] > totals[Kind.DATA]
        self._text(right, y + 11, "all of a cell", 12, GREY, "end")
        x = right - width("all of a cell", 12) - 4 * PITCH - 8
        for step, part in enumerate((1, 33, 66, 100)):
            kinds = [0, part, 100 - part] if is_packed else [part, 0, 100 - part]
            colour = cell_colour(kinds, 100)
            self._rect(x + step * PITCH, y, PITCH - 1, PITCH - 1, colour)
        self._text(x - 9, y + 11, "a little", 12, GREY, "end")

    def _bar(self, y: float) -> float:
        self._rect(LEFT, y, GRID, BAR, FREE)
        if self.table is None:
            self._text(LEFT + 10, y + 20, "no partition table", 12, GREY)
        labelled: list[tuple[float, float]] = []
        for one in self.shown:
            low, high = self._x(one.offset), self._x(one.end)
            # A hair between neighbours; the smallest are still seen.
            room = max(high - low - 1, 1.5)
            low = min(low, LEFT + GRID - room)
            self._rect(low, y, room, BAR, self._colour(one), self._tip(one), "partition")
            texts = (_label(one), clean(one.name) or one.type_name or "", str(one.number))
            text = next((text for text in texts if text and width(text, 12) + 8 <= room), "")
            # Partitions of a damaged table lie on top of each other; labels must not.
            if all(low + room <= left or right <= low for left, right in labelled):
                self._text(low + room / 2, y + 20, text, 12, INK, "middle")
                labelled.append((low, low + room))
        y += BAR
        step = 1 << (-(-self.shares.length // 8) - 1).bit_length()
        ends = format_size(self.end)
        at = -(-self.start // step) * step
        while at < self.end:
            x = self._x(at)
            if x + width(_place(at), 11) / 2 < LEFT + GRID - width(ends, 11) - 14:
                self._tick(x, y, _place(at), "middle" if x > LEFT + 20 else "start")
            at += step
        self._tick(LEFT + GRID, y, ends, "end")
        return y + 42

    def _tick(self, x: float, y: float, text: str, anchor: str) -> None:
        self._rect(x - (1 if anchor == "end" else 0), y, 1, 5, GREY)
        self._text(x, y + 18, text, 11, GREY, anchor)

    # ---- the grid -------------------------------------------------------------------------------

    def _grid(self, y: float) -> float:
        shares = self.shares
        has_ribbon = bool(self.shown)
        pitch = PITCH + (RIBBON + 3 if has_ribbon else 0)
        lengths = shares.lengths.tolist()
        counts = shares.bytes.T.tolist()
        rows = -(-shares.count // COLUMNS)
        every = 4 if rows > 8 else 1
        for index, (length, kinds) in enumerate(zip(lengths, counts, strict=True)):
            row, column = divmod(index, COLUMNS)
            top = y + row * pitch
            start = shares.offset + index * shares.cell
            if not column and row % every == 0:
                self._text(LEFT - 10, top + 11, _place(start), 11, GREY, "end")
            self._rect(
                LEFT + column * PITCH, top, PITCH - 1, PITCH - 1, cell_colour(kinds, length),
                _cell_tip(start, length, kinds), "cell",
            )  # fmt: skip
        if has_ribbon:
            self._ribbons(y + PITCH, pitch, rows)
        return y + rows * pitch + 12

    def _ribbons(self, y: float, pitch: float, rows: int) -> None:
        span = COLUMNS * self.shares.cell
        for one in self.shown:
            first = max(0, (one.offset - self.start) // span)
            last = min(rows - 1, (one.end - 1 - self.start) // span)
            for row in range(first, last + 1):
                base = self.start + row * span
                low = max(one.offset, base) - base
                high = min(one.end, base + span, self.end) - base
                x = low * (GRID + 1) / span
                room = max((high - low) * (GRID + 1) / span - 1, 1.5)
                left = LEFT + min(x, GRID - room)
                self._rect(left, y + row * pitch, room, RIBBON, self._colour(one), self._tip(one))

    # ---- below ----------------------------------------------------------------------------------

    def _list(self, y: float) -> float:
        table = self.table
        if table is None:
            return y - 12
        count = len(self.listed)
        kind = {"gpt": "GPT", "mbr": "MBR"}.get(table.scheme, table.scheme)
        word = "partition" if count == 1 else "partitions"
        self._text(LEFT, y + 14, f"{kind}, {count or 'no'} {word}", 13, INK, "start", True)
        y += 32
        listed = self.listed[:MAX_LISTED]
        columns = 1 if count <= 4 else 2 if count <= 16 else 3
        rows = -(-len(listed) // columns)
        room = (GRID + 1 - 28 * (columns - 1)) / columns
        for index, one in enumerate(listed):
            column, row = divmod(index, rows)
            self._entry(one, LEFT + column * (room + 28), y + row * 19, room)
        y += rows * 19
        if count > len(listed):
            self._text(LEFT, y + 11, f"and {count - len(listed)} more", 12, GREY)
            y += 19
        for problem in table.problems[:3]:
            self._text(LEFT, y + 15, fitted(clean(problem.message), 12, GRID), 12, WARN)
            y += 19
        if len(table.problems) > 3:
            more = f"and {len(table.problems) - 3} more problems with the table"
            self._text(LEFT, y + 15, more, 12, WARN)
            y += 19
        return y

    def _entry(self, one: Partition, x: float, y: float, room: float) -> None:
        self._rect(x, y, 13, 13, self._colour(one), self._tip(one))
        self._text(x + 43, y + 11, str(one.number), 12, INK, "end")
        figures = f"{format_size(one.length)} at {_place(one.offset)}"
        space = room - 52 - width(figures, 12) - 14
        self._text(x + 52, y + 11, fitted(_label(one), 12, space), 12)
        self._text(x + room, y + 11, figures, 12, GREY, "end")

    def _x(self, offset: int) -> float:
        """Where the bar has an offset of the disk."""
        inside = min(max(offset, self.start), self.end) - self.start
        return LEFT + inside * GRID / self.shares.length

    def _colour(self, one: Partition) -> str:
        return self.colours[one.number]

    def _tip(self, one: Partition) -> str:
        return (
            f"partition {one.number}: {_label(one)}\n{format_size(one.length)} at "
            f"{_place(one.offset)} ({one.offset})"
        )


def _label(one: Partition) -> str:
    """A partition for people: its name and its type, where it has both."""
    kind = one.type_name or one.type
    name = clean(one.name)
    return f"{name} ({kind})" if name and name != kind else kind


def _place(offset: int) -> str:
    return format_size(offset) if offset else "0"


def cell_colour(kinds: list[int], length: int) -> str:
    """The colour of a cell with so many bytes of each of KINDS: from grey to what it holds."""
    stored = [(count, COLOURS[kind]) for count, kind in zip(kinds, KINDS, strict=True)][:2]
    total = sum(count for count, _ in stored)
    if not total:
        return COLOURS[Kind.ZERO]
    tint = LEAST_TINT + (1 - LEAST_TINT) * total / length
    mixed = [
        sum(count * part for (count, _), part in zip(stored, parts, strict=True)) / total
        for parts in zip(*(_parts(colour) for _, colour in stored), strict=True)
    ]
    base = _parts(COLOURS[Kind.ZERO])
    return "#" + "".join(
        f"{round(low + (high - low) * tint):02x}" for low, high in zip(base, mixed, strict=True)
    )


def _parts(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def _cell_tip(start: int, length: int, kinds: list[int]) -> str:
    return f"{_place(start)} to {format_size(start + length)}\n" + "\n".join(_shares(kinds))


def _shares(kinds: list[int]) -> Iterator[str]:
    total = sum(kinds)
    for kind, count in zip(KINDS, kinds, strict=True):
        if count:
            yield f"{NAMES[kind]}: {format_size(count)}, {_percent(count, total)}"


def _percent(part: int, whole: int) -> str:
    """Never 0 % of what there is, nor 100 % where something is missing."""
    if part in (0, whole):
        return "100 %" if part else "0 %"
    value = 100 * part / whole
    return f"{min(max(value, 0.1), 99.9):.1f} %"
