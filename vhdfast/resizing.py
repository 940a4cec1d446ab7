"""Another size for a disk in place: what it takes, and the proof that nothing is lost.

Only of files in which a byte of the disk has the same offset as in the file: raw disks and fixed
VHDs. Nothing is written here; `vhdfast.edits` makes what is planned.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from . import contents, edits
from .edits import Change, Stage, Write, nonzero
from .errors import (
    ReadError,
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
from .guest.partitions import Pread, read_partitions
from .outputs.fixed_vhd import FixedVhd
from .siblings import newer_states
from .units import MAX_OFFSET, SECTOR, format_bytes, round_up

__all__ = [
    "ResizePlan",
    "check_cut",
    "check_no_snapshots",
    "gpt_notice",
    "gpt_stages",
    "move_footer",
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

    old: the disk's present size. Raises PartitionTableError where that cannot be done.
    """
    pread = _disk(source, old)
    table = read_partitions(pread, old)
    if table is None:
        raise UsageError(
            "there is no partition table whose backup could be moved",
            path=source.path,
            hint="leave out --relocate-gpt",
        )
    known = old if table.backup is None else table.backup.offset + table.sector_size
    stages: list[Stage] = []
    for writes in move_backup_gpt(pread, table, known, new):
        apart: list[Write] = []
        for write in writes:
            if any(write.offset < one.end and one.offset < write.offset + len(write.data)
                   for one in apart):  # fmt: skip
                stages.append(Stage(tuple(apart)))
                apart = []
            apart.append(Write(write.offset, write.data, write.what))
        stages.append(Stage(tuple(apart)))
    return stages


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
    table = read_partitions(_disk(source, old), old)
    if table is None or table.scheme != "gpt" or (new == old and table.backup_is_at_end):
        return None
    return Notice(
        "gpt-backup",
        "the backup of the GPT will not lie at the end of the disk; --relocate-gpt moves it there",
        source.path,
        None if table.backup is None else table.backup.offset,
    )


def check_cut(source: SourceFile, old: int, new: int, relocates_gpt: bool) -> None:
    """Prove that the end of a disk, [new, old), is unused: no partition, nothing but zeros.

    What is no disk of partitions, a file system on all of it, keeps its size.

    relocates_gpt: the backup of a GPT may lie there, for it is moved before. Raises UnprovenError.
    """
    pread = _disk(source, old)
    table = read_partitions(pread, old)
    backup: list[tuple[int, int]] = []
    if table is None:
        _check_empty(source, pread, 0, new)
    else:
        # A boot loader of a file system on the whole disk may look like a table of nothing.
        if table.scheme == "mbr" and not table.partitions:
            _check_empty(source, pread, SECTOR, new)
        for sign, name in contents.file_systems(pread):
            if not any(one.offset <= sign < one.end for one in table.partitions):
                raise _unproven(
                    source,
                    f"a signature of {name} lies outside of all partitions, and nothing tells "
                    "where its data ends",
                    sign,
                )
        if table.scheme == "gpt" and table.header is None:
            raise _unproven(source, "the GPT is damaged, so that nothing tells where it ends", new)
        for partition in table.partitions:
            if partition.end > new:
                raise _unproven(
                    source,
                    f"partition {partition.number} ends at {partition.end}, behind the "
                    f"{format_bytes(new)} that would be left",
                    partition.offset,
                )
        if table.backup is not None:
            start = table.backup.entries_offset
            backup = [
                (start, start + table.backup.entries_space),
                (table.backup.offset, table.backup.offset + table.sector_size),
            ]
    spared = backup if relocates_gpt else []
    for offset, data in _data(source, new, old):
        at = _first_outside(offset, data, spared)
        if at is None:
            continue
        if any(start <= at < end for start, end in backup):
            raise _unproven(source, "the backup of the GPT lies there; --relocate-gpt moves it", at)
        raise _unproven(source, "it is not empty", at)


def _check_empty(source: SourceFile, pread: Pread, start: int, end: int) -> None:
    holds = contents.describe(pread)
    for offset, _ in _data(source, start, end):
        raise _unproven(
            source,
            f"the disk has no partitions ({holds or 'unknown data'}), so that nothing tells where "
            "its data ends",
            offset,
        )


def _unproven(source: SourceFile, why: str, offset: int) -> UnprovenError:
    return UnprovenError(
        f"the end of the disk cannot be cut off: {why}",
        path=source.path,
        offset=offset,
        hint="shrink the partitions in the guest first, or leave out --shrink",
    )


def _data(source: SourceFile, start: int, end: int) -> Iterable[tuple[int, bytes]]:
    try:
        yield from nonzero(source.fileno(), start, end)
    except OSError as error:
        raise ReadError(f"reading failed: {error.strerror}", path=source.path) from error


def _first_outside(offset: int, data: bytes, spared: list[tuple[int, int]]) -> int | None:
    """Where the first byte that is not zero lies, but for spared ranges."""
    left = bytearray(data)
    for start, end in spared:
        low, high = max(start, offset), min(end, offset + len(data))
        if low < high:
            left[low - offset : high - offset] = bytes(high - low)
    rest = bytes(left).lstrip(b"\0")
    return offset + len(data) - len(rest) if rest else None


def _disk(source: SourceFile, size: int) -> Pread:
    """Reads a flat disk that is the first bytes of a file."""
    return lambda offset, length: source.read(offset, max(0, min(length, size - offset)))
