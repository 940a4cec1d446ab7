"""A disk with other bytes in some places: what a target shall hold that is no plain copy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .errors import PartitionTableError
from .extents import Kind, Rows, clip, make_rows
from .files import MemorySource
from .formats import ImageFormat, ImageInfo
from .formats.base import Glimpse
from .guest.gpt_move import move_backup_gpt
from .guest.partitions import read_partitions
from .image import Image

__all__ = ["Patch", "joined", "moved_gpt", "patched"]

Patch = tuple[int, bytes]  # offset in the disk, bytes


def moved_gpt(image: Image, size: int) -> list[Patch]:
    """What moves the GPT backup to the end of the disk when it has `size` bytes.

    Ascending, without overlaps; empty where the disk has no GPT or its backup lies there already.
    Raises PartitionTableError where the table does not allow it, and what reading raises.
    """
    table = read_partitions(image.pread, image.virtual_size, image.sector_size)
    if table is None or table.scheme != "gpt":
        return []
    try:
        stages = move_backup_gpt(
            image.pread, table, image.virtual_size, size, sector_size=image.sector_size
        )
    except PartitionTableError as error:
        error.path = image.path
        raise
    return joined((write.offset, write.data) for stage in stages for write in stage)


def joined(patches: Iterable[Patch]) -> list[Patch]:
    """The same in ascending order without overlaps: of two on top of each other the later holds."""
    given = list(patches)
    spans: list[list[int]] = []
    for low, high in sorted((offset, offset + len(data)) for offset, data in given):
        if spans and low <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], high)
        else:
            spans.append([low, high])
    found = []
    for low, high in spans:
        content = bytearray(high - low)
        for offset, data in given:
            if low <= offset < high:
                content[offset - low : offset - low + len(data)] = data
        found.append((low, bytes(content)))
    return found


def patched(image: Image, patches: Sequence[Patch], size: int) -> Image:
    """The disk of an open image with `size` bytes, zeros behind its end, and these patches.

    patches: ascending, without overlaps, within `size`. It reads the image's sources: close that
    one last.
    """
    return Image(_Patched(image, patches, size))


class _Patched(ImageFormat):
    """No format: it has no name, and lies on top of an image as a child on its parent."""

    def __init__(self, below: Image, patches: Sequence[Patch], size: int) -> None:
        memory = MemorySource(b"".join(data for _, data in patches), below.path)
        super().__init__(memory, below.layer.options)
        parent = below.layer
        self.sources.extend(parent.sources)
        self._parent_sources = range(1, len(self.sources))
        self.parent, self.layers = parent, parent.layers + 1
        self.unit_size, self.sector_size = parent.unit_size, parent.sector_size
        self.virtual_size = size
        self._map = self._make_map(patches)

    def _make_map(self, patches: Sequence[Patch]) -> Rows:
        places, at, stored = [], 0, 0
        for offset, data in patches:
            if at < offset:
                places.append((at, offset - at, Kind.UNALLOCATED, 0))
            places.append((offset, len(data), Kind.DATA, stored))
            at, stored = offset + len(data), stored + len(data)
        if at < self.virtual_size:
            places.append((at, self.virtual_size - at, Kind.UNALLOCATED, 0))
        offsets, lengths, kinds, file_offsets = zip(*places, strict=True)
        return make_rows(offsets, lengths, kinds, file_offsets)

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        return None

    def info(self) -> ImageInfo:
        assert self.parent is not None
        return self.parent.info()

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        return clip(self._map, offset, length)[:max_rows]
