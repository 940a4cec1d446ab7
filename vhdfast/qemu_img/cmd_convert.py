"""qemu-img convert: one plain source into a raw disk or a fixed VHD."""

from __future__ import annotations

import os
import re

from .commands import Call
from .options import CACHE_MODES, Words, plain_size, take_apart
from .real import HandOver

IS_SLOW = True
PROGRESS_SKIP = 1.0  # per cent

SHORT = "f:O:o:S:t:T:m:pqWU"
LONG = ("--force-share",)
MAX_SPARSE = 16 << 20  # bytes
MAX_COROUTINES = 16
SECTOR = 512


def run(call: Call) -> int:
    words = take_apart(call.words, SHORT, LONG)
    if len(words.operands) != 2:
        raise HandOver("one source and one target are served")
    _check_hints(words)
    source, target = words.operands
    for option, path in (("-T", source), ("-t", os.path.dirname(os.path.realpath(target)))):
        _check_cache(words, option, path)

    from .copying import copy
    from .progress import QemuProgress
    from .reading import open_alike
    from .targets import make_output

    share = "-U" in words or "--force-share" in words
    with open_alike(call.real, source, words.last("-f"), share) as image:
        output = make_output(
            target, image.virtual_size, words.last("-O") or "raw", words.options.get("-o", [])
        )
        show = "-p" in words and "-q" not in words
        copy(image, output, QemuProgress(show, PROGRESS_SKIP))
    return 0


def _check_hints(words: Words) -> None:
    """Options that change how qemu-img works and not what comes out; their values must be right."""
    for text in words.options.get("-S", []):
        size = plain_size(text)
        if size is None or size % SECTOR or size > MAX_SPARSE:
            # 0 asks for every byte to be written: then the target takes up more room.
            raise HandOver(f"-S {text} is not served")
    for text in words.options.get("-m", []):
        if not re.fullmatch(r"[1-9]\d?", text) or int(text) > MAX_COROUTINES:
            raise HandOver(f"-m {text} is not served")


def _check_cache(words: Words, option: str, path: str) -> None:
    """What asks for O_DIRECT fails where there is none."""
    mode = words.check_each(option, CACHE_MODES)
    if mode not in ("none", "off", "directsync"):
        return
    flags = os.O_RDONLY if option == "-T" else os.O_RDWR | os.O_TMPFILE
    try:
        os.close(os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC, 0o600))
    except (OSError, ValueError) as error:
        raise HandOver(f"{option} {mode} is not possible there") from error
