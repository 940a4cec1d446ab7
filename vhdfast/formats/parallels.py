"""Parallels expandable images, "WithoutFreeSpace" and "WithouFreSpacExt". All little-endian.

Source: qemu, docs/interop/parallels, "Parallels Expandable Image File Format".
"""

from __future__ import annotations

import os
import re
import struct
from functools import partial
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from ..errors import (
    CUT_SHORT,
    CorruptImageError,
    InvalidImageError,
    UnsupportedImageError,
    VhdfastError,
)
from ..extents import Kind, Rows, clip, make_rows
from ..files import Source, SourceFile
from ..tables import WINDOW_ENTRIES, OverlapSearch, Region, misplaced, stored_entries
from ..units import MAX_OFFSET, MIB, SECTOR
from .base import Glimpse, ImageFormat, ImageInfo, OpenOptions

__all__ = ["ParallelsImage"]

# Entries of the first kind count sectors, of the second clusters.
OLD, EXTENDED = b"WithoutFreeSpace", b"WithouFreSpacExt"
_HEADER = struct.Struct("<16sIIIIIQIIIQ")
assert _HEADER.size == 64
VERSION = 2
OPEN, CLOSED = 0x746F6E59, 0x312E3276
EMPTY_FLAG = 1
MAX_CLUSTER = 256 * MIB
# Clusters of a disk: 64 TiB at 1 MiB each. A table that is one hole is read to its end.
MAX_CLUSTERS = 1 << 26
DESCRIPTOR = "DiskDescriptor.xml"
MAX_DESCRIPTOR = MIB


class ParallelsImage(ImageFormat):
    """An expandable image; what is not stored is zero, or the parent's where the user names one."""

    name = "parallels"
    title = "Parallels expandable image"
    suffixes = (".hdd", ".hds")

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        magic = glimpse.at(0, 16)
        return f"'{magic.decode()}' at its start" if magic in (OLD, EXTENDED) else None

    @classmethod
    def residue(cls, glimpse: Glimpse) -> str | None:
        named = glimpse.name.lower().endswith(cls.suffixes)
        if named and glimpse.at(16, 4) == VERSION.to_bytes(4, "little"):
            return "version 2 at offset 0x10 and a name like one's, but no signature at its start"
        return None

    def __init__(self, source: Source, options: OpenOptions) -> None:
        super().__init__(source, options)
        (
            magic, version, self.heads, self.cylinders, cluster_sectors, self.count, sectors,
            in_use, _, self.flags, self.extension_sector,
        ) = _HEADER.unpack(source.read_exact(0, _HEADER.size, "Parallels header"))  # fmt: skip
        if magic not in (OLD, EXTENDED):
            self._fail(0, f"the signature is {magic!r}, expected {OLD!r} or {EXTENDED!r}")
        if version != VERSION:
            raise UnsupportedImageError(
                f"the version is {version}, only {VERSION} is read", path=source.path, offset=16
            )
        self.is_old = magic == OLD
        self.block_size = cluster_sectors * SECTOR
        if not 0 < self.block_size <= MAX_CLUSTER:
            self._fail(
                28,
                f"a cluster has {cluster_sectors} sectors, expected 1 to {MAX_CLUSTER // SECTOR}",
            )
        # Old programs left the upper half of the field to chance.
        self.virtual_size = (sectors & 0xFFFFFFFF if self.is_old else sectors) * SECTOR
        if not 0 < self.virtual_size <= MAX_OFFSET:
            self._fail(
                36, f"the disk has {sectors} sectors, expected 1 or more, below 2^63 bytes"
            )
        self.needed = -(-self.virtual_size // self.block_size)
        if self.count < self.needed:
            self._fail(
                32,
                f"the table has {self.count} entries, a disk of {self.virtual_size} bytes in "
                f"clusters of {self.block_size} needs {self.needed}",
            )
        if self.needed > MAX_CLUSTERS:
            raise UnsupportedImageError(
                f"the disk has {self.needed} clusters, at most {MAX_CLUSTERS} are read",
                path=source.path,
                offset=36,
            )
        self.table_end = _HEADER.size + 4 * self.count
        if self.table_end > source.size:
            raise CorruptImageError(
                f"the table ends at {self.table_end:#x}, the file at {source.size:#x}",
                path=source.path,
                offset=32,
                hint=CUT_SHORT,
            )
        if in_use not in (0, OPEN, CLOSED):
            self._fail(
                44, f"the mark of use is {in_use:#x}, expected 0, {OPEN:#x} or {CLOSED:#x}"
            )
        self.is_open = in_use == OPEN
        if self.is_open:
            self.notice(
                "not-closed",
                "the image was not closed properly, or is in use: the last writes may be missing",
                44,
            )
        self.unit = SECTOR if self.is_old else self.block_size  # of an entry, bytes
        walk = partial(stored_entries, self.entries, self.needed, lambda found: found != 0)
        self.overlaps = OverlapSearch(source, walk, self.block_size // self.unit)
        if options.parents:
            self.open_parent(None, options.backing_format or self.name, "parent")
        elif not options.trail:  # else the user has named what lies where
            self._check_bundle()

    def _fail(self, offset: int, problem: str) -> NoReturn:
        raise InvalidImageError(problem, path=self.source.path, offset=offset)

    def _check_bundle(self) -> None:
        """Refuse a part of a disk: the file does not know, the description beside it does."""
        for directory in self.source.directories:
            path = os.path.join(directory, DESCRIPTOR)
            if not os.path.isfile(path):  # opening some devices does something to them
                continue
            try:
                with SourceFile(path) as file:
                    text = file.read(0, MAX_DESCRIPTOR)
            except VhdfastError:
                continue
            shots = len(re.findall(rb"<Shot\b", text))
            parts = len(re.findall(rb"<Storage\b", text))
            if shots > 1 or parts > 1:
                what = f"{shots} snapshots" if shots > 1 else f"{parts} parts"
                raise UnsupportedImageError(
                    f"{DESCRIPTOR} beside the image says that its disk has {what}; this file alone "
                    "may be only some of it",
                    path=self.source.path,
                    hint="merge them first (prl_disk_tool merge); name the images below this one "
                    "with --parent; or copy it to another directory if it is whole",
                )

    def info(self) -> ImageInfo:
        details: dict[str, object] = {"heads": self.heads, "cylinders": self.cylinders}
        if self.extension_sector:
            details["format extension"] = f"at {self.extension_sector * SECTOR:#x}, not read"
        return self.make_info(
            (OLD if self.is_old else EXTENDED).decode(), block_size=self.block_size, details=details
        )

    # ---- the table ------------------------------------------------------------------------------

    def entries(self, first: int, count: int) -> npt.NDArray[np.uint32]:
        data = self.source.read_exact(_HEADER.size + 4 * first, 4 * count, "allocation table")
        return np.frombuffer(data, dtype="<u4")

    def reserved(self) -> list[Region]:
        """What no cluster may lie on."""
        regions = [Region("table", 0, self.table_end)]
        extension = self.extension_sector * SECTOR
        if 0 < extension < self.source.size:
            regions.append(Region("format extension", extension, extension + self.block_size))
        return regions

    @staticmethod
    def entry_offset(cluster: int) -> int:
        """Where the file has the entry of a cluster."""
        return _HEADER.size + 4 * cluster

    def _corrupt(self, cluster: int, problem: str) -> CorruptImageError:
        return CorruptImageError(
            f"cluster {cluster} {problem}",
            path=self.source.path,
            offset=self.entry_offset(cluster),
            hint="the allocation table is damaged: copy the image again",
        )

    def _check_overlaps(self) -> None:
        """Raise CorruptImageError where two clusters share bytes. The table is read once."""
        pair = self.overlaps.find()
        if pair is not None:
            cluster, other = pair
            raise self._corrupt(
                other.index,
                f"at {other.place * self.unit:#x} overlaps cluster {cluster.index} at "
                f"{cluster.place * self.unit:#x}: they take {self.block_size} bytes each",
            )
        if self.overlaps.is_complete is False:
            self.notice_no_overlap_search("clusters")

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        self._check_overlaps()
        size = self.block_size
        first = offset // size
        last = -(-(offset + length) // size)
        entries = self.entries(first, min(last - first, max_rows, WINDOW_ENTRIES))
        stored = entries != 0
        # Below 2^32 entries of at most 2^28 bytes: no overflow.
        places = entries.astype(np.uint64) * np.uint64(self.unit)
        self._check_places(first, np.flatnonzero(stored), places)
        offsets = np.arange(first, first + len(entries), dtype=np.uint64) * np.uint64(size)
        rows = make_rows(offsets, size, np.where(stored, Kind.DATA, Kind.UNALLOCATED), places)
        return self.cut_at_end(clip(rows, offset, length), "cluster")

    def _check_places(
        self, first: int, used: npt.NDArray[np.intp], places: npt.NDArray[np.uint64]
    ) -> None:
        if not len(used):
            return
        if self.flags & EMPTY_FLAG:
            raise self._corrupt(
                first + int(used[0]), "is stored, and the header says that the image is empty"
            )
        wrong = misplaced(places[used], self.block_size, self.source.size, self.reserved())
        if wrong is not None:
            at, problem = wrong
            raise self._corrupt(first + int(used[at]), problem)
