"""Files beside an image that say that it is an old state: snapshots of virtual machines."""

from __future__ import annotations

import os
import re
from itertools import islice

from .files import Source, SourceFile

__all__ = ["newer_states", "next_part"]

MAX_ENTRIES = 10_000  # names of a directory that are looked at
MAX_FOUND = 64

# How the children of an image are called, by its suffix: what follows its stem.
_CHILDREN = {
    ".vmdk": re.compile(r"-(\d{6})\.vmdk", re.IGNORECASE),
    ".vhdx": re.compile(r"_[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}\.avhdx", re.IGNORECASE),
    ".vhd": re.compile(r"_[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}\.avhd", re.IGNORECASE),
}
_NUMBERED = re.compile(r"(.*)-(\d{6})", re.DOTALL)


def next_part(source: Source) -> str | None:
    """Name of the second part of a VHD that Virtual PC split (NAME.v01), where one lies beside it.

    Only the name is looked at.
    """
    if not isinstance(source, SourceFile):
        return None
    stem, suffix = os.path.splitext(os.path.abspath(source.path))
    if suffix.lower() != ".vhd":
        return None
    parts = (f"{stem}.v01", f"{stem}.V01")
    return next((os.path.basename(part) for part in parts if os.path.lexists(part)), None)


def newer_states(source: Source) -> list[str]:
    """Names of snapshot children beside a named file, sorted; empty where there are none.

    Only names are looked at, in the file's own directory: at most 10 000 of them. Of an image that
    is itself numbered (disk-000001.vmdk) those with higher numbers count.
    """
    if not isinstance(source, SourceFile):
        return []
    folder, name = os.path.split(os.path.abspath(source.path))
    stem, suffix = os.path.splitext(name)
    pattern = _CHILDREN.get(suffix.lower())
    if pattern is None:
        return []
    own = ""
    if suffix.lower() == ".vmdk" and (numbered := _NUMBERED.fullmatch(stem)) is not None:
        stem, own = numbered.groups()
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in islice(entries, MAX_ENTRIES):
                if not entry.name.startswith(stem):
                    continue
                match = pattern.fullmatch(entry.name, len(stem))
                if match is not None and (not own or match.group(1) > own):
                    found.append(entry.name)
    except OSError:  # a directory that may be entered and not listed
        return []
    return sorted(found)[:MAX_FOUND]
