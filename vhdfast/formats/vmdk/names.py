"""Names of files in descriptors: written on Windows, ESXi or Linux, and moved since."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ...files import Source

__all__ = ["as_path", "base_name", "is_beside", "is_device", "is_foreign", "likeliest"]

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def is_device(name: str) -> bool:
    """Whether a name can only mean a device of the machine that wrote it."""
    return name.replace("\\", "/").startswith(("//./", "//?/", "/dev/", "/vmfs/devices/"))


def is_foreign(name: str) -> bool:
    """Whether a name is an absolute one of Windows, which leads nowhere here."""
    return _WINDOWS.match(name) is not None


def with_slashes(name: str) -> str:
    """A relative or absolute name with slashes between its parts."""
    return name if "/" in name and not is_foreign(name) else name.replace("\\", "/")


def base_name(name: str) -> str:
    return with_slashes(name).rsplit("/", 1)[-1]


def is_beside(source: Source, name: str) -> bool:
    """Whether a file of this name lies in the directory of `source`; looks nowhere else."""
    if not name or "/" in name or "\0" in name or name in (".", ".."):
        return False
    try:
        return any(os.path.lexists(os.path.join(folder, name)) for folder in source.directories)
    except (OSError, ValueError):  # a name that cannot be encoded
        return False


def likeliest(source: Source, names: Sequence[str]) -> str:
    """Of several readings of a name the one that lies beside the image; else the first."""
    for name in names:
        if is_beside(source, name) or is_beside(source, base_name(name)):
            return name
    return names[0]


def as_path(source: Source, name: str) -> str:
    """A name as it is to be opened, with slashes; a file beside may have a backslash in its own."""
    return name if is_beside(source, name) else with_slashes(name)
