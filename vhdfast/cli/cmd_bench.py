"""vhdfast bench"""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..units import MIB, format_size
from ._options import Parser, count, size
from ._output import Console

if TYPE_CHECKING:
    from ..benchmark import Recipe, Report

HELP = "how fast this machine converts an image, beside its qemu-img"
MORE = """\
Converts the image in turn with vhdfast and with qemu-img, by default and with the options that make
it faster. Before anything is measured, all of them must have written the same disk. Writes into a
directory of its own in DIR and removes it. The image is only read."""
EXAMPLES = (
    "vhdfast bench disk.vhdx",
    "vhdfast bench --recipe=files --as=vhdx --directory=/mnt/out",
    "vhdfast bench --cold --pairs=5 --qemu-img=/opt/qemu/bin/qemu-img disk.qcow2",
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("image", metavar="IMAGE", nargs="?", help="image file or block device")
    parser.add_argument(
        "-f", "--from", dest="from_format", metavar="FORMAT",
        help="format of IMAGE (default: detected)",
    )  # fmt: skip
    parser.add_argument(
        "--recipe", metavar="NAME",
        help="make an image: files (as file systems fill a disk), islands (4 KiB each), zeros "
        "(stored ones) or empty",
    )  # fmt: skip
    parser.add_argument(
        "--as",
        dest="made_as",
        metavar="FORMAT",
        help="the recipe's format: qcow2, raw, vdi, vhd, vhdx or vmdk (default: raw)",
    )
    parser.add_argument(
        "--data",
        type=size,
        metavar="SIZE",
        help="make the recipe larger or smaller: so much data, and as much more or less disk",
    )
    parser.add_argument(
        "--qemu-img", metavar="PATH", help="measure this qemu-img (default: the first on PATH)"
    )
    parser.add_argument(
        "--pairs", type=count, default=3, metavar="N", help="runs of each, in turn (default: 3)"
    )
    parser.add_argument(
        "--directory", metavar="DIR", default=".",
        help="where to write; the disk that is measured (default: the current one)",
    )  # fmt: skip
    parser.add_argument(
        "--cold", action="store_true", help="take the source out of the page cache before each run"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    if (args.image is None) == (args.recipe is None):
        raise UsageError("a benchmark needs an image or --recipe, not both", hint="name one")
    if args.recipe is None and (args.made_as or args.data):
        raise UsageError("--as and --data belong to --recipe")
    if args.recipe is not None and args.from_format:
        raise UsageError("--from belongs to an image", hint="use --as with --recipe")
    from ..benchmark import Benchmark

    report = Benchmark(
        source=args.image if args.recipe is None else _recipe(args.recipe, args.data),
        from_format=args.from_format,
        made_as=args.made_as or "raw",
        qemu_img=args.qemu_img,
        pairs=args.pairs,
        directory=args.directory,
        is_cold=args.cold,
    ).run(console.text)
    console.json("bench", dataclasses.asdict(report))
    console.text()
    for line in _lines(report):
        console.text(line)
    return 0


def _recipe(name: str, data: int | None) -> Recipe:
    from ..benchmark import RECIPES
    from ..benchmark.recipes import scaled

    recipe = RECIPES.get(name)
    if recipe is None:
        raise UsageError(f"there is no recipe {name!r}", hint=f"one of: {', '.join(RECIPES)}")
    if data is None:
        return recipe
    if not recipe.data:
        raise UsageError(f"the recipe {name} has no data", hint="leave --data out")
    return scaled(recipe, data / recipe.data)


def _lines(report: Report) -> list[str]:
    name = max(len(engine) for engine in report.rows)
    lines = [
        f"{report.source}: {report.format}, {format_size(report.virtual_size)} with "
        f"{format_size(report.data)} of data, to {report.target_format}; {report.cache} cache",
        f"{report.qemu_img}: {report.qemu_version or 'of unknown version'}",
        "",
        f"{'':<{name}} {'wall s':>8} {'CPU s':>8} {'peak MiB':>9} {'wall x':>7} {'CPU x':>7}"
        "  wall x of each pair",
    ]
    for engine, row in report.rows.items():
        each = " ".join(f"{ratio:.2f}" for ratio in row.wall_ratios)
        lines.append(
            f"{engine:<{name}} {row.wall_s:8.2f} {row.cpu_s:8.2f} {row.peak_rss / MIB:9.0f} "
            f"{row.wall_ratio:7.2f} {row.cpu_ratio:7.2f}  {each}"
        )
    return [
        *lines,
        "",
        "x: time divided by that of vhdfast in the same pair; above 1, vhdfast is faster",
        f"all wrote the same disk: {report.digest}",
    ]
