"""VHDX, as Hyper-V, Disk2vhd and qemu write it.

Source: [MS-VHDX] Virtual Hard Disk v2 (VHDX) File Format.
"""

from __future__ import annotations

import numpy as np

from ...errors import CUT_SHORT, CorruptImageError, printable
from ...extents import Kind, Rows
from ...files import Source
from ...tables import Region
from ...units import KIB
from ..base import Glimpse, ImageFormat, ImageInfo, OpenOptions
from .bat import BlockTable
from .headers import (
    HEADER_OFFSETS,
    HEADER_SECTION,
    REGION_TABLE_OFFSETS,
    SIGNATURE,
    check_apart,
    check_place,
    read_header,
    read_regions,
)
from .log import NO_OWNER, SECTOR, ZERO_OWNER, PatchedSource, read_log
from .metadata import read_metadata
from .parent import check_parent

__all__ = ["VhdxImage"]

_FIRST, _LAST = np.zeros(1, np.uint64), np.full(1, 1 << 63, np.uint64)
_NOBODY = np.full(1, NO_OWNER, np.int64)


class VhdxImage(ImageFormat):
    """A fixed, dynamic or differencing VHDX."""

    name = "vhdx"
    title = "VHDX: fixed, dynamic, differencing (Hyper-V)"
    suffixes = (".vhdx", ".avhdx")

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        return "'vhdxfile' at its start" if glimpse.at(0, 8) == SIGNATURE else None

    @classmethod
    def residue(cls, glimpse: Glimpse) -> str | None:
        for signature, offsets in ((b"head", HEADER_OFFSETS), (b"regi", REGION_TABLE_OFFSETS)):
            for offset in offsets:
                if glimpse.at(offset, 4) == signature:
                    return f"{signature!r} at offset {offset:#x}, but no {SIGNATURE!r} at its start"
        return None

    def __init__(self, source: Source, options: OpenOptions) -> None:
        super().__init__(source, options)
        if source.size < HEADER_SECTION:
            raise CorruptImageError(
                f"the file has {source.size} bytes, a VHDX has at least {HEADER_SECTION}",
                path=source.path,
                hint=CUT_SHORT,
            )
        identifier = source.read_exact(0, 520, "file identifier")
        if not identifier.startswith(SIGNATURE):
            self.notice(
                "identifier-damaged",
                f"the file begins with {identifier[:8]!r}, expected {SIGNATURE!r}",
                0,
            )
        self._creator = _text(identifier[8:520])
        self.header = read_header(source, self.notice)
        self._patched = read_log(source, self.header)
        view: Source = source
        if self._patched is not None:
            view = self._patched
            self.sources.append(self._patched.memory_source)
            self.notice(
                "log-replayed",
                "the image was not closed properly; the changes in its log were applied in memory",
                self.header.log_offset,
            )
        log = self._log_region()
        regions = read_regions(view, self.notice)
        check_apart(view, [regions.bat, regions.metadata, *log], self.header.offset + 68)
        self.metadata = read_metadata(view, regions.metadata)
        self.virtual_size = self.metadata.virtual_size
        self.sector_size = self.metadata.logical_sector_size
        self.table = BlockTable(
            view, regions.bat, self.metadata, [regions.bat, regions.metadata, *log]
        )
        locator = self.metadata.locator
        if locator is not None:
            parent = self.open_parent(locator.names, self.name, "parent")
            assert isinstance(parent, VhdxImage)
            check_parent(self, locator, parent)
        self.notice_newer_states()

    def _log_region(self) -> list[Region]:
        """The log's place, checked; an empty log may have none."""
        header = self.header
        if not header.log_length:
            return []
        region = header.log_region
        if header.has_log:  # read_log has checked it
            return [region]
        try:
            check_place(self.source, region, header.offset + 68)
        except CorruptImageError:
            # Nothing is in it: that the file ends before it hurts nobody.
            return []
        return [region]

    def info(self) -> ImageInfo:
        metadata, header = self.metadata, self.header
        locator = metadata.locator
        return self.make_info(
            metadata.subformat,
            block_size=metadata.block_size,
            creator=self._creator or None,
            identifiers={
                "virtual disk id": str(metadata.disk_id),
                "data write guid": str(header.data_write_id),
                "file write guid": str(header.file_write_id),
            },
            details={
                "physical sector size": metadata.physical_sector_size,
                "log": "dirty, replayed in memory" if self._patched is not None else "empty",
                "log size": header.log_length,
                "chunk ratio": self.table.chunk_ratio,
                "header sequence": header.sequence,
                **({} if locator is None else locator.details),
            },
        )

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        rows = self.table.rows(offset, length, max_rows)
        if self.table.overlaps.is_complete is False:
            self.notice_no_overlap_search("blocks")
        if self._patched is not None:
            rows = _with_patches(rows, self._patched, max(max_rows, len(rows)))
        return self.cut_at_end(rows, "block")


def _with_patches(rows: Rows, patched: PatchedSource, limit: int) -> Rows:
    """The DATA rows split where the log changed them: in sectors of it, in zeros and in the file.

    A prefix of the rows, of about `limit` pieces: where too many blocks are stored to look for
    overlaps, all of them may lie on what the log changed.
    """
    # Behind and before all changes lies the file as it is.
    bounds = np.concatenate((_FIRST, patched.bounds, _LAST))
    owners = np.concatenate((_NOBODY, patched.owners, _NOBODY))
    within = np.concatenate((_FIRST, patched.starts, _FIRST))
    starts, ends = rows["file_offset"], rows["file_offset"] + rows["length"]
    first = np.searchsorted(bounds, starts, side="right") - 1
    last = np.searchsorted(bounds, ends, side="left")
    changes = np.concatenate(([0], np.cumsum(owners != NO_OWNER)))
    touched = (rows["kind"] == Kind.DATA) & (changes[last] > changes[first])
    if not touched.any():
        return rows
    counts = np.where(touched, last - first, 1)
    kept = max(1, int(np.searchsorted(np.cumsum(counts), limit, side="right")))
    counts, touched = counts[:kept], touched[:kept]
    pieces = rows[:kept].repeat(counts)
    row = np.repeat(np.arange(kept), counts)
    step = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = np.flatnonzero(touched[row])
    row = row[at]
    interval = first[row] + step[at]
    lows = np.maximum(bounds[interval], starts[row])
    owner = owners[interval]
    places = owner.astype(np.uint64) * np.uint64(SECTOR) + within[interval] + lows
    places -= bounds[interval]
    pieces["offset"][at] += lows - starts[row]
    pieces["length"][at] = np.minimum(bounds[interval + 1], ends[row]) - lows
    pieces["kind"][at] = np.where(owner == ZERO_OWNER, Kind.ZERO, Kind.DATA)
    pieces["file_offset"][at] = np.where(
        owner >= 0, places, np.where(owner == NO_OWNER, lows, np.uint64(0))
    )
    pieces["file"][at] = owner >= 0
    return pieces


def _text(data: bytes) -> str:
    return printable(data.decode("utf-16-le", "replace").split("\0", 1)[0])


assert REGION_TABLE_OFFSETS[1] + 64 * KIB <= HEADER_SECTION
