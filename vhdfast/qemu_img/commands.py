"""What a command gets, and the commands that there are."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

__all__ = ["Call", "commands", "load"]

PREFIX = "cmd_"


@dataclass(frozen=True, slots=True)
class Call:
    """One command line. words: behind the command's name. real: the real qemu-img, if any."""

    words: Sequence[str]
    real: str | None


def commands() -> dict[str, str]:
    """{command: module} of every cmd_<command>.py, without importing any."""
    package = importlib.import_module(__package__ or "vhdfast.qemu_img")
    return {
        module.name.removeprefix(PREFIX): f"{package.__name__}.{module.name}"
        for module in pkgutil.iter_modules(package.__path__)
        if module.name.startswith(PREFIX)
    }


def load(command: str) -> ModuleType:
    """The module of a command.

    run(call) answers with the exit status, or raises HandOver before anything was printed or
    written, or VhdfastError after it cleaned up. IS_SLOW says whether it is served where a real
    qemu-img is there: whether that would take time worth saving.
    """
    return importlib.import_module(commands()[command])
