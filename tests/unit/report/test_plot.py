"""The picture of a disk: where things are in it, that it is well-formed, and what it never does."""

from __future__ import annotations

import io
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support import GIB, MIB, pattern
from tests.support.build_gpt import Gpt
from vhdfast.errors import TargetExistsError, UsageError
from vhdfast.extents import ExtentMap, Kind, make_rows
from vhdfast.guest.partitions import Partition, PartitionTable, Problem
from vhdfast.report import plot_html, plot_png, plot_svg
from vhdfast.report.plot import check_target
from vhdfast.report.plot_layout import Layout, Rect, Text, cell_colour, lay_out
from vhdfast.report.plot_shares import Shares
from vhdfast.report.plot_text import fitted, width

SVG = "{http://www.w3.org/2000/svg}"
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
BLUE, ORANGE, GREY = "#0072b2", "#e69f00", "#e6e9ed"
HOSTILE = "</title><script>alert(1)</script>\"'&\x00\x1b[2J\u202e\ud800"


def shares_of(size: int, *data: tuple[int, int, Kind]) -> Shares:
    """A disk of zeros but for these ranges."""
    rows, at = [], 0
    for offset, length, kind in data:
        if at < offset:
            rows.append((at, offset - at, Kind.ZERO))
        rows.append((offset, length, kind))
        at = offset + length
    if at < size:
        rows.append((at, size - at, Kind.ZERO))
    shares = Shares(0, size)
    offsets, lengths, kinds = zip(*rows, strict=True)
    shares.add(ExtentMap(0, size, make_rows(offsets, lengths, kinds)))
    return shares


def part(number: int, offset: int, length: int, name: str = "") -> Partition:
    return Partition(number, offset, length, LINUX, name, "", 0, False)


def table_of(size: int, *parts: Partition, problems: int = 0) -> PartitionTable:
    wrong = tuple(Problem("overlap", f"problem {n}") for n in range(problems))
    return PartitionTable("gpt", 512, size, "", parts, problems=wrong)


def rects(layout: Layout, group: str) -> list[Rect]:
    return [item for item in layout.items if isinstance(item, Rect) and item.group == group]


def texts(layout: Layout) -> list[Text]:
    return [item for item in layout.items if isinstance(item, Text)]


def words(layout: Layout) -> list[str]:
    return [text.text for text in texts(layout)]


@pytest.fixture
def simple() -> Layout:
    """A disk of 2 GiB (cells of 1 MiB): data in cells 0, 64 and half of 65, packed in 66."""
    shares = shares_of(
        2 * GIB,
        (0, MIB, Kind.DATA),
        (64 * MIB, MIB + MIB // 2, Kind.DATA),
        (66 * MIB, MIB, Kind.COMPRESSED),
    )
    table = table_of(2 * GIB, part(1, 0, GIB, "one"), part(2, GIB, GIB, "two"))
    return lay_out("disk.qcow2", "qcow2, v3", 2 * GIB, shares, table)


# ---- where things are ---------------------------------------------------------------------------


def test_cells_lie_in_rows_of_64(simple: Layout) -> None:
    cells = rects(simple, "cell")
    assert len(cells) == 2048
    assert {cell.x for cell in cells} == {96 + 14 * n for n in range(64)}
    assert len({cell.y for cell in cells}) == 32
    assert cells[64].x == cells[0].x and cells[64].y == cells[0].y + 20
    assert {(cell.width, cell.height) for cell in cells} == {(13, 13)}


def test_colours_say_what_a_cell_holds(simple: Layout) -> None:
    cells = rects(simple, "cell")
    coloured = {n: cell.fill for n, cell in enumerate(cells) if cell.fill != GREY}
    assert sorted(coloured) == [0, 64, 65, 66]
    assert (coloured[0], coloured[64], coloured[66]) == (BLUE, BLUE, ORANGE)
    assert coloured[65] == "#5ea3ca", "59 percent of the way from grey to blue"


def test_tips_tell_ranges_and_shares(simple: Layout) -> None:
    cells = rects(simple, "cell")
    assert cells[0].tip == "0 to 1 MiB\ndata: 1 MiB, 100 %"
    assert cells[65].tip == (
        "65 MiB to 66 MiB\ndata: 512 KiB, 50.0 %\nzeros, not stored: 512 KiB, 50.0 %"
    )


def test_the_bar_is_to_scale(simple: Layout) -> None:
    one, two = sorted(rects(simple, "partition"), key=lambda rect: rect.x)
    assert (one.x, round(one.x + one.width + 1, 1)) == (96, round(two.x, 1))
    assert two.x + two.width + 1 == 96 + 895
    assert two.tip == "partition 2: two (Linux file system)\n1 GiB at 1 GiB (1073741824)"


def test_texts_of_the_picture(simple: Layout) -> None:
    assert words(simple)[:2] == [
        "disk.qcow2", "qcow2, v3  ·  2 GiB (2147483648 bytes)  ·  a cell is 1 MiB",
    ]  # fmt: skip
    for expected in (
        "data: 2.50 MiB, 0.1 %", "compressed data: 1 MiB, 0.1 %", "GPT, 2 partitions",
        "one (Linux file system)", "1 GiB at 0", "256 MiB", "1.75 GiB",
    ):  # fmt: skip
        assert expected in words(simple), expected


def test_a_cell_with_one_byte_of_data_shows_it() -> None:
    assert cell_colour([0, 0, 1 << 40], 1 << 40) == GREY
    assert cell_colour([1, 0, (1 << 40) - 1], 1 << 40) == "#bdd4e2"
    assert cell_colour([512, 512, 0], 1024) == "#738859", "blue and orange mixed"


def test_a_part_of_a_disk() -> None:
    shares = Shares(GIB, GIB)
    shares.add(ExtentMap(GIB, GIB, make_rows([GIB], [GIB], [Kind.ZERO])))
    table = table_of(4 * GIB, part(1, 0, GIB), part(2, GIB, 3 * GIB), part(3, 3 * GIB, GIB))
    layout = lay_out("d", "raw, file", 4 * GIB, shares, table)
    (shown,) = rects(layout, "partition")
    assert shown.tip.startswith("partition 2") and shown.x == 96 and shown.width == 894
    assert "GPT, 3 partitions" in words(layout), "the list has all of them"
    assert any("shown from 1 GiB to 2 GiB" in text for text in words(layout))


def test_an_extended_partition_is_not_drawn_over_those_in_it() -> None:
    extended = Partition(2, 0, GIB, "0x05", "", "", 0, False)
    logical = Partition(5, MIB, MIB, "0x83", "", "", 0, False)
    table = PartitionTable("mbr", 512, GIB, "", (extended, logical))
    layout = lay_out("d", "raw, file", GIB, shares_of(GIB), table)
    assert len(rects(layout, "partition")) == 1
    assert "MBR, 1 partition" in words(layout)


def overlaps(layout: Layout) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes touch."""
    boxes = []
    for text in texts(layout):
        wide = width(text.text, text.size, text.bold)
        left = text.x - {"start": 0, "middle": wide / 2, "end": wide}[text.anchor]
        boxes.append((left, text.y - text.size * 0.8, left + wide, text.y + 2, text.text))
    found = []
    for index, (left, top, right, bottom, text) in enumerate(boxes):
        for other in boxes[index + 1 :]:
            if left < other[2] and other[0] < right and top < other[3] and other[1] < bottom:
                found.append((text, other[4]))
    return found


def picture_of(case: str) -> Layout:
    tib = 1 << 40
    size = {"small": MIB, "huge": 64 * tib, "one sector": 512}.get(case, 127 * GIB)
    parts: tuple[Partition, ...] = ()
    if case == "128 partitions":
        parts = tuple(
            part(n, n * GIB - GIB // 2, GIB // 3, "long name " * 4) for n in range(1, 129)
        )
    elif case == "tiny partitions":
        parts = tuple(part(n, n * MIB, MIB, "x") for n in range(1, 129))
    elif case == "huge":
        parts = (part(1, MIB, MIB), part(2, 2 * MIB, 60 * tib, "数据" * 18))
    elif case == "hostile":
        parts = tuple(part(n, 0, 1 << 75, HOSTILE) for n in range(1, 3000))
    data = shares_of(size, (0, min(size, 300 * MIB), Kind.DATA))
    table = None if case == "no table" else table_of(size, *parts, problems=9 if parts else 0)
    return lay_out("a long name " * 20 + case, "vhdx, dynamic", size, data, table)


CASES = (
    "small", "huge", "one sector", "empty table", "no table", "128 partitions",
    "tiny partitions", "hostile",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_nothing_overlaps_or_leaves_the_picture(case: str) -> None:
    layout = picture_of(case)
    assert overlaps(layout) == []
    for item in layout.items:
        if isinstance(item, Rect):
            assert 0 <= item.x < item.x + item.width <= layout.width
            assert 0 <= item.y < item.y + item.height <= layout.height
        else:
            wide = width(item.text, item.size, item.bold)
            left = item.x - {"start": 0, "middle": wide / 2, "end": wide}[item.anchor]
            assert left >= 0 and left + wide <= layout.width, item.text
            assert 0 < item.y < layout.height
    assert len(layout.items) < 25_000


@pytest.mark.parametrize("case", CASES)
def test_every_drawer_draws_it(case: str) -> None:
    layout = picture_of(case)
    root = ElementTree.fromstring(plot_svg.draw(layout))
    assert root.tag == f"{SVG}svg"
    assert len(root.findall(f"{SVG}rect[@class='cell']")) == len(rects(layout, "cell"))
    assert [text.text for text in root.findall(f"{SVG}text")] == words(layout)
    assert plot_html.draw(layout).startswith(b"<!doctype html>")


def test_small_partitions_are_not_hidden() -> None:
    """The largest are drawn first, and none is thinner than a line."""
    layout = picture_of("tiny partitions")
    assert len(rects(layout, "partition")) == 128
    assert all(rect.width >= 1.5 for rect in rects(layout, "partition"))
    huge = rects(picture_of("huge"), "partition")
    assert [rect.tip.split(":")[0] for rect in huge] == ["partition 2", "partition 1"]


def test_problems_are_told_a_few_of_them() -> None:
    said = words(picture_of("tiny partitions"))
    assert said[-4:] == [
        "problem 0", "problem 1", "problem 2", "and 6 more problems with the table",
    ]  # fmt: skip


# ---- the drawers --------------------------------------------------------------------------------


class Tags(HTMLParser):
    """The elements of a page, and all that its script may read."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.tips: list[str | None] = []
        self.links: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        if "data-tip" in given:
            self.tips.append(given["data-tip"])
        self.links += [(k, v) for k, v in attrs if k in ("src", "href", "style") or k[:2] == "on"]


def test_names_out_of_an_image_are_text_and_nothing_else() -> None:
    table = table_of(GIB, part(1, MIB, GIB // 2, HOSTILE), part(2, GIB // 2, MIB, "]]>" + HOSTILE))
    layout = lay_out(HOSTILE, HOSTILE, GIB, shares_of(GIB), table)
    root = ElementTree.fromstring(plot_svg.draw(layout))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {
        "svg", "rect", "text", "title",
    }  # fmt: skip
    shown = "".join(root.itertext())
    assert "<script>alert(1)</script>" in shown
    assert not re.search("[\x00\x1b\u202e\ud800]", shown)
    page = plot_html.draw(layout).decode()
    tags = Tags()
    tags.feed(page)
    assert tags.tags.count("script") == 1 and tags.tags.count("title") == 1
    assert tags.links == []
    assert any(tip and "</title><script>" in tip for tip in tags.tips)
    plot_png.draw(layout)


def test_a_page_needs_nothing_else(simple: Layout) -> None:
    page = plot_html.draw(simple).decode()
    tags = Tags()
    tags.feed(page)
    assert tags.links == []
    assert set(re.findall(r"https?://[^\"'\s]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in page
    assert tags.tips.count("0 to 1 MiB\ndata: 1 MiB, 100 %") == 1
    assert "url(" not in page and "@import" not in page


def test_text_in_svg_can_be_selected(simple: Layout) -> None:
    root = ElementTree.fromstring(plot_svg.draw(simple))
    assert "disk.qcow2" in [element.text for element in root.findall(f"{SVG}text")]
    assert root.get("aria-label") == "Map of disk.qcow2"


def test_pixels_of_a_png(simple: Layout) -> None:
    from PIL import Image

    image = Image.open(io.BytesIO(plot_png.draw(simple)))
    image.load()
    assert image.format == "PNG"
    assert image.size == (2 * simple.width, 2 * simple.height)
    cells = rects(simple, "cell")

    def centre(rect: Rect) -> str:
        place = (int(2 * rect.x + rect.width), int(2 * rect.y + rect.height))
        return "#{:02x}{:02x}{:02x}".format(*image.getpixel(place)[:3])

    expected = [BLUE, GREY, BLUE, ORANGE, GREY]
    assert [centre(cells[n]) for n in (0, 1, 64, 66, 2047)] == expected
    gap = (2 * int(cells[0].x) + 27, 2 * int(cells[0].y) + 5)
    assert image.getpixel(gap) == (255, 255, 255)
    assert image.getpixel((1, 1)) == (255, 255, 255)


def test_a_png_without_pillow(monkeypatch: pytest.MonkeyPatch, simple: Layout) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.ImageFont", raising=False)
    with pytest.raises(UsageError) as caught:
        check_target("disk.png", False)
    assert "vhdfast[plot]" in str(caught.value)
    with pytest.raises(UsageError):
        plot_png.draw(simple)
    check_target("disk.svg", False)


def test_text_is_cut_where_it_does_not_fit() -> None:
    assert fitted("short", 12, 100) == "short"
    cut = fitted("a text that is far too long", 12, 100)
    assert cut.endswith("…") and width(cut, 12) <= 100 and cut[:5] == "a tex"
    assert fitted("x", 12, 3) == ""
    assert width("系統", 10) == 20


# ---- the command line ---------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    made = Gpt(sectors=8192)
    made.add(1, 2048, 4095, '<b>&"root"')
    image = made.build()
    image.put(MIB, pattern(1, 64 * 1024))
    return image.write(tmp_path / "disk.raw")


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".svg", b"<?xml"), (".html", b"<!doc"), (".PNG", b"\x89PNG")]
)
def test_map_draws(suffix: str, magic: bytes, vhdfast_cli: Run, disk: Path, tmp_path: Path) -> None:
    done = vhdfast_cli("map", "--plot", f"out{suffix}", "disk.raw")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"picture: out{suffix}"
    assert (tmp_path / f"out{suffix}").read_bytes().startswith(magic)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk.raw", f"out{suffix}"]


def test_map_draws_and_prints_json(vhdfast_cli: Run, disk: Path, tmp_path: Path) -> None:
    drawn = vhdfast_cli("map", "--json", "--plot", "out.svg", "disk.raw")
    assert json.loads(drawn.stdout) == json.loads(vhdfast_cli("map", "--json", "disk.raw").stdout)
    root = ElementTree.fromstring((tmp_path / "out.svg").read_bytes())
    assert '<b>&"root" (Linux file system)' in [t.text for t in root.findall(f"{SVG}text")]


def test_an_existing_file_is_replaced_only_when_asked(
    vhdfast_cli: Run, disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "out.svg").write_text("precious")
    done = vhdfast_cli("map", "--plot", "out.svg", "disk.raw")
    assert done.returncode == 6 and "--force" in done.stderr
    assert (tmp_path / "out.svg").read_text() == "precious"
    assert vhdfast_cli("map", "--plot", "out.svg", "--force", "disk.raw").returncode == 0
    assert (tmp_path / "out.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("name", ["out", "out.jpg", "disk.raw", "nowhere/out.svg"])
def test_names_that_cannot_be_a_picture(
    name: str, vhdfast_cli: Run, disk: Path, tmp_path: Path
) -> None:
    before = disk.read_bytes()
    done = vhdfast_cli("map", "--plot", name, "--force", "disk.raw")
    assert done.returncode == (6 if "/" in name else 2)
    assert disk.read_bytes() == before and list(tmp_path.iterdir()) == [disk]


def test_an_image_is_not_replaced_by_its_picture(
    vhdfast_cli: Run, disk: Path, tmp_path: Path
) -> None:
    image = disk.rename(tmp_path / "disk.svg")
    before = image.read_bytes()
    done = vhdfast_cli("map", "-f", "raw", "--plot", "disk.svg", "--force", "disk.svg")
    assert done.returncode == 6 and "the image itself" in done.stderr
    assert image.read_bytes() == before


def test_a_link_is_not_replaced_by_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "out.svg").symlink_to(tmp_path / "missing.svg")
    with pytest.raises(TargetExistsError):
        check_target(str(tmp_path / "out.svg"), False)


def test_a_damaged_table_is_a_warning(vhdfast_cli: Run, disk: Path) -> None:
    with open(disk, "r+b") as file:
        file.seek(512)
        file.write(bytes(512))
    done = vhdfast_cli("map", "--plot", "out.svg", "disk.raw")
    assert done.returncode == 0
    assert "warning: partition table: no primary GPT header" in done.stderr


def test_no_room_for_the_picture(
    tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    import vhdfast
    from vhdfast.errors import NoSpaceError
    from vhdfast.report.plot import plot

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with vhdfast.open_image(disk) as image, pytest.raises(NoSpaceError):
        plot(image, shares_of(image.virtual_size), str(tmp_path / "out.svg"))
    assert list(tmp_path.iterdir()) == [disk]
