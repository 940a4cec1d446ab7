"""File names as Windows programs write them into images, as names that can be looked for here."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

__all__ = ["from_file_url", "lookup_names"]

# "C:\…", "\\server\share\…", "\\?\…", "\…" (of the current drive): nothing of that exists here.
_FOREIGN = re.compile(r"[A-Za-z]:|\\")


def lookup_names(relative: Iterable[str], absolute: Iterable[str]) -> list[str]:
    """The names to look for a file under, best first, for `References.open_first`.

    relative: to the image's directory, as they stand in the image; absolute: the same, of any
    system. First the relative ones, then the absolute ones of this system, then each one's last
    part: images are moved together with their parents.
    """
    relative, absolute = list(relative), list(absolute)
    found = [_without_dots(name.replace("\\", "/")) for name in relative if not _is_foreign(name)]
    found += [name for name in absolute if not _is_foreign(name)]
    found += [posixpath.basename(name.replace("\\", "/")) for name in (*relative, *absolute)]
    return list(dict.fromkeys(name for name in found if name not in ("", ".", "..")))


def from_file_url(url: str) -> str | None:
    """The path in a file: URL, None where it is none. A host other than this one is "//host/…"."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme.lower() != "file":
        return None
    path = unquote(parts.path, errors="surrogateescape")
    return path if parts.netloc.lower() in ("", "localhost") else f"\\\\{parts.netloc}{path}"


def _is_foreign(name: str) -> bool:
    return _FOREIGN.match(name) is not None


def _without_dots(name: str) -> str:
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name
