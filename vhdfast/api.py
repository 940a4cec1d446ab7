"""The importable backend: what the command line does, as functions.

Nothing here prints or exits; errors are those of vhdfast.errors.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .comparing import Comparison, compare_images
from .converting import ConvertPlan, ConvertResult, convert, plan_conversion
from .errors import UsageError
from .formats import OpenOptions, ReadOptions
from .image import open_as
from .monitor import Monitor
from .outputs import TargetOptions
from .streams import Unpacking
from .targets import (
    check_largest,
    checked_uuid,
    output_kind,
    rounded_size,
    source_date_epoch,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .checks import CheckedImage, CheckOptions, Selection
    from .converting_in_place import convert_in_place, plan_conversion_in_place
    from .doctor import Item
    from .in_place import plan_repair, plan_resize, repair, resize, undo

__all__ = [
    "ConvertPlan",
    "ConvertResult",
    "Created",
    "check",
    "compare",
    "convert",
    "convert_in_place",
    "create",
    "doctor",
    "plan_conversion",
    "plan_conversion_in_place",
    "plan_repair",
    "plan_resize",
    "repair",
    "resize",
    "undo",
]

# Loaded where they are used: a conversion need not wait for what changes files in place.
_HOME = {
    "convert_in_place": "converting_in_place",
    "plan_conversion_in_place": "converting_in_place",
    "plan_repair": "in_place",
    "plan_resize": "in_place",
    "repair": "in_place",
    "resize": "in_place",
    "undo": "in_place",
}

Path = str | os.PathLike[str]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __package__), name)


@dataclass(frozen=True, slots=True)
class Created:
    """A new disk; sizes in bytes."""

    target: str
    target_format: str
    virtual_size: int
    file_size: int


def create(
    target: Path,
    size: int,
    *,
    to: str = "fixed-vhd",
    align: int | None = None,
    force: bool = False,
    allocate: bool = False,
    unique_id: str | None = None,
    dry_run: bool = False,
) -> Created:
    """Make an empty disk, all zeros, of at least `size` bytes; its size costs no time.

    The other arguments are those of `convert`. dry_run: look whether it can be made, and make
    nothing. Raises UsageError, TargetError, CopyError; then the target is as it was before.
    """
    kind = output_kind(to)
    path = os.fspath(target)
    if size <= 0:
        raise UsageError(f"a disk of {size} bytes", path=path, hint="give at least one sector")
    rounded = rounded_size(size, kind.constraints.alignment if align is None else align, path)
    check_largest(rounded, kind, path, "make it smaller")
    options = TargetOptions(force, allocate, checked_uuid(unique_id), source_date_epoch())
    output = kind(path, rounded, options)
    output.check_target()
    if not dry_run:
        try:
            output.create()
            output.seal()
            output.publish()
        except BaseException:
            output.abort()
            raise
    return Created(path, to, rounded, output.file_size)


def compare(
    left: Path,
    right: Path,
    *,
    left_format: str | None = None,
    right_format: str | None = None,
    strict: bool = False,
    jobs: int | None = None,
    monitor: Monitor | None = None,
    **reading: Unpack[ReadOptions],
) -> Comparison:
    """Whether two images hold the same disk.

    Sizes may differ where the longer tail is zero, unless strict. reading: ReadOptions for
    both. Raises what opening and reading raise.
    """
    how = dataclasses.replace(OpenOptions.of(reading), unpacking=Unpacking(monitor, jobs))
    with (
        open_as(left, left_format, how) as one,
        open_as(right, right_format, how) as other,
    ):
        answer = compare_images(one, other, strict=strict, jobs=jobs, monitor=monitor)
        one.check_unchanged()
        other.check_unchanged()
        return answer


def check(
    path: Path,
    *,
    from_format: str | None = None,
    options: CheckOptions | None = None,
    selection: Selection | None = None,
    monitor: Monitor | None = None,
    **reading: Unpack[ReadOptions],
) -> CheckedImage:
    """What speaks against an image's being accepted by Azure.

    options: how it is judged. selection: which checks run. reading: ReadOptions. monitor: told of
    unpacking, where the file is compressed, and of the walk through the map.

    Raises UsageError, and for a file that cannot be read ReadError or ImageError; whatever else is
    wrong with the image is a finding.
    """
    from .checks import check_image

    how = dataclasses.replace(OpenOptions.of(reading), unpacking=Unpacking(monitor))
    return check_image(os.fspath(path), from_format, how, options, selection, monitor)


def doctor(*, qemu_img: Path | None = None, directory: Path = ".") -> tuple[Item, ...]:
    """What this machine is like: its qemu-img, vhdfast with its libraries, a directory.

    qemu_img: a program; what PATH leads to where None. What is wrong is an item, not an exception.
    Raises UsageError where there is no such program or directory.
    """
    from .doctor import Request, examine

    program = None if qemu_img is None else os.fspath(qemu_img)
    return examine(Request(program, os.fspath(directory)))
