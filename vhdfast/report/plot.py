"""Drawing the picture of a disk into a file."""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets

from ..errors import (
    NoSpaceError,
    TargetError,
    TargetExistsError,
    UsageError,
    VhdfastError,
    WriteError,
)
from ..guest.partitions import PartitionTable, read_partitions
from ..image import Image
from ..outputs.base import NO_SPACE
from ..renaming import rename_without_replacing
from .plot_layout import lay_out
from .plot_shares import Shares

__all__ = ["check_target", "plot"]

# Suffixes and the modules that draw them.
_DRAWN_BY = {".svg": "plot_svg", ".html": "plot_html", ".png": "plot_png"}


def check_target(path: str, force: bool) -> None:
    """What can be refused before the disk is looked at.

    Raises UsageError for a suffix that is no kind of picture (or a PNG without Pillow),
    TargetExistsError, TargetError.
    """
    _drawer(path)
    if path.lower().endswith(".png"):
        importlib.import_module(f"{__package__}.plot_png").find_pillow()
    if os.path.lexists(path) and not force:
        raise _exists(path)
    if os.path.lexists(path) and not os.path.isfile(path):
        raise TargetError("the target is not a regular file", path=path)
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise TargetError(f"the directory {directory} does not exist", path=path)


def plot(image: Image, shares: Shares, path: str, force: bool = False) -> PartitionTable | None:
    """Write the picture of an image to `path`, which gets its name when the picture is whole.

    shares: those of the part to show, with all its windows. path: ends in .svg, .html or .png.
    Returns the partition table that was drawn. Raises what `check_target` raises, WriteError,
    NoSpaceError, and what reading the table raises.
    """
    check_target(path, force)
    if image.is_same_file(path):
        raise TargetError("this is the image itself", path=path, hint="choose another name")
    info = image.info()
    table = read_partitions(image.pread, image.virtual_size, image.sector_size)
    name = os.path.basename(image.path) or image.path
    what = f"{info.format}, {info.subformat}"
    layout = lay_out(name, what, image.virtual_size, shares, table)
    content: bytes = importlib.import_module(f"{__package__}.{_drawer(path)}").draw(layout)
    _write(path, content, force)
    return table


def _drawer(path: str) -> str:
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in _DRAWN_BY:
        raise UsageError(
            f"{path!r} does not say which kind of picture it is",
            hint=f"end its name in {', '.join(_DRAWN_BY)}",
        )
    return _DRAWN_BY[suffix]


def _exists(path: str) -> VhdfastError:
    return TargetExistsError(
        "the target exists", path=path, hint="choose another name, or say --force"
    )


def _write(path: str, content: bytes, force: bool) -> None:
    path = os.path.realpath(path)
    directory, name = os.path.split(path)
    short = os.fsdecode(os.fsencode(name)[:200])
    temporary = os.path.join(directory, f".{short}.{secrets.token_hex(4)}.part")
    try:
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if force:
                os.replace(temporary, path)
            else:
                rename_without_replacing(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        if error.errno in NO_SPACE:
            raise NoSpaceError(
                "the file system has no room for the picture", path=path, hint="free some space"
            ) from error
        raise WriteError(f"writing failed: {error.strerror}", path=path) from error
