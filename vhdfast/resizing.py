"""Another size for a disk in place: what it takes, and the proof that nothing is lost.

Only of files in which a byte of the disk has the same offset as in the file: raw disks and fixed
VHDs. Nothing is written here; `vhdfast.edits` makes what is planned.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from dataclasses import dataclass

from . import edits
from .edits import Change, Stage, Write
from .errors import (
    TargetError,
    TargetTooLargeError,
    UnprovenError,
    UnsupportedImageError,
    UsageError,
)
from .files import SourceFile
from .formats import Glimpse, Notice, OpenOptions, detect
from .formats.raw import RawImage
from .formats.vhd import VhdImage
from .formats.vhd.footer import FOOTER_LENGTH, LARGEST_GEOMETRY, DiskType, Footer
from .guest.gpt_move import move_backup_gpt
from .guest.partitions import PartitionTable, Pread, read_partitions
from .outputs.fixed_vhd import FixedVhd
from .shrinking import check_cut, first_outside, flat_disk, gpt_ranges
from .siblings import newer_states, next_part
from .units import MAX_OFFSET, SECTOR, format_bytes, round_up

__all__ = [
    "ResizePlan",
    "check_no_snapshots",
    "check_not_split",
    "gpt_notice",
    "gpt_stages",
    "move_footer",
    "moved_gpt",
    "plan_resize",
]

Path = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class ResizePlan:
    """What a resize will do; sizes in bytes (docs/json.md)."""

    path: str
    format: str  # "raw", "vhd"
    old_size: int  # virtual
    new_size: int
    change: Change | None  # None where nothing has to be done
    notices: tuple[Notice, ...]


def plan_resize(
    path: Path,
    size: int | None = None,
    *,
    by: int = 0,
    align: int | None = None,
    shrink: bool = False,
    relocate_gpt: bool = False,
    from_format: str | None = None,
    undo_file: Path | None = None,
) -> ResizePlan:
    """Plan another virtual size for a raw disk or a fixed VHD. Writes nothing.

    size: the size to get, the present one by default; by: so much more; align: then rounded up to a
    multiple of it. shrink: a smaller size is allowed, where what is cut off is proven to be unused.
    relocate_gpt: the backup of a GPT goes to the new end. from_format: "raw" or "vhd", detected
    where it is None.

    Raises UsageError, ImageError (another format, a damaged VHD), UnprovenError,
    PartitionTableError, TargetTooLargeError, UndoError (a change was interrupted), ReadError.
    """
    edits.check_not_interrupted(path, undo_file)
    with SourceFile(path) as source:
        check_not_split(source)
        kind = _kind(source, from_format)
        footer = None if kind is RawImage else _footer(source)
        old = source.size if footer is None else footer.current_size
        new = _new_size((old if size is None else size) + by, align)
        _check_size(source, new, is_vhd=footer is not None)
        if new < old:
            if not shrink:
                raise UsageError(
                    f"{format_bytes(new)} are less than the disk has, {format_bytes(old)}",
                    hint="--shrink cuts off what is proven to be unused",
                )
            check_cut(source, old, new, relocate_gpt)
        stages: list[Stage] = []
        moved = gpt_stages(source, old, new) if relocate_gpt else []
        if new != old or moved:
            check_no_snapshots(source)
        if new < old:
            stages += moved
        if new != old and footer is None:
            stages.append(Stage(size=new))
        elif new != old and footer is not None:
            fresh = dataclasses.replace(
                footer, current_size=new, original_size=new, geometry=LARGEST_GEOMETRY
            )
            stages += move_footer(old, FOOTER_LENGTH, new, fresh.pack())
        if new >= old:
            stages += moved
        change = Change(source.path, "resize", tuple(stages), source.seen) if stages else None
        notice = None if relocate_gpt else gpt_notice(source, old, new)
        return ResizePlan(
            source.path, kind.name, old, new, change, () if notice is None else (notice,)
        )


def _kind(source: SourceFile, name: str | None) -> type[RawImage] | type[VhdImage]:
    if source.is_device:
        raise TargetError("only files are changed in place, not devices", path=source.path)
    if name == "raw" and VhdImage.probe(Glimpse(source)) is not None:
        raise UsageError(
            "this is a VHD: taken as a raw disk, its footer would become data of the disk",
            path=source.path,
            hint="leave out --from",
        )
    kind: type = {"raw": RawImage, "vhd": VhdImage}.get(name or "") or detect(source)
    if kind is RawImage:
        return RawImage
    if kind is VhdImage:
        return VhdImage
    title = getattr(kind, "name", "container")
    raise _convert(source, f"a {title} file")


def _convert(source: SourceFile, what: str) -> UnsupportedImageError:
    return UnsupportedImageError(
        f"this is {what}; only raw disks and fixed VHDs get another size in place",
        path=source.path,
        hint="make a new file of that size: vhdfast convert --size SIZE "
        f"{shlex.quote(source.path)} NEW",
    )


def _footer(source: SourceFile) -> Footer:
    """That of a fixed VHD in which everything is in its place."""
    image = VhdImage(source, OpenOptions())
    footer = image.footer
    if footer.disk_type != DiskType.FIXED:
        raise _convert(source, f"a {DiskType(footer.disk_type).name.lower()} VHD")
    if not footer.is_intact or footer.current_size != image.limit:
        raise UnprovenError(
            "the footer of this fixed VHD is damaged or does not fit the file",
            path=source.path,
            offset=image.limit,
            hint=f"repair it first: vhdfast repair {shlex.quote(source.path)}",
        )
    if image.limit + FOOTER_LENGTH != source.size:
        raise UnprovenError(
            "the footer of this fixed VHD does not lie at its very end",
            path=source.path,
            offset=image.limit,
            hint=f"repair it first: vhdfast repair {shlex.quote(source.path)}",
        )
    return footer


def _new_size(size: int, align: int | None) -> int:
    step = SECTOR if align is None else align
    if step < SECTOR or step % SECTOR:
        raise UsageError(
            f"an alignment of {step} bytes", hint=f"give a multiple of {SECTOR}, such as 1M"
        )
    if align is None and size % SECTOR:
        raise UsageError(
            f"a disk of {size} bytes: no whole number of sectors of {SECTOR}",
            hint="--align rounds up to a whole MiB",
        )
    return round_up(size, step)


def _check_size(source: SourceFile, size: int, is_vhd: bool) -> None:
    largest = FixedVhd.constraints.max_size if is_vhd else MAX_OFFSET
    if not 0 < size <= largest:
        raise (
            TargetTooLargeError(
                f"a disk of {size} bytes, at most {format_bytes(largest)} are possible",
                path=source.path,
            )
            if size > 0
            else UsageError(f"a disk of {size} bytes")
        )


# ---- parts of a change, for repairs too ---------------------------------------------------------


def move_footer(old: int, length: int, new: int, footer: bytes) -> list[Stage]:
    """The stages that put a fixed VHD's footer behind a disk of another size.

    old, length: where the present footer begins, and its bytes; it ends the file. new: the new
    virtual size. At any moment the file ends with a footer that fits it.
    """
    there = Stage((Write(new, footer, "footer", f"for a disk of {new} bytes"),))
    if new < old:
        end = new + len(footer)
        return [there, Stage(size=end)] if end < old + length else [there]
    if new == old:
        return [there]
    zeros = bytes(min(length, new - old))
    return [there, Stage((Write(old, zeros, "old footer", "zeroed, now part of the disk"),))]


def gpt_stages(source: SourceFile, old: int, new: int) -> list[Stage]:
    """The stages that move the backup of a GPT to the end of a disk of `new` bytes.

    old: the disk's present size. Raises PartitionTableError where that cannot be done,
    UnprovenError where data that belongs to no partition would be overwritten.
    """
    pread = flat_disk(source, old)
    table = read_partitions(pread, old)
    if table is None:
        raise UsageError(
            "there is no partition table whose backup could be moved",
            path=source.path,
            hint="leave out --relocate-gpt",
        )
    known = old if table.backup is None else table.backup.offset + table.sector_size
    return moved_gpt(source, pread, table, known, new)


def moved_gpt(
    source: SourceFile, pread: Pread, table: PartitionTable, old: int, new: int
) -> list[Stage]:
    """The stages that move the backup of this GPT, cut where writes lie on top of each other.

    old: the end of the disk that the backup is at now. Raises what `gpt_stages` does.
    """
    stages: list[Stage] = []
    for writes in move_backup_gpt(pread, table, old, new, sector_size=table.sector_size):
        taken: list[Write] = []
        for write in writes:
            if any(write.offset < one.end and one.offset < write.offset + len(write.data)
                   for one in taken):  # fmt: skip
                stages.append(Stage(tuple(taken)))
                taken = []
            _check_overwritten(source, pread, table, write.offset, write.data)
            taken.append(Write(write.offset, write.data, write.what))
        stages.append(Stage(tuple(taken)))
    return stages


def _check_overwritten(
    source: SourceFile, pread: Pread, table: PartitionTable, offset: int, data: bytes
) -> None:
    """Only zeros, and what is left of the GPT itself, give way to the backup."""
    header = table.header
    if header is None or offset < header.first_usable_lba * table.sector_size or not any(data):
        return
    spared = [] if table.backup is None else gpt_ranges(table.backup)
    at = first_outside(offset, pread(offset, len(data)), spared)
    if at is not None:
        raise UnprovenError(
            "the backup of the GPT would lie on data that belongs to no partition",
            path=source.path,
            offset=at,
            hint="choose another size, or leave out --relocate-gpt",
        )


def check_not_split(source: SourceFile) -> None:
    """Raise UnprovenError where the file is the first part of a split disk: its end is no end."""
    part = next_part(source)
    if part is not None:
        raise UnprovenError(
            f"{part} lies beside it: this is the first part of a split disk",
            path=source.path,
            hint="join the parts into one file first, or move that file away if it is another's",
        )


def check_no_snapshots(source: SourceFile) -> None:
    """Raise UnprovenError where a snapshot lies beside the file, which depends on it as it is."""
    children = newer_states(source)
    if children:
        raise UnprovenError(
            f"{children[-1]} lies beside it: a snapshot that depends on this disk as it is",
            path=source.path,
            hint="merge the machine's snapshots first",
        )


def gpt_notice(source: SourceFile, old: int, new: int) -> Notice | None:
    """That the backup of a GPT will not lie at the disk's end, where that is so."""
    table = read_partitions(flat_disk(source, old), old)
    if table is None or table.scheme != "gpt" or (new == old and table.backup_is_at_end):
        return None
    return Notice(
        "gpt-backup",
        "the backup of the GPT will not lie at the end of the disk; --relocate-gpt moves it there",
        source.path,
        None if table.backup is None else table.backup.offset,
    )
