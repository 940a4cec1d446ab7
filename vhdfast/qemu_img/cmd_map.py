"""qemu-img map: where the data of a raw disk lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .commands import Call
from .options import take_apart
from .printing import output_form, plain_text
from .real import HandOver

if TYPE_CHECKING:
    from ..image import Image

IS_SLOW = False
SECTOR = 512


def run(call: Call) -> int:
    words = take_apart(call.words, "f:U", ("--output=", "--force-share"))
    form = output_form(words)
    if len(words.operands) != 1:
        raise HandOver("one image is mapped")

    from .reading import open_alike

    path = plain_text(words.operands[0])
    share = "-U" in words or "--force-share" in words
    with open_alike(call.real, path, words.last("-f"), share) as image:
        if image.layer.name != "raw" or image.virtual_size % SECTOR:
            raise HandOver("only raw disks of whole sectors are mapped")
        if form == "json":
            _print_json(image)
        else:
            print(f"{'Offset':<16}{'Length':<16}{'Mapped to':<16}File")
            for offset, length, is_data in _ranges(image):
                if is_data:
                    print(f"{offset:<#16x}{length:<#16x}{offset:<#16x}{path}")
    return 0


def _ranges(image: Image) -> Iterator[tuple[int, int, bool]]:
    """(offset, length, whether data is there), neighbours of windows joined."""
    from ..extents import Kind

    held: tuple[int, int, bool] | None = None
    for window in image.windows():
        for extent in window:
            is_data = extent.kind == Kind.DATA
            if held is not None and held[2] is is_data:
                held = (held[0], held[1] + extent.length, is_data)
                continue
            if held is not None:
                yield held
            held = (extent.offset, extent.length, is_data)
    if held is not None:
        yield held


def _print_json(image: Image) -> None:
    before = "["
    for offset, length, is_data in _ranges(image):
        zero, data = ("false", "true") if is_data else ("true", "false")
        print(
            f'{before}{{ "start": {offset}, "length": {length}, "depth": 0, "present": true, '
            f'"zero": {zero}, "data": {data}, "offset": {offset}}}',
            end="",
        )
        before = ",\n"
    print("]")
