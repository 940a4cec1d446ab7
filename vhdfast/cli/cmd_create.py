"""vhdfast create"""

from __future__ import annotations

import argparse
import dataclasses

from ..units import format_bytes
from ._names import warn_of_suffix
from ._options import Parser, output_names, size
from ._output import Console, columns

HELP = "make an empty disk"
MORE = """\
All of it is zeros and takes no room, unless --allocate. The size is rounded up to a whole number of
MiB for a VHD, of sectors for raw."""
EXAMPLES = (
    "vhdfast create data.vhd 64G",
    "vhdfast create --to dynamic-vhd lab.vhd 1T",
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("target", metavar="FILE", help="file to make")
    parser.add_argument("size", metavar="SIZE", type=size, help="size of the disk, such as 64G")
    parser.add_argument(
        "-O", "--to", choices=output_names(), default="fixed-vhd",
        help="what to make (default: fixed-vhd)",
    )  # fmt: skip
    parser.add_optional_value(
        "--align", "1M", type=size, metavar="SIZE",
        help="round the size up to a multiple of SIZE, given as --align=SIZE (default: 1M for a "
        "VHD, 512 for raw)",
    )  # fmt: skip
    parser.add_argument(
        "--allocate", action="store_true", help="reserve all of the file's bytes, leave no holes"
    )
    parser.add_argument("--uuid", metavar="UUID", help="unique id of the VHD (default: random)")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="say what would be made, and make nothing"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    from .. import api
    from ..outputs import OUTPUTS

    made = api.create(
        args.target,
        args.size,
        to=args.to,
        align=args.align,
        force=args.force,
        allocate=args.allocate,
        unique_id=args.uuid,
        dry_run=args.dry_run,
    )
    warn_of_suffix(args.target, args.to, console)
    console.json("create", {**dataclasses.asdict(made), "dry_run": args.dry_run})
    lines = columns(
        [
            ("would make" if args.dry_run else "made", f"{made.target} ({made.target_format})"),
            ("virtual size", format_bytes(made.virtual_size)),
            ("file size", format_bytes(made.file_size)),
            ("note", OUTPUTS[args.to].note),
        ]
    )
    for line in lines:
        console.text(line)
    return 0
