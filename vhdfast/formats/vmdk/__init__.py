"""VMDK: the disks of VMware, in one file or many, and those that others write for it.

Source: VMware, "Virtual Disk Format 5.0".
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Any

import numpy as np

from ...errors import (
    CONVERT_ELSEWHERE,
    CorruptImageError,
    InvalidImageError,
    MissingReferenceError,
    UnsafeReferenceError,
    UnsupportedImageError,
    printable,
)
from ...extents import Kind, Rows, concatenate, end_of
from ...files import Source
from ...units import MAX_OFFSET, SECTOR
from ..base import Glimpse, ImageFormat, ImageInfo, OpenOptions
from . import cowd, names, sesparse, sparse
from .assembly import Assembly
from .descriptor import MAX_DESCRIPTOR, Descriptor, looks_like_descriptor, parse_descriptor

__all__ = ["VmdkImage"]

# Lower case. What else there is to know stands in the types of the extents.
READ_TYPES = frozenset(
    (
        "monolithicsparse", "monolithicflat", "twogbmaxextentsparse", "twogbmaxextentflat",
        "2gbmaxextentsparse", "2gbmaxextentflat", "streamoptimized", "vmfs", "vmfsthin",
        "vmfssparse", "vmfspreallocated", "vmfseagerzeroedthick", "sesparse", "custom",
    )
)  # fmt: skip
DEVICE_TYPES = frozenset(
    (
        "fulldevice", "partitioneddevice", "vmfsraw", "vmfsrdm", "vmfsrdmp", "vmfsrawdevicemap",
        "vmfspassthroughrawdevicemap",
    )
)  # fmt: skip
# Extents of one window: work for a window grows with the number of its sources.
PARTS_IN_WINDOW = 64
GLIMPSE = 4096


class VmdkImage(ImageFormat):
    """A disk of one extent or several, over its parent where it has one."""

    name = "vmdk"
    title = "VMDK, sparse, flat, split, stream-optimized, delta (VMware)"
    suffixes = (".vmdk",)

    cid: int | None = None  # content id, which a child remembers

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        start = glimpse.at(0, 8)
        if start[:4] in (sparse.MAGIC, cowd.MAGIC):
            return f"'{start[:4].decode()}' at its start"
        if start == sesparse.MAGIC:
            return "the header of an seSparse extent at its start"
        if looks_like_descriptor(glimpse.at(0, GLIMPSE)):
            return "the text of a VMDK descriptor at its start"
        return None

    @classmethod
    def residue(cls, glimpse: Glimpse) -> str | None:
        if looks_like_descriptor(glimpse.at(SECTOR, 64)):
            return f"a descriptor at offset {SECTOR:#x}, but no 'KDMV' at its start"
        if glimpse.at(-2 * SECTOR, 4) == sparse.MAGIC:
            return "'KDMV' before its last sector, but not at its start"
        return None

    def __init__(self, source: Source, options: OpenOptions) -> None:
        super().__init__(source, options)
        self.descriptor: Descriptor | None = None
        self._assembly = Assembly(self)
        self.parts, self.lines = self._assembly.parts, self._assembly.lines
        start = source.read(0, 8)
        if start[:4] == sparse.MAGIC:
            self._open_hosted()
        elif start[:4] == cowd.MAGIC or start == sesparse.MAGIC:
            self._open_alone()
        else:
            self._open_descriptor()
        self.starts = [0, *accumulate(part.length for part in self.parts)]
        self.virtual_size = self.starts.pop()
        if not 0 < self.virtual_size <= MAX_OFFSET:
            raise InvalidImageError(
                f"the disk has {self.virtual_size} bytes, expected 1 to 2^63 - 1",
                path=source.path,
            )
        self.unit_size = max(part.unit_size for part in self.parts)
        self._open_below()
        self.notice_newer_states()

    # ---- opening --------------------------------------------------------------------------------

    def _open_hosted(self) -> None:
        """A sparse extent: with its descriptor in it, or one of a disk's."""
        header = sparse.read_header(self.source)
        if not (header.descriptor_offset and header.descriptor_size):
            if not header.capacity:
                raise InvalidImageError(
                    "the extent has no sectors and no descriptor", path=self.source.path, offset=12
                )
            self._assembly.add(
                sparse.SparsePart(self.source, 0, header, header.capacity * SECTOR, self.notice)
            )
            self._say_alone()
            return
        at = header.descriptor_offset * SECTOR
        data = self.source.read(at, header.descriptor_size * SECTOR)
        self.descriptor = self._parse(data, at)
        self._assembly.add_lines(self.descriptor, header if header.capacity else None)

    def _open_descriptor(self) -> None:
        data = self.source.read(0, MAX_DESCRIPTOR)
        if len(data) == MAX_DESCRIPTOR < self.source.size and b"\0" not in data:
            raise InvalidImageError(
                f"the descriptor has more than {MAX_DESCRIPTOR} bytes", path=self.source.path
            )
        self.descriptor = self._parse(data, 0)
        self._assembly.add_lines(self.descriptor, None)

    def _open_alone(self) -> None:
        """An extent of ESX without the descriptor that belongs to it."""
        if self.source.read(0, 4) == cowd.MAGIC:
            parent = cowd.named_parent(self.source)
            if parent is not None and not self.options.parents:
                raise UnsupportedImageError(
                    f"this is the data of a snapshot: it holds only the changes to "
                    f"{printable(parent)!r}",
                    path=self.source.path,
                    offset=32,
                    hint="name the small descriptor that belongs to it, or say --parent FILE",
                )
            self._assembly.add(cowd.CowdPart(self.source, 0, None, self.notice))
        else:
            self._assembly.add(sesparse.SeSparsePart(self.source, 0, None, self.notice))
        self._say_alone()

    def _say_alone(self) -> None:
        if self.options.parents:
            return
        self.notice(
            "extent-alone",
            "this is one extent without the descriptor of its disk: other extents, and what lies "
            "in a parent, are missing; name the descriptor to read the whole disk",
        )

    def _parse(self, data: bytes, at: int) -> Descriptor:
        descriptor = parse_descriptor(self.source, data, at)
        kind = descriptor.create_type.lower()
        if kind in DEVICE_TYPES:
            raise UnsupportedImageError(
                f"a disk of type {printable(descriptor.create_type, 40)}: its data lies on a "
                "device of the machine that made it, which is never opened",
                path=self.source.path,
                offset=at,
                hint="convert it there, or read a raw copy of the device with --from raw",
            )
        if kind not in READ_TYPES:
            raise UnsupportedImageError(
                f"a disk of type {printable(descriptor.create_type, 40)!r}, which is not known",
                path=self.source.path,
                offset=at,
                hint=CONVERT_ELSEWHERE,
            )
        if not descriptor.extents:
            raise InvalidImageError(
                "the descriptor lists no extents", path=self.source.path, offset=at
            )
        total = sum(line.sectors for line in descriptor.extents)
        if not 0 < total * SECTOR <= MAX_OFFSET:
            raise InvalidImageError(
                f"the extents have {total} sectors together, expected 1 to 2^54 - 1",
                path=self.source.path,
                offset=descriptor.extents[0].at,
            )
        return descriptor

    # ---- the parent -----------------------------------------------------------------------------

    def _open_below(self) -> None:
        descriptor = self.descriptor
        if descriptor is None:
            if self.options.parents:
                self.open_parent(None, self.name, "parent")
                self.notice(
                    "parent-not-checked",
                    "an extent without a descriptor does not say which content its parent must "
                    "have; the one that was named is taken",
                )
            return
        self.cid = descriptor.cid
        if not descriptor.has_parent:
            if any(descriptor.parent_names):
                raise InvalidImageError(
                    f"the descriptor names a parent, {printable(descriptor.parent_names[0])!r}, "
                    "and its parentCID says that there is none, expected both or neither",
                    path=self.source.path,
                    hint="if it is a snapshot, consolidate it in VMware",
                )
            return
        parent = self._open_parent(descriptor.parent_names)
        found = parent.cid if isinstance(parent, VmdkImage) else None
        if found != descriptor.parent_cid:
            raise CorruptImageError(
                f"the parent {parent.source.path} has content id "
                f"{'none' if found is None else f'{found:08x}'}, this disk was made for "
                f"{descriptor.parent_cid:08x}",
                path=self.source.path,
                hint="the parent was written to after the snapshot, or it is another disk: name "
                "the right one with --parent FILE",
            )

    def _open_parent(self, hints: tuple[str, ...]) -> ImageFormat:
        """The image under its name; else, as VMware does, under its base name beside this one."""
        given = [hint for hint in hints if hint]
        if not given or self.options.parents:
            return self.open_parent(given[0] if given else None, self.name, "parent")
        name = names.likeliest(self.source, given)
        base, path = names.base_name(name), names.as_path(self.source, name)
        beside = names.is_beside(self.source, base)
        if names.is_foreign(name) or (path.startswith("/") and beside):
            return self.open_parent(base, self.name, "parent")
        try:
            return self.open_parent(path, self.name, "parent")
        except (MissingReferenceError, UnsafeReferenceError) as error:
            # Errors of the parent's own references are not about this name.
            if not beside or base == path or error.path != self.source.path:
                raise
            return self.open_parent(base, self.name, "parent")

    # ---- reading --------------------------------------------------------------------------------

    def info(self) -> ImageInfo:
        descriptor = self.descriptor
        values = {} if descriptor is None else descriptor.values
        geometry = [values.get(f"ddb.geometry.{name}", "") for name in
                    ("cylinders", "heads", "sectors")]  # fmt: skip
        plain = all(text.isascii() and text.isdigit() and len(text) < 10 for text in geometry)
        identifiers = {
            "cid": None if self.cid is None else f"{self.cid:08x}",
            "parent cid": f"{descriptor.parent_cid:08x}"
            if descriptor is not None and descriptor.has_parent
            else None,
            "long content id": values.get("ddb.longcontentid"),
            "uuid": values.get("ddb.uuid"),
        }
        known = (("adapter type", "ddb.adaptertype"), ("hardware version", "ddb.virtualhwversion"),
                 ("tools version", "ddb.toolsversion"), ("encoding", "encoding"))  # fmt: skip
        grains = [part.grain_size for part in self.parts if part.grain_size]
        return self.make_info(
            self._subformat(),
            block_size=grains[0] if grains else None,
            geometry=(int(geometry[0]), int(geometry[1]), int(geometry[2])) if plain else None,
            identifiers={key: printable(text) for key, text in identifiers.items() if text},
            details={
                **{key: printable(values[name]) for key, name in known if name in values},
                "extents": [self._describe(index) for index in range(min(len(self.parts), 64))],
                "number of extents": len(self.parts),
            },
        )

    def _subformat(self) -> str:
        if self.descriptor is not None:
            return printable(self.descriptor.create_type, 40)
        alone = {sparse.SparsePart: "sparse extent", cowd.CowdPart: "COWD extent"}
        return alone.get(type(self.parts[0]), "seSparse extent")

    def _describe(self, index: int) -> dict[str, Any]:
        part, line = self.parts[index], self.lines[index]
        about: dict[str, Any] = {"size": part.length}
        if line is not None:
            about["type"], about["access"] = line.kind, line.access
            if line.names:
                about["name"] = printable(line.names[0])
        return about | part.details()

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        found: list[Rows] = []
        count, end = 0, offset + length
        first = bisect_right(self.starts, offset) - 1
        for index in range(first, min(first + PARTS_IN_WINDOW, len(self.parts))):
            part, start = self.parts[index], self.starts[index]
            stop = min(end, start + part.length)
            rows = part.rows(offset - start, stop - offset, max_rows - count)
            rows["offset"] += np.uint64(start)
            found.append(rows)
            offset = end_of(rows)
            count += len(rows)
            if offset < stop or offset >= end or count >= max_rows:
                break
        return self._within_files(concatenate(found))

    def _within_files(self, rows: Rows) -> Rows:
        for file in np.unique(rows["file"][rows["kind"] == Kind.DATA]):
            rows = self.cut_at_end(rows, "grain", int(file))
        return rows
