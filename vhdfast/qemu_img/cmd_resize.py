"""qemu-img resize: a raw disk grows, in place. Nothing is ever cut off here."""

from __future__ import annotations

import os

from .commands import Call
from .options import plain_size, take_apart
from .real import HandOver

IS_SLOW = False
SECTOR = 512


def run(call: Call) -> int:
    words = take_apart(call.words, "f:q")
    if len(words.operands) != 2:
        raise HandOver("an image and a size are given")
    path, text = words.operands
    size = plain_size(text.removeprefix("+"))
    if size is None:
        raise HandOver(f"the size {text} is not served")

    from .reading import open_alike, size_of

    with open_alike(call.real, path, words.last("-f"), share=False) as image:
        if image.layer.name != "raw":
            raise HandOver("only raw disks are resized")
        if image.virtual_size % SECTOR or size % SECTOR:
            raise HandOver("sizes are no whole sectors")
        wanted = size + size_of(image) if text.startswith("+") else size
        if wanted < image.virtual_size:
            raise HandOver("the disk would shrink")
        with open(path, "r+b", buffering=0) as file:
            if not os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                raise HandOver(f"{path} was replaced meanwhile")
            file.truncate(wanted)
    if "-q" not in words:
        print("Image resized.")
    return 0
