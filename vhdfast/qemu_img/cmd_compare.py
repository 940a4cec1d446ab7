"""qemu-img compare: the answer "identical"; where images differ, qemu-img says where."""

from __future__ import annotations

from .commands import Call
from .options import CACHE_MODES, take_apart
from .real import HandOver

IS_SLOW = True
PROGRESS_SKIP = 2.0  # per cent

SHORT = "f:F:T:pqU"
LONG = ("--force-share",)


def run(call: Call) -> int:
    words = take_apart(call.words, SHORT, LONG)
    if len(words.operands) != 2:
        raise HandOver("two images are compared")
    mode = words.check_each("-T", CACHE_MODES)
    if mode in ("none", "off", "directsync"):
        raise HandOver(f"-T {mode} is not served")

    from ..comparing import compare_images
    from .progress import QemuProgress
    from .reading import open_alike, size_of

    share = "-U" in words or "--force-share" in words
    quiet = "-q" in words
    left, right = words.operands
    with (
        open_alike(call.real, left, words.last("-f"), share) as one,
        open_alike(call.real, right, words.last("-F"), share) as other,
        QemuProgress("-p" in words and not quiet, PROGRESS_SKIP) as progress,
    ):
        answer = compare_images(one, other, monitor=progress)
        one.check_unchanged()
        other.check_unchanged()
        if not answer.same:
            # Which byte it names is the version's, and it gets there sooner than to the end.
            raise HandOver("the images differ")
        if not quiet and size_of(one) != size_of(other):
            print("Warning: Image size mismatch!")
        progress.done()
        if not quiet:
            print("Images are identical.")
    return 0
