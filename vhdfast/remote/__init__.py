"""Sources that come over a network, by the scheme of their URL.

Every module of this package is imported once, which registers its schemes; the libraries that they
need are loaded when a URL is opened.
"""

from __future__ import annotations

import importlib
import pkgutil

from ..errors import ImageError
from .base import SCHEMES, RemoteSource, shown_url

__all__ = ["SCHEMES", "RemoteSource", "open_remote", "shown_url"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def open_remote(url: str) -> RemoteSource:
    """Open the URL that a user gave. Raises ImageError, ReadError."""
    scheme = url.partition("://")[0].lower()
    kind = SCHEMES.get(scheme)
    if kind is None:
        raise ImageError(
            f"URLs of the kind {scheme}:// are not read",
            path=shown_url(url),
            hint=f"known are {', '.join(sorted(SCHEMES))}; copy the image to a file first, and "
            "give a file whose name looks like this with ./ before it",
        )
    return kind(url)
