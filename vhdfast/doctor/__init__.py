"""What this machine is like for vhdfast, and what its qemu-img does to sizes.

Every module of this package is imported once, which registers the examinations in it.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import pkgutil

from ..errors import UsageError
from .base import EXAMINATIONS, Examination, Item, Request, State

__all__ = ["EXAMINATIONS", "Examination", "Item", "Request", "State", "examine"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def examine(request: Request) -> tuple[Item, ...]:
    """All examinations, in their order. Raises UsageError where the request names what is not."""
    if not os.path.isdir(request.directory):
        there = os.path.lexists(request.directory)
        message = "this is no directory" if there else "there is no such directory"
        raise UsageError(message, path=request.directory)
    found: list[Item] = []
    for kind in sorted(EXAMINATIONS.values(), key=lambda each: (each.order, each.name)):
        try:
            for item in kind().run(request):
                found.append(dataclasses.replace(item, group=kind.group))
        except OSError as error:
            where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
            message = f"could not be examined: {where}{error.strerror or error}"
            found.append(Item(kind.name, State.PROBLEM, message, group=kind.group))
    return tuple(found)
