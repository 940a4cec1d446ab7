"""qcow2, versions 2 and 3, as qemu and others write it.

Source: QEMU, docs/interop/qcow2. Refcounts matter to writers only and are not read.
"""

from __future__ import annotations

import struct
from typing import Any

from ...errors import DAMAGED, InvalidImageError, UnsupportedImageError, VhdfastError, printable
from ...extents import Codec, Rows
from ...files import Source
from ...units import MAX_OFFSET
from ..base import FORMATS, Glimpse, ImageFormat, ImageInfo, OpenOptions
from .header import (
    CORRUPT,
    DIRTY,
    INCOMPATIBLE_AT,
    L1_AT,
    L1_SIZE_AT,
    MAGIC,
    MAX_CLUSTER_BITS,
    MIN_CLUSTER_BITS,
    SNAPSHOTS_AT,
    read_header,
)
from .snapshots import LISTED, Snapshot, choose, walk
from .tables import ClusterTable

__all__ = ["Qcow2Image"]

# What qemu calls formats that have another name here.
_QEMU_NAMES = {"vpc": "vhd", "file": "raw", "host_device": "raw"}


class Qcow2Image(ImageFormat):
    """A qcow2 image: its active disk, or that of an internal snapshot."""

    name = "qcow2"
    title = "qcow2, versions 2 and 3 (QEMU)"
    suffixes = (".qcow2",)
    has_snapshots = True

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        start = glimpse.at(0, 8)
        is_ours = start[:4] == MAGIC and start[4:] != b"\0\0\0\1"
        return "'QFI\\xfb' at its start" if is_ours else None

    @classmethod
    def residue(cls, glimpse: Glimpse) -> str | None:
        header = glimpse.at(0, 72)
        if len(header) < 72 or header[:4] == MAGIC:
            return None
        version, cluster_bits = struct.unpack_from(">I12xI", header, 4)
        l1_offset, refcounts = struct.unpack_from(">QQ", header, L1_AT)
        if version not in (2, 3) or not MIN_CLUSTER_BITS <= cluster_bits <= MAX_CLUSTER_BITS:
            return None
        tables = (l1_offset, refcounts)
        if any(not at or at % (1 << cluster_bits) or at > glimpse.size for at in tables):
            return None
        return "a header of version 2 or 3 at its start, without 'QFI\\xfb'"

    def __init__(self, source: Source, options: OpenOptions) -> None:
        super().__init__(source, options)
        header = self.header = read_header(source)
        self.snapshot: Snapshot | None = None
        if options.snapshot is not None:
            self.snapshot = choose(source, header, options.snapshot)
        self.virtual_size = self._disk_size()
        self._notice_flags()
        data = source
        data_index = 0
        if header.data_file is not None:
            data_index = len(self.sources)
            data = self.open_file(header.data_file, "data file")
        else:
            self.unit_size = header.cluster_size
        self.table = ClusterTable(
            source, header, self._l1(), self.virtual_size, data, data_index, options.ask_holes
        )
        self.data_index = data_index
        self._listed = self._list_snapshots()
        if header.backing_file is not None:
            self.open_parent(
                header.backing_file,
                _parent_format(source, header.backing_format),
                "backing file",
            )

    def _disk_size(self) -> int:
        """Bytes. A snapshot keeps the size that the disk had."""
        snapshot = self.snapshot
        if snapshot is None or snapshot.virtual_size is None:
            return self.header.virtual_size
        if not 0 < snapshot.virtual_size <= MAX_OFFSET:
            raise InvalidImageError(
                f"snapshot {snapshot} is of a disk of {snapshot.virtual_size} bytes, expected 1 "
                "to 2^63 - 1",
                path=self.source.path,
                offset=snapshot.offset + 48,
            )
        return snapshot.virtual_size

    def _l1(self) -> tuple[int, int, int]:
        """Offset and entries of the L1 table that is read, and where in the file they are said."""
        header, snapshot = self.header, self.snapshot
        if snapshot is None:
            offset, size, field, size_field = header.l1_offset, header.l1_size, L1_AT, L1_SIZE_AT
        else:
            offset, size = snapshot.l1_offset, snapshot.l1_size
            field, size_field = snapshot.offset, snapshot.offset + 8
            if header.has_data_file:
                raise UnsupportedImageError(
                    "a snapshot of a disk whose data lies in another file: what that held then "
                    "is not kept",
                    path=self.source.path,
                    offset=SNAPSHOTS_AT,
                )
        if offset % header.cluster_size:
            raise InvalidImageError(
                f"the L1 table is said to lie at {offset:#x}, no multiple of {header.cluster_size}",
                path=self.source.path,
                offset=field,
            )
        # A snapshot that does not say its size may be of a smaller disk than today's.
        if snapshot is None or snapshot.virtual_size is not None:
            reach = header.cluster_size * (header.cluster_size // (16 if header.is_extended else 8))
            needed = -(-self.virtual_size // reach)
            if size < needed:
                raise InvalidImageError(
                    f"the L1 table has {size} entries, a disk of {self.virtual_size} bytes needs "
                    f"{needed}: the rest of it would read as zeros",
                    path=self.source.path,
                    offset=size_field,
                    hint=DAMAGED,
                )
        return offset, size, field

    def _notice_flags(self) -> None:
        if self.header.incompatible & DIRTY:
            self.notice(
                "dirty",
                "the image was not closed properly; its reference counts may be wrong, which "
                "matters to writers only",
                INCOMPATIBLE_AT,
            )
        if self.header.incompatible & CORRUPT:
            self.notice(
                "marked-corrupt",
                "a program found the image corrupt and marked it so; what its tables say is read "
                "(qemu-img check tells more)",
                INCOMPATIBLE_AT,
            )

    def _list_snapshots(self) -> list[Snapshot]:
        """The first of them. A damaged table is no reason not to read the disk."""
        found: list[Snapshot] = []
        try:
            for snapshot in walk(self.source, self.header):
                found.append(snapshot)
                if len(found) == LISTED:
                    break
        except VhdfastError as error:
            self.notice(
                "snapshots-damaged",
                f"the image is said to have {self.header.snapshot_count} snapshots, and their "
                f"table cannot be read: {error.message}",
                error.offset,
            )
        return found

    def info(self) -> ImageInfo:
        header = self.header
        details: dict[str, Any] = {
            "compression": "zstd" if header.codec == Codec.ZSTD else "zlib",
            "extended L2": header.is_extended,
        }
        if header.backing_file is not None:
            details["backing file"] = printable(header.backing_file)
        if header.backing_format is not None:
            details["backing format"] = printable(header.backing_format)
        if header.data_file is not None:
            details["data file"] = printable(header.data_file)
            details["data file is raw"] = header.is_raw_external
        if header.snapshot_count:
            details["snapshots"] = header.snapshot_count
            details["first snapshots"] = [snapshot.to_dict() for snapshot in self._listed]
        if self.snapshot is not None:
            details["snapshot read"] = str(self.snapshot)
        return self.make_info(
            f"v{header.version}", block_size=header.cluster_size, details=details
        )

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        rows = self.table.rows(offset, length, max_rows)
        return self.cut_at_end(rows, "cluster", self.data_index)


def _parent_format(source: Source, name: str | None) -> str | None:
    """The format that an image gives its backing file, by our name. None where it gives none.

    Raises UnsupportedImageError for one that is not read.
    """
    if name is None:
        return None
    ours = _QEMU_NAMES.get(name, name)
    if ours not in FORMATS:
        raise UnsupportedImageError(
            f"the backing file is said to be of format {printable(name)!r}, which is not read",
            path=source.path,
            hint="convert the backing file, and make the image refer to the new one: qemu-img "
            "rebase -u -F qcow2 -b NEW IMAGE",
        )
    return ours
