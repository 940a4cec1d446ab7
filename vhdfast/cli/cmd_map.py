"""vhdfast map"""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from ..units import format_size
from ._options import Parser, add_progress_option, add_source_options, read_options, size
from ._output import Console, make_monitor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..extents import Extent, ExtentMap
    from ..image import Image

HELP = "where data and zeros lie in the virtual disk, and where the data is stored"
EXAMPLES = (
    "vhdfast map disk.vhdx",
    "vhdfast map --offset=1G --length=64M disk.vhd",
    "vhdfast map --json disk.raw",
    "vhdfast map --plot disk.svg disk.vhdx",
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="image file, block device or URL")
    parser.add_argument("--offset", type=size, default=0, metavar="SIZE", help="begin here")
    parser.add_argument("--length", type=size, metavar="SIZE", help="end so far behind it")
    parser.add_argument(
        "--plot", metavar="FILE",
        help="draw the map with the disk's partitions: FILE.svg, FILE.html, FILE.png",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace an existing picture")
    add_source_options(parser)
    add_progress_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    from ..errors import UsageError
    from ..image import open_image

    if args.plot is not None:
        from ..report.plot import check_target

        check_target(args.plot, args.force)
    monitor = make_monitor(args.progress, args.quiet)
    with open_image(
        args.image, args.from_format, monitor=monitor, **read_options(args)
    ) as image:
        if args.length == 0:
            raise UsageError("--length 0 leaves nothing to show")
        left = image.virtual_size - args.offset
        length = left if args.length is None else min(args.length, left)
        if length <= 0:
            raise UsageError(
                f"nothing lies at offset {args.offset} of a disk of {image.virtual_size} bytes"
            )
        if args.plot is None:
            data, zero = _list(image, image.windows(args.offset, length), args.json, console)
        else:
            data, zero = _plot(image, args, length, console)
        for notice in image.notices:
            console.warn(str(notice))
    console.text(f"{format_size(data)} of data, {format_size(zero)} of zeros")
    return 0


def _plot(
    image: Image, args: argparse.Namespace, length: int, console: Console
) -> tuple[int, int]:
    """Draw the map, and print it too where JSON was asked for: (bytes of data, of zeros)."""
    from ..extents import Kind
    from ..report.plot import plot
    from ..report.plot_shares import Shares

    shares = Shares(args.offset, length)

    def windows() -> Iterator[ExtentMap]:
        for window in image.windows(args.offset, length):
            shares.add(window)
            yield window

    if args.json:
        _list(image, windows(), True, console)
    else:
        for _ in windows():
            pass
    table = plot(image, shares, args.plot, args.force)
    for problem in () if table is None else table.problems:
        console.warn(f"partition table: {problem.message}")
    console.text(f"picture: {args.plot}")
    totals = shares.totals
    return totals[Kind.DATA] + totals[Kind.COMPRESSED], totals[Kind.ZERO]


def _list(
    image: Image, windows: Iterable[ExtentMap], is_json: bool, console: Console
) -> tuple[int, int]:
    """Print the extents of all windows: (bytes of data, of zeros)."""
    from ..extents import Kind

    totals = dict.fromkeys(Kind, 0)
    if is_json:
        print(f'{{"schema": "vhdfast.map/1", "virtual_size": {image.virtual_size},')
        print(f' "files": {json.dumps([source.path for source in image.layer.sources])},')
        print(' "extents": [', end="")
    if len(image.layer.sources) > 1:
        for index, source in enumerate(image.layer.sources):
            console.text(f"file {index}: {source.path}")
    console.text(f"{'offset':>18} {'length':>18}  {'kind':<10}  file  stored at")
    separator = "\n  "
    previous = None
    for window in windows:
        for extent in window:
            totals[extent.kind] += extent.length
            # Windows end where they fill up; what goes on in the next one is one extent.
            if previous is not None and _continues(previous, extent):
                previous = _joined(previous, extent)
                continue
            if previous is not None:
                separator = _print(previous, is_json, console, separator)
            previous = extent
    if previous is not None:
        _print(previous, is_json, console, separator)
    if is_json:
        print("\n ]}")
    return totals[Kind.DATA] + totals[Kind.COMPRESSED], totals[Kind.ZERO]


def _continues(one: Extent, other: Extent) -> bool:
    if one.kind != other.kind or one.file != other.file or one.kind.name == "COMPRESSED":
        return False
    return one.file_offset is None or one.file_offset + one.length == other.file_offset


def _joined(one: Extent, other: Extent) -> Extent:
    return dataclasses.replace(one, length=one.length + other.length)


def _print(extent: Extent, is_json: bool, console: Console, separator: str) -> str:
    kind = extent.kind.name.lower()
    if is_json:
        row: dict[str, object] = {
            "offset": extent.offset,
            "length": extent.length,
            "kind": kind,
            "file": extent.file,
            "file_offset": extent.file_offset,
        }
        if extent.codec is not None:
            row["stored_length"] = extent.stored_length
            row["skip"] = extent.skip
            row["codec"] = extent.codec.name.lower()
        print(separator + json.dumps(row), end="")
        return ",\n  "
    place = "" if extent.file_offset is None else f"  {extent.file:<4}  {extent.file_offset:#x}"
    if extent.codec is not None:
        place += f", {extent.stored_length} bytes of {extent.codec.name.lower()}"
    console.text(f"{extent.offset:#18x} {extent.length:#18x}  {kind:<10}{place}".rstrip())
    return separator
