"""Converting in place: no copy where a raw disk only lacks a footer, or a fixed VHD has the wrong
size.

A byte of the disk has the same offset in a raw file and in a fixed VHD, so that it takes a footer
behind the disk, at any size. Nothing is written here: `vhdfast.edits` makes what is planned.
docs/internals/in-place.md.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import stat
import time
from dataclasses import dataclass

from . import edits
from .converting import check_sector_size, target_size
from .edits import Change, Record, Stage, Step, Write, nonzero
from .errors import (
    ImageError,
    ReadError,
    TargetError,
    UnprovenError,
    UnsupportedImageError,
    UsageError,
)
from .files import SourceFile, is_url
from .formats import FORMATS, Glimpse, Notice, OpenOptions, detect, named
from .formats.raw import RawImage
from .formats.vhd import VhdImage
from .formats.vhd.footer import FOOTER_LENGTH, LARGEST_GEOMETRY, NIL_UUID, NO_OFFSET, DiskType
from .formats.vhd.geometry import geometry_for
from .guest.gpt_move import move_backup_gpt
from .guest.partitions import read_partitions
from .image import Image
from .in_place import InPlaceResult, completed, undone
from .outputs import OUTPUTS, TargetOptions
from .outputs.fixed_vhd import FixedVhd
from .resizing import apart, check_no_snapshots, gpt_notice, move_footer
from .targets import check_largest, checked_uuid, output_kind, source_date_epoch

__all__ = ["ConvertInPlacePlan", "convert_in_place", "plan_conversion_in_place"]

Path = str | os.PathLike[str]

# The undo file of this change gives `--to raw` the raw disk's size and name.
FROM_RAW = "convert raw to fixed-vhd"


@dataclass(frozen=True, slots=True)
class ConvertInPlacePlan:
    """What a conversion in place will do; sizes in bytes (docs/json.md)."""

    path: str
    new_path: str  # the same where the name stays
    source_format: str  # "raw", "vhd"
    target_format: str  # "fixed-vhd", "raw"
    source_size: int  # virtual
    target_size: int
    old_file_size: int
    file_size: int  # afterwards
    restores: bool  # the undo file of the conversion to a VHD says what the raw disk was
    gpt_moved: bool
    steps: tuple[Step, ...]  # what is written; with `restores` what is taken back
    notices: tuple[Notice, ...]
    change: Change | None  # None where nothing is to be done, or an undo file does it


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
    name = _checked_name(path, to)
    found = _interrupted(name, to)
    if found is not None:
        edits.check_not_interrupted(found)
    _check_file(name, keep_name)
    with SourceFile(name) as source:
        kind = _kind(source, from_format)
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
            return _Planner(source, image, to, unique_id).plan(
                align, size, allow_4kn, relocate_gpt, _new_path(name, to, keep_name), force
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
    name = _checked_name(path, to)
    found = _interrupted(name, to)
    if found is not None:
        result = _go_on(found, to, keep_undo, force)
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
        record = edits.undo(plan.path, replace=force)
        return dataclasses.replace(undone(plan.path, record), plan=plan)
    title = _title(plan.source_format, plan.target_format)
    if plan.change is None:
        return InPlaceResult(plan.path, "unchanged", title, (), None, plan)
    kept = edits.apply(plan.change, keep=keep_undo)
    renamed_to = plan.new_path if plan.new_path != plan.path else None
    return InPlaceResult(plan.path, "changed", title, plan.steps, kept, plan, renamed_to)


# ---- what was interrupted -----------------------------------------------------------------------


def _interrupted(path: str, to: str) -> str | None:
    """The name by which a change that was begun and not ended is found, or None.

    A conversion may have given the file its new name, and then its undo file too.
    """
    new = _new_path(path, to, False)
    for name in dict.fromkeys((path, new)):
        if name != path and os.path.lexists(path) == os.path.lexists(name):
            continue
        try:
            record = edits.interrupted(name)
        except ImageError:
            continue  # no such file, by either name
        if record is not None and (name == path or os.path.basename(path) in record.names):
            return name
    return None


def _go_on(path: str, to: str, keep_undo: bool, force: bool) -> InPlaceResult:
    """Bring what was interrupted to the end that is asked for now."""
    record = edits.interrupted(path)
    if record is not None and record.title == FROM_RAW and to == "raw":
        return undone(path, edits.undo(path, replace=force))
    is_ours = record is not None and record.title.startswith("convert ")
    return completed(path, edits.complete(path, keep=keep_undo or not is_ours, replace=force))


def _record_of(path: str) -> Record | None:
    """The conversion of a raw disk that made this VHD, where its undo file was kept."""
    record = edits.last_change(path)
    return record if record is not None and record.title == FROM_RAW else None


def _restoring(source: SourceFile, record: Record, force: bool) -> ConvertInPlacePlan:
    new = source.path
    if record.names:
        new = os.path.join(os.path.dirname(source.path), record.names[0])
        _check_new_name(source, new, force)
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


# ---- what is refused, and names -----------------------------------------------------------------


def _checked_name(path: Path, to: str) -> str:
    name = os.fspath(path)
    output_kind(to)
    if to not in ("fixed-vhd", "raw"):
        raise UsageError(
            f"a {to} holds its data in another order, which takes a copy",
            path=name,
            hint=_copy_hint(name, f"--to {to} "),
        )
    if is_url(name):
        raise UsageError("only files are changed in place", path=name, hint=_copy_hint(name))
    return name


def _copy_hint(path: str, options: str = "") -> str:
    return f"make a new file: vhdfast convert {options}{shlex.quote(path)} NEW"


def _check_file(path: str, keep_name: bool) -> None:
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
            hint=_copy_hint(path),
        )


def _kind(source: SourceFile, name: str | None) -> type[RawImage] | type[VhdImage]:
    if source.is_device:
        raise TargetError(
            "only files are changed in place, not devices",
            path=source.path,
            hint=_copy_hint(source.path),
        )
    if name is not None and name not in FORMATS:
        raise UsageError(f"unknown format {name!r}", hint="raw or vhd, for a file in place")
    found = detect(source) if name is None else named(source, name, OpenOptions())
    if found is RawImage:
        return RawImage
    if found is VhdImage:
        return VhdImage
    raise UnsupportedImageError(
        f"this is a {found.name} file; only raw disks and fixed VHDs are converted in place",
        path=source.path,
        hint=_copy_hint(source.path),
    )


def _new_path(path: str, to: str, keep_name: bool) -> str:
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


def _check_new_name(source: SourceFile, new: str, force: bool) -> None:
    if not edits.is_name(os.path.basename(new)):
        raise TargetError(
            f"the name {os.path.basename(new)} is too long",
            path=source.path,
            hint="--keep-name leaves the name as it is",
        )
    edits.check_free(source.fileno(), new, force)


def _title(source_format: str, to: str) -> str:
    return f"convert {source_format} to {to}"


# ---- the plan -----------------------------------------------------------------------------------


class _Planner:
    """One call: a disk in a file that is to become another one in the same file."""

    def __init__(self, source: SourceFile, image: Image, to: str, unique_id: str | None) -> None:
        self.source, self.image, self.to = source, image, to
        self.kind = output_kind(to)
        self.unique_id = checked_uuid(unique_id)
        layer = image.layer
        self.vhd = layer if isinstance(layer, VhdImage) else None

    def plan(
        self,
        align: int | None,
        size: int | None,
        allow_4kn: bool,
        relocate_gpt: bool,
        new_path: str,
        force: bool,
    ) -> ConvertInPlacePlan:
        source, image, kind = self.source, self.image, self.kind
        if self.vhd is not None:
            self._check_vhd(self.vhd)
        check_sector_size(image, allow_4kn)
        limits = kind.constraints
        new = target_size(image, limits.alignment if align is None else align, size)
        check_largest(new, kind, source.path, "shrink the disk in the guest first")
        stages = self._stages(new)
        moved = self._moved_gpt(new) if relocate_gpt else []
        stages += moved
        if new_path != source.path:
            _check_new_name(source, new_path, force)
        change = None
        if stages or new_path != source.path:
            check_no_snapshots(source)
            change = Change(
                source.path,
                _title(image.layer.name, self.to),
                tuple(stages),
                source.seen,
                None if new_path == source.path else os.path.basename(new_path),
                force,
            )
        image.check_unchanged()
        return ConvertInPlacePlan(
            path=source.path,
            new_path=new_path,
            source_format=image.layer.name,
            target_format=self.to,
            source_size=image.virtual_size,
            target_size=new,
            old_file_size=source.size,
            file_size=source.size if change is None else change.new_size,
            restores=False,
            gpt_moved=bool(moved),
            steps=() if change is None else change.steps,
            notices=(*image.notices, *self._notices(new, relocate_gpt)),
            change=change,
        )

    def _check_vhd(self, vhd: VhdImage) -> None:
        """A fixed VHD around whose disk nothing lies that would be lost."""
        source, footer = self.source, vhd.footer
        if footer.disk_type != DiskType.FIXED:
            raise UnsupportedImageError(
                f"this is a {DiskType(footer.disk_type).name.lower()} VHD; only raw disks and "
                "fixed VHDs are converted in place",
                path=source.path,
                hint=_copy_hint(source.path),
            )
        if footer.current_size > vhd.limit:
            raise UnprovenError(
                f"the footer gives {footer.current_size} bytes, the file holds {vhd.limit} before "
                "it: what is missing cannot be known",
                path=source.path,
                offset=vhd.limit,
                hint="copy the image again; vhdfast convert makes a new file of what is there",
            )
        self._check_zeros(footer.current_size, vhd.limit, "between the disk and its footer")
        self._check_zeros(vhd.limit + FOOTER_LENGTH, source.size, "behind the footer")

    def _check_zeros(self, start: int, end: int, where: str) -> None:
        try:
            first = next(iter(nonzero(self.source.fileno(), start, end)), None)
        except OSError as error:
            raise ReadError(f"reading failed: {error.strerror}", path=self.source.path) from error
        if first is not None:
            raise UnprovenError(
                f"{end - start} bytes lie {where}, and not all are zeros: they would be lost",
                path=self.source.path,
                offset=first[0],
                hint=f"{_copy_hint(self.source.path)}; it leaves them out",
            )

    def _stages(self, new: int) -> list[Stage]:
        old = self.image.virtual_size
        if self.to == "raw":
            stages = [] if old == self.source.size else [Stage(size=old)]
            return stages if new == old else [*stages, Stage(size=new)]
        footer = self._footer(new)
        if self.vhd is None:
            return [Stage((Write(new, footer, "footer", f"for a disk of {new} bytes"),))]
        limit, end = self.vhd.limit, self.source.size
        length = min(FOOTER_LENGTH, end - limit)  # Virtual PC before 2004 wrote 511
        stages = [Stage(size=limit + length)] if limit + length < end else []
        if new == limit and length == FOOTER_LENGTH and self._is_good(new):
            return stages
        return stages + move_footer(limit, length, new, footer)

    def _footer(self, new: int) -> bytes:
        unique_id = self.unique_id
        if unique_id is None and self.vhd is not None and self.vhd.footer.unique_id != NIL_UUID:
            unique_id = str(self.vhd.footer.unique_id)
        options = TargetOptions(unique_id=unique_id, timestamp=source_date_epoch())
        return FixedVhd(self.source.path, new, options).trailer()

    def _is_good(self, size: int) -> bool:
        """Whether the footer that is there can stay."""
        assert self.vhd is not None
        footer = self.vhd.footer
        return (
            footer.is_intact
            and footer.current_size == size
            and footer.features == 2
            and footer.version == 0x00010000
            and footer.data_offset == NO_OFFSET
            and not footer.saved_state
            and (
                footer.geometry in (LARGEST_GEOMETRY, geometry_for(size)) or footer.chs_size == size
            )
            and footer.unique_id != NIL_UUID
            and self.unique_id in (None, str(footer.unique_id))
        )

    def _moved_gpt(self, new: int) -> list[Stage]:
        """As `patched.moved_gpt`, so that both conversions write the same bytes."""
        image = self.image
        table = read_partitions(image.pread, image.virtual_size, image.sector_size)
        if table is None or table.scheme != "gpt":
            return []
        try:
            return apart(
                move_backup_gpt(
                    image.pread, table, image.virtual_size, new, sector_size=image.sector_size
                )
            )
        except ImageError as error:
            error.path = image.path
            raise

    def _notices(self, new: int, relocate_gpt: bool) -> tuple[Notice, ...]:
        notices = []
        if self.vhd is None and VhdImage.probe(Glimpse(self.source)) is not None:
            notices.append(
                Notice(
                    "nested-footer",
                    "the file ends, or begins, like a VHD; taken as a raw disk, as you said, these "
                    "bytes are data of the disk",
                    self.source.path,
                )
            )
        if not relocate_gpt and self.image.sector_size == 512:
            notice = gpt_notice(self.source, self.image.virtual_size, new)
            if notice is not None:
                notices.append(notice)
        return tuple(notices)
