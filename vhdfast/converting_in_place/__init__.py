"""Converting in place: no copy where a raw disk only lacks a footer, or a fixed VHD has the wrong
size.

A byte of the disk has the same offset in a raw file and in a fixed VHD, so that it takes a footer
behind the disk, at any size. Nothing is written here: `vhdfast.edits` makes what is planned.
docs/internals/in-place.md.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import time

from .. import edits
from ..edits import Record
from ..errors import ImageError, UndoError, UsageError
from ..files import SourceFile
from ..formats import OpenOptions
from ..formats.vhd.footer import FOOTER_LENGTH
from ..image import Image
from ..in_place import InPlaceResult, completed, undone
from ..shrinking import check_undone
from .naming import check_file, check_new_name, checked_name, new_path_of
from .planning import ConvertInPlacePlan, Planner, kind_of, title_of

__all__ = ["ConvertInPlacePlan", "convert_in_place", "plan_conversion_in_place"]

Path = str | os.PathLike[str]

# The undo file of this change gives `--to raw` the raw disk's size and name.
FROM_RAW = title_of("raw", "fixed-vhd")


def plan_conversion_in_place(
    path: Path,
    *,
    to: str = "fixed-vhd",
    from_format: str | None = None,
    align: int | None = None,
    size: int | None = None,
    unique_id: str | None = None,
    force: bool = False,
    keep_name: bool = False,
    allow_4kn: bool = False,
    relocate_gpt: bool = False,
) -> ConvertInPlacePlan:
    """What `convert_in_place` would do with the same arguments; raises what it would.

    Writes nothing. Raises UndoError where an earlier change was interrupted, which
    `convert_in_place` would complete.
    """
    name = checked_name(path, to)
    found = _interrupted(name, to)
    if found is not None:
        edits.check_not_interrupted(found)
    check_file(name, keep_name)
    with SourceFile(name) as source:
        kind = kind_of(source, from_format)
        if to == "raw" and (record := _record_of(name)) is not None:
            if size is not None or align is not None or relocate_gpt or keep_name:
                raise UsageError(
                    "the undo file gives the raw disk its size and its name back",
                    path=name,
                    hint="leave out --size, --align, --relocate-gpt and --keep-name, or remove "
                    "the undo file",
                )
            return _restoring(source, record, force)
        with Image(kind(source, OpenOptions())) as image:
            return Planner(source, image, to, unique_id).plan(
                align, size, allow_4kn, relocate_gpt, new_path_of(name, to, keep_name), force
            )


def convert_in_place(
    path: Path,
    *,
    to: str = "fixed-vhd",
    from_format: str | None = None,
    align: int | None = None,
    size: int | None = None,
    unique_id: str | None = None,
    force: bool = False,
    keep_name: bool = False,
    keep_undo: bool = False,
    allow_4kn: bool = False,
    relocate_gpt: bool = False,
) -> InPlaceResult:
    """Make a raw disk a fixed VHD where it lies, or a fixed VHD one of the right size, or raw.

    The time does not depend on the size. to: "fixed-vhd" or "raw". from_format: "raw" or "vhd",
    detected where it is None. align, size, allow_4kn, relocate_gpt: as for `convert`. unique_id:
    UUID of the VHD; one that it has stays where this is None, else it is random. The file gets a
    name that ends in .vhd, or .raw, unless keep_name; force: a file of that name gives way.
    keep_undo: the undo file stays; then converting to raw gives back the raw disk as it was.

    What was interrupted is completed instead, and where it was another change nothing else is done.
    Where a conversion of a raw disk to a VHD was interrupted, `to="raw"` takes it back.

    Raises UsageError, ImageError (other formats, a damaged VHD), UnprovenError (bytes that might be
    lost), InUseError, SourceChangedError, TargetError (a device, links, a name that is taken),
    UndoError, ReadError, NoSpaceError, WriteError; the file is then as it was, unless the error
    says other.
    """
    started = time.monotonic()
    name = checked_name(path, to)
    found = _interrupted(name, to)
    if found is not None:
        result = _go_on(found, to, keep_undo, force)
        moved = None if result.renamed_to == name else result.renamed_to
        result = dataclasses.replace(result, path=name, renamed_to=moved)
    else:
        plan = plan_conversion_in_place(
            name,
            to=to,
            from_format=from_format,
            align=align,
            size=size,
            unique_id=unique_id,
            force=force,
            keep_name=keep_name,
            allow_4kn=allow_4kn,
            relocate_gpt=relocate_gpt,
        )
        result = _act(plan, keep_undo, force)
    return dataclasses.replace(result, seconds=time.monotonic() - started)


def _act(plan: ConvertInPlacePlan, keep_undo: bool, force: bool) -> InPlaceResult:
    if plan.restores:
        return dataclasses.replace(_undo(plan.path, force), plan=plan)
    title = title_of(plan.source_format, plan.target_format)
    if plan.change is None:
        return InPlaceResult(plan.path, "unchanged", title, (), None, plan)
    kept = edits.apply(plan.change, keep=keep_undo)
    renamed_to = plan.new_path if plan.new_path != plan.path else None
    return InPlaceResult(plan.path, "changed", title, plan.steps, kept, plan, renamed_to)


# ---- what was interrupted, and what was made -----------------------------------------------------


def _interrupted(path: str, to: str) -> str | None:
    """The name by which a change that was begun and not ended is found, or None.

    A conversion may have given the file its new name, and then its undo file too.
    """
    new = new_path_of(path, to, False)
    # Whatever it was called before: the user may know the new name alone by now.
    old = [
        name
        for name in edits.names_with_undo_files(path)
        if os.path.basename(path)
        in (os.path.basename(new_path_of(name, kind, False)) for kind in ("fixed-vhd", "raw"))
    ]
    for name in dict.fromkeys((path, new, *old)):
        if name != path and os.path.lexists(path) == os.path.lexists(name):
            continue
        try:
            record = edits.interrupted(name)
        except ImageError:
            continue  # no such file, by either name
        except UndoError:
            if name in old and name not in (path, new):
                continue  # that may be about another file
            raise
        if record is not None and (name == path or os.path.basename(path) in record.names):
            return name
    return None


def _go_on(path: str, to: str, keep_undo: bool, force: bool) -> InPlaceResult:
    """Bring what was interrupted to the end that is asked for now."""
    record = edits.interrupted(path)
    if record is not None and record.title == FROM_RAW and to == "raw":
        return _undo(path, force)
    is_ours = record is not None and record.title.startswith("convert ")
    return completed(path, edits.complete(path, keep=keep_undo or not is_ours, replace=force))


def _undo(path: str, force: bool) -> InPlaceResult:
    check = functools.partial(check_undone, path)
    return undone(path, edits.undo(path, check_cut=check, replace=force))


def _record_of(path: str) -> Record | None:
    """The conversion of a raw disk that made this VHD, where its undo file was kept.

    Raises UndoError where something else wrote to the file since, UnprovenError where its disk
    needs its end now.
    """
    record = edits.last_change(path)
    if record is None or record.title != FROM_RAW:
        return None
    edits.check_undo(path, functools.partial(check_undone, path))
    return record


def _restoring(source: SourceFile, record: Record, force: bool) -> ConvertInPlacePlan:
    new = source.path
    if os.path.basename(source.path) in record.names:  # a third name, given by someone, stays
        new = os.path.join(os.path.dirname(source.path), record.names[0])
        check_new_name(source, new, force)
    return ConvertInPlacePlan(
        path=source.path,
        new_path=new,
        source_format="vhd",
        target_format="raw",
        source_size=source.size - FOOTER_LENGTH,
        target_size=record.old_size,
        old_file_size=source.size,
        file_size=record.old_size,
        restores=True,
        gpt_moved=False,
        steps=record.steps,
        notices=(),
        change=None,
    )
