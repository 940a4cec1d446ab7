"""Files that are left alone because of their names, and the name that one gets."""

from __future__ import annotations

import os
import shlex
import stat

from .. import edits
from ..errors import TargetError, UsageError
from ..files import SourceFile, is_url
from ..formats import FORMATS
from ..formats.raw import RawImage
from ..outputs import OUTPUTS
from ..targets import output_kind

__all__ = [
    "check_directory",
    "check_file",
    "check_new_name",
    "checked_name",
    "copy_hint",
    "new_path_of",
]

Path = str | os.PathLike[str]


def checked_name(path: Path, to: str) -> str:
    name = os.fspath(path)
    output_kind(to)
    if to not in ("fixed-vhd", "raw"):
        raise UsageError(
            f"a {to} holds its data in another order, which takes a copy",
            path=name,
            hint=copy_hint(name, f"--to {to} "),
        )
    if is_url(name):
        raise UsageError("only files are changed in place", path=name, hint=copy_hint(name))
    return name


def copy_hint(path: str, options: str = "") -> str:
    return f"make a new file: vhdfast convert {options}{shlex.quote(path)} NEW"


def check_file(path: str, keep_name: bool) -> None:
    """A file with other names, under which it would change as well, is left alone."""
    try:
        is_link, status = os.path.islink(path), os.stat(path)
    except OSError:
        return  # opening it says more
    if is_link and not keep_name:
        raise TargetError(
            "this is a symbolic link, which would lead nowhere once its file has another name",
            path=path,
            hint=f"name the file: {shlex.quote(os.path.realpath(path))}; or say --keep-name",
        )
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        raise TargetError(
            f"the file has {status.st_nlink} names (hard links), and would change under all of "
            "them",
            path=path,
            hint=copy_hint(path),
        )


def check_directory(path: str) -> None:
    """Raise TargetError where neither an undo file nor a new name can be had."""
    directory = os.path.dirname(os.path.realpath(path))
    if not os.access(directory, os.W_OK | os.X_OK):
        raise TargetError(
            "you may not write to its directory, in which the undo file and the new name belong",
            path=path,
            hint=copy_hint(path),
        )


def new_path_of(path: str, to: str, keep_name: bool) -> str:
    """What the file is called afterwards: tools that upload it go by its suffix."""
    directory, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    fitting = RawImage.suffixes if to == "raw" else (".vhd",)
    if keep_name or suffix.lower() in fitting:
        return path
    known = {one for kind in FORMATS.values() for one in kind.suffixes}
    if suffix.lower() not in known:  # "debian-12.5" has none
        stem = name
    return os.path.join(directory, stem + OUTPUTS[to].suffix)


def check_new_name(source: SourceFile, new: str, force: bool, other_way: str = "") -> None:
    """Raise TargetError where the file cannot get this name."""
    if not edits.is_name(os.path.basename(new)):
        raise TargetError(
            f"the name {os.path.basename(new)} is too long",
            path=source.path,
            hint="--keep-name leaves the name as it is",
        )
    hint = f"move that file away; --force replaces it{other_way}"
    edits.check_free(source.fileno(), new, force, hint)
