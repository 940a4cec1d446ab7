"""qemu-img check: of formats in which there is nothing to check."""

from __future__ import annotations

import sys

from .commands import Call
from .options import CACHE_MODES, take_apart
from .printing import output_form
from .real import HandOver

IS_SLOW = False
NOT_SUPPORTED = 63


def run(call: Call) -> int:
    words = take_apart(call.words, "f:T:qU", ("--output=", "--force-share"))
    output_form(words)
    if len(words.operands) != 1:
        raise HandOver("one image is checked")
    if words.check_each("-T", CACHE_MODES) in ("none", "off", "directsync"):
        raise HandOver("-T without a cache is not served")

    from .reading import QEMU_NAMES, open_alike

    share = "-U" in words or "--force-share" in words
    with open_alike(call.real, words.operands[0], words.last("-f"), share) as image:
        if QEMU_NAMES[image.layer.name] not in ("raw", "vpc"):
            raise HandOver(f"checking a {image.layer.name} image is not served")
    print("qemu-img: This image format does not support checks", file=sys.stderr)
    return NOT_SUPPORTED
