"""qemu-img measure: the size of a raw file for a disk."""

from __future__ import annotations

from .commands import Call
from .options import plain_size, take_apart
from .printing import output_form, print_json
from .real import HandOver

IS_SLOW = False
SECTOR = 512


def run(call: Call) -> int:
    words = take_apart(call.words, "f:O:U", ("--output=", "--size=", "--force-share"))
    form = output_form(words)
    if (words.last("-O") or "raw") != "raw":
        raise HandOver("only the size of a raw file is served")
    text = words.last("--size")
    if (text is None) is not (len(words.operands) == 1):
        raise HandOver("a size or an image is measured")
    if text is None:
        from .reading import open_alike, size_of

        share = "-U" in words or "--force-share" in words
        with open_alike(call.real, words.operands[0], words.last("-f"), share) as image:
            size = size_of(image)
    else:
        given = plain_size(text)
        if given is None or given % SECTOR or "-f" in words or "-U" in words:
            raise HandOver(f"--size {text} is not served")
        size = given
    if form == "json":
        print_json({"required": size, "fully-allocated": size})
    else:
        print(f"required size: {size}\nfully allocated size: {size}")
    return 0
