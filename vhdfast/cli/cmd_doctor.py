"""vhdfast doctor"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ._options import Parser
from ._output import Console

if TYPE_CHECKING:
    from ..doctor import Item

HELP = "what this machine can do, and what its qemu-img does to the size of a VHD"
MORE = """\
Tries what qemu-img writes with a small disk, what the CPU and the libraries do, and what the file
system of a directory can do. Leaves nothing behind. Exit status 1 where something is wrong."""
EXAMPLES = (
    "vhdfast doctor",
    "vhdfast doctor --directory=/mnt/out",
    "vhdfast doctor --qemu-img=/opt/qemu/bin/qemu-img",
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--qemu-img", metavar="PATH", help="examine this qemu-img (default: the first on PATH)"
    )
    parser.add_argument(
        "--directory", metavar="DIR", default=".",
        help="examine this directory's file system (default: the current one)",
    )  # fmt: skip


def run(args: argparse.Namespace, console: Console) -> int:
    from .. import api
    from ..doctor import State

    items = api.doctor(qemu_img=args.qemu_img, directory=args.directory)
    console.json("doctor", {"items": [_document(item) for item in items]})
    for line in _lines(items):
        console.text(line)
    wrong = sum(item.state is State.PROBLEM for item in items)
    if wrong:
        console.text()
        console.text(f"problems: {wrong}")
    return 1 if wrong else 0


def _document(item: Item) -> dict[str, Any]:
    return dataclasses.asdict(item) | {"state": item.state.value}


def _lines(items: Iterable[Item]) -> Iterable[str]:
    group = None
    for item in items:
        if item.group != group:
            if group is not None:
                yield ""
            group = item.group
            yield group
        yield f"  {item.state.value:<8} {item.name + ':':<15} {item.message}"
        for way in (item.remedy or "").splitlines():
            yield f"  {'':<24} -> {way}"
