"""The directory that images go to: its file system, whether it may be written, the room in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ..units import format_size
from .base import Examination, Item, Request, State
from .scratch import scratch_file

__all__ = ["Directory", "file_system"]

MOUNTS = "/proc/self/mountinfo"


class Directory(Examination):
    """The first thing to know of a directory."""

    name = "directory"
    group = "directory"
    order = 30

    def run(self, request: Request) -> Iterator[Item]:
        path = os.path.abspath(request.directory)
        mounted = file_system(path)
        kind, where = mounted or (None, None)
        yield Item(
            "file system", State.OK,
            f"{path}: {kind or 'unknown'}" + (f", mounted at {where}" if where else ""),
            details={"path": path, "type": kind, "mounted_at": where},
        )  # fmt: skip
        yield _room(path)
        try:
            with scratch_file(path):
                pass
        except OSError as error:
            yield Item(
                "writable", State.PROBLEM, f"no file can be made here: {error.strerror}",
                "choose another directory (--directory DIR)", {"writable": False},
            )  # fmt: skip
            return
        yield Item("writable", State.OK, "files can be made here", details={"writable": True})


def _room(path: str) -> Item:
    status = os.statvfs(path)
    if not status.f_blocks:
        return Item("free space", State.NOTE, "the file system does not tell", None, {"free": None})
    free, whole = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    text = f"{format_size(free)} of {format_size(whole)}"
    return Item("free space", State.OK, text, None, {"free": free, "size": whole})


def file_system(path: str, mounts: str = MOUNTS) -> tuple[str, str] | None:
    """(type, mount point) of where a path lies, None where the system does not tell.

    Source: proc_pid_mountinfo(5). The last of those that are mounted over each other counts.
    """
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return None
    path = os.path.realpath(path)
    best: tuple[str, str] | None = None
    for line in lines:
        fields, _, rest = line.partition(" - ")
        words = fields.split(" ")
        if len(words) < 6 or not rest:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), words[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and (best is None or len(point) >= len(best[1])):
            best = rest.split(" ")[0], point
    return best
