"""vhdfast info"""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from ..units import MIB, format_bytes, round_up
from ._options import Parser, add_progress_option, add_source_options, read_options
from ._output import Console, columns, make_monitor

if TYPE_CHECKING:
    from ..formats import ImageInfo

HELP = "what an image is: format, sizes, creator, identifiers, alignment, warnings"
EXAMPLES = ("vhdfast info disk.vhdx", "vhdfast info --json a.vhd b.vhdx")


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", help="image file, block device or URL"
    )
    add_source_options(parser)
    add_progress_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    from .. import contents
    from ..image import open_image

    found: list[dict[str, Any]] = []
    for path in args.images:
        monitor = make_monitor(args.progress, args.quiet)
        with open_image(
            path, args.from_format, monitor=monitor, **read_options(args)
        ) as image:
            info = image.info()
            holds = contents.describe(image.pread)
        document = dataclasses.asdict(info)
        document["mib_aligned"] = info.virtual_size % MIB == 0
        document["contents"] = holds
        found.append(document)
        if len(args.images) > 1:
            console.text(f"{path}:")
        for line in _lines(info, holds):
            console.text(line)
        for notice in info.notices:
            console.warn(f"{path}: {notice}")
    console.json("info", {"images": found})
    return 0


def _lines(info: ImageInfo, holds: str | None) -> list[str]:
    geometry = ""
    if info.geometry is not None:
        cylinders, heads, sectors = info.geometry
        geometry = (
            f"{cylinders}/{heads}/{sectors} (cylinders/heads/sectors), spans "
            f"{format_bytes(cylinders * heads * sectors * 512)}"
        )
    aligned = "whole MiB"
    if info.virtual_size % MIB:
        target = round_up(info.virtual_size, MIB)
        aligned = f"not a whole number of MiB; convert rounds it up to {format_bytes(target)}"
    return columns(
        [
            ("format", f"{info.format}, {info.subformat}"),
            ("unpacked from", "" if info.stream is None else f"a {info.stream} stream"),
            ("virtual size", format_bytes(info.virtual_size)),
            ("file size", format_bytes(info.file_size)),
            ("alignment", aligned),
            ("block size", "" if info.block_size is None else format_bytes(info.block_size)),
            ("sector size", f"{info.sector_size} bytes"),
            ("creator", info.creator or ""),
            ("geometry", geometry),
            *info.identifiers.items(),
            ("parents", " -> ".join(info.chain)),
            ("holds", holds or "nothing that is known"),
            *((name, _plain(value)) for name, value in info.details.items()),
        ]
    )


def _plain(value: object) -> str:
    """A detail of a format as a person reads it: lists and objects without their brackets."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(entry)}" for name, entry in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(_plain, value))
    return str(value)
