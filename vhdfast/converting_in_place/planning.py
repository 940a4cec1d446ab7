"""What has to be written so that a file becomes another kind of disk where it lies."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..converting import check_sector_size, target_size
from ..edits import Change, Stage, Step, Write, nonzero
from ..errors import (
    ImageError,
    ReadError,
    TargetError,
    UnprovenError,
    UnsupportedImageError,
    UsageError,
)
from ..files import SourceFile
from ..formats import FORMATS, Glimpse, Notice, OpenOptions, detect, named
from ..formats.raw import RawImage
from ..formats.vhd import VhdImage
from ..formats.vhd.footer import FOOTER_LENGTH, LARGEST_GEOMETRY, NIL_UUID, NO_OFFSET, DiskType
from ..formats.vhd.geometry import geometry_for
from ..guest.partitions import read_partitions
from ..image import Image
from ..outputs import TargetOptions
from ..outputs.fixed_vhd import FixedVhd
from ..resizing import check_no_snapshots, gpt_notice, move_footer, moved_gpt
from ..targets import check_largest, checked_uuid, output_kind, source_date_epoch
from .naming import check_directory, check_new_name, copy_hint

__all__ = ["ConvertInPlacePlan", "Planner", "kind_of", "title_of"]


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


def kind_of(source: SourceFile, name: str | None) -> type[RawImage] | type[VhdImage]:
    if source.is_device:
        raise TargetError(
            "only files are changed in place, not devices",
            path=source.path,
            hint=copy_hint(source.path),
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
        hint=copy_hint(source.path),
    )


def title_of(source_format: str, to: str) -> str:
    return f"convert {source_format} to {to}"


class Planner:
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
            check_new_name(source, new_path, force, ", --keep-name leaves the name")
        change = None
        if stages or new_path != source.path:
            check_no_snapshots(source)
            check_directory(source.path)
            change = Change(
                source.path,
                title_of(image.layer.name, self.to),
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
                hint=copy_hint(source.path),
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
                hint=f"{copy_hint(self.source.path)}; it leaves them out",
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
            return moved_gpt(self.source, image.pread, table, image.virtual_size, new)
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
