"""VDI: dynamic, static and differencing, as VirtualBox and qemu write it.

Source: "All about VDIs" (https://forums.virtualbox.org/viewtopic.php?t=8046).
"""

from __future__ import annotations

from ...errors import CorruptImageError
from ...extents import Rows
from ...files import Source
from ..base import Glimpse, ImageFormat, ImageInfo, OpenOptions
from .blocks import BlockMap
from .header import DIFFERENCING, NO_UUID, SIGNATURE, SIGNATURE_OFFSET, STATIC, read_header

__all__ = ["VdiImage"]


class VdiImage(ImageFormat):
    """A VDI; a differencing one lies over the parent that the user names."""

    name = "vdi"
    title = "VDI, dynamic, static and differencing (VirtualBox)"
    suffixes = (".vdi",)

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        found = glimpse.at(SIGNATURE_OFFSET, 4) == SIGNATURE
        return f"the VDI signature at offset {SIGNATURE_OFFSET:#x}" if found else None

    @classmethod
    def residue(cls, glimpse: Glimpse) -> str | None:
        text = glimpse.at(0, SIGNATURE_OFFSET)
        if text.startswith(b"<<< ") and b"Disk Image >>>" in text:
            return f"'<<< … Disk Image >>>' at its start, but no signature at {SIGNATURE_OFFSET:#x}"
        return None

    def __init__(self, source: Source, options: OpenOptions) -> None:
        super().__init__(source, options)
        self.header = read_header(source)
        self.virtual_size = self.header.virtual_size
        self.table = BlockMap(source, self.header)
        if self.header.image_type == DIFFERENCING:
            # VirtualBox lays its VDIs over raw and other disks too, where these keep no changes.
            parent = self.open_parent(None, options.backing_format or "vdi", "parent")
            self._check_parent(parent)

    def _check_parent(self, parent: ImageFormat) -> None:
        header = self.header
        if not isinstance(parent, VdiImage):
            self.notice(
                "parent-not-checked",
                f"the parent is a {parent.name} disk without the UUID {header.link_id} that would "
                "show that it is the right one",
                0x1A8,
            )
            return
        if parent.header.image_id != header.link_id:
            raise CorruptImageError(
                f"the image belongs to a parent with the UUID {header.link_id}, "
                f"{parent.source.path} has {parent.header.image_id}",
                path=self.source.path,
                offset=0x1A8,
                hint="name the right parent with --parent (VBoxManage showmediuminfo names it)",
            )
        if header.parent_modify_id not in (NO_UUID, parent.header.modify_id):
            self.notice(
                "parent-modified",
                f"the parent was written to since this image was made: its modification UUID is "
                f"{parent.header.modify_id}, expected {header.parent_modify_id}",
                0x1B8,
            )

    def info(self) -> ImageInfo:
        header = self.header
        subformat = {STATIC: "static", DIFFERENCING: "differencing"}.get(
            header.image_type, "dynamic"
        )
        identifiers = {
            "image uuid": header.image_id,
            "modification uuid": header.modify_id,
            "parent uuid": header.link_id,
            "parent modification uuid": header.parent_modify_id,
        }
        details: dict[str, object] = {"blocks allocated": header.allocated}
        if header.comment:
            details["comment"] = header.comment
        if header.block_extra:
            details["extra bytes per block"] = header.block_extra
        if header.flags:
            details["image flags"] = f"{header.flags:#x}"
        if header.disk_size != self.virtual_size:
            details["size in the header"] = header.disk_size
        return self.make_info(
            subformat,
            block_size=header.block_size,
            creator=header.text.removeprefix("<<<").removesuffix(">>>").strip() or None,
            geometry=header.geometry,
            identifiers={
                name: str(value) for name, value in identifiers.items() if value != NO_UUID
            },
            details=details,
        )

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        rows = self.table.rows(offset, length, max_rows)
        if self.table.overlaps.is_complete is False:
            self.notice_no_overlap_search("blocks")
        return self.cut_at_end(rows, "block")
