"""libnbd, which reads from nbd:// and is opened at run time."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from .base import Examination, Item, Request, State

__all__ = ["Nbd"]


class Nbd(Examination):
    """Whether it is installed, and its version."""

    name = "nbd"
    group = "vhdfast"
    order = 23

    def run(self, request: Request) -> Iterator[Item]:
        from ..remote._libnbd import LIBRARY

        try:
            library = ctypes.CDLL(LIBRARY)
            version = _version(library)
        except (OSError, AttributeError) as error:
            yield Item(
                "nbd", State.NOTE, f"{LIBRARY} not found: images are not read over NBD",
                "apt install libnbd0 (dnf install libnbd)",
                {"library": LIBRARY, "version": None, "reason": str(error)},
            )  # fmt: skip
            return
        yield Item(
            "nbd", State.OK, f"libnbd {version or 'of an unknown version'}",
            details={"library": LIBRARY, "version": version},
        )  # fmt: skip


def _version(library: ctypes.CDLL) -> str | None:
    library.nbd_create.restype = ctypes.c_void_p
    library.nbd_get_version.restype = ctypes.c_char_p
    library.nbd_get_version.argtypes = [ctypes.c_void_p]
    library.nbd_close.argtypes = [ctypes.c_void_p]
    library.nbd_close.restype = None
    handle = library.nbd_create()
    if not handle:
        return None
    try:
        answer: bytes | None = library.nbd_get_version(handle)
        return None if answer is None else answer.decode("ascii", "replace")
    finally:
        library.nbd_close(handle)
