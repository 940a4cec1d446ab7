"""vhdfast itself: its version, what runs it, and the libraries that it is installed with."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator

from .. import __version__
from .base import Examination, Item, Request, State

__all__ = ["Program", "version_of"]

REQUIRED = ("numpy", "cffi", "rich", "shtab")
FOR_HTTP = ("fsspec", "aiohttp")
INSTALL_HTTP = "pip install 'vhdfast[http]'"


def version_of(package: str) -> str | None:
    """The version of an installed Python package, None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


class Program(Examination):
    """Versions, and the extras that are there."""

    name = "program"
    group = "vhdfast"
    order = 20

    def run(self, request: Request) -> Iterator[Item]:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        system = f"{platform.system()} {platform.release()}, {platform.machine()}"
        yield Item(
            "version", State.OK, f"vhdfast {__version__}, {python}, {system}",
            details={"version": __version__, "python": platform.python_version(),
                     "system": system},
        )  # fmt: skip
        found = {name: version_of(name) for name in REQUIRED}
        missing = [name for name, version in found.items() if version is None]
        yield Item(
            "libraries",
            State.WARNING if missing else State.OK,
            ", ".join(f"{name} {version or 'missing'}" for name, version in found.items()),
            f"pip install {' '.join(missing)}" if missing else None,
            {"versions": found},
        )
        found = {name: version_of(name) for name in FOR_HTTP}
        if None in found.values():
            lacking = " and ".join(name for name, version in found.items() if version is None)
            yield Item(
                "http", State.NOTE, f"{lacking} not installed: images are not read from http(s)://",
                INSTALL_HTTP, {"versions": found},
            )  # fmt: skip
            return
        text = ", ".join(f"{name} {version}" for name, version in found.items())
        yield Item("http", State.OK, text, details={"versions": found})
