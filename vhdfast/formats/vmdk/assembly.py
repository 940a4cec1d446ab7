"""The extents that a descriptor lists, made into parts of the disk."""

from __future__ import annotations

from bisect import bisect_left

from ...errors import CorruptImageError, InvalidImageError, UnsupportedImageError, printable
from ...files import Source
from ...units import SECTOR
from ..base import ImageFormat
from . import cowd, names, sesparse, sparse
from .descriptor import Descriptor, ExtentLine
from .parts import FlatPart, Part, ZeroPart

__all__ = ["Assembly"]

FLAT, SPARSE = ("FLAT", "VMFS"), ("SPARSE", "VMFSSPARSE", "SESPARSE")
DEVICES = ("VMFSRAW", "VMFSRDM", "VMFSRDMP")


class Assembly:
    """The parts of an image, in the order of the disk, each with its line of the descriptor.

    Raises what `ImageFormat.open_file` raises, CorruptImageError, InvalidImageError and
    UnsupportedImageError.
    """

    def __init__(self, image: ImageFormat) -> None:
        self.image = image
        self.parts: list[Part] = []
        self.lines: list[ExtentLine | None] = []
        self._files: dict[str, int] = {}
        # What of each file the extents before lie in, whatever name leads to it.
        self._taken: dict[tuple[object, ...], list[tuple[int, int]]] = {}

    def add(self, part: Part, line: ExtentLine | None = None) -> None:
        self.parts.append(part)
        self.lines.append(line)

    def _take(self, source: Source, start: int, end: int, line: ExtentLine) -> None:
        """Raise CorruptImageError where another extent lies in [start, end) of the file.

        A small file could pass for an endless disk, and its tables be looked through for each.
        """
        taken = self._taken.setdefault(source.identity, [])
        at = bisect_left(taken, (start, end))
        neighbours = taken[max(0, at - 1) : at + 1]
        for low, high in neighbours:
            if low < end and start < high:
                raise CorruptImageError(
                    f"the extent takes [{start:#x}, {end:#x}) of {printable(source.path)}, another "
                    f"one [{low:#x}, {high:#x})",
                    path=self.image.source.path,
                    offset=line.at,
                    hint="the descriptor is damaged: copy it again",
                )
        taken.insert(at, (start, end))

    def add_lines(self, descriptor: Descriptor, header: sparse.Header | None) -> None:
        """The extents of a descriptor; `header` of this file, where it is one of them."""
        own = None if header is None else self._own_line(descriptor)
        for line in descriptor.extents:
            length = line.sectors * SECTOR
            if not length:
                continue
            if line is own and header is not None:
                self._check_capacity(self.image.source, header.capacity, line)
                self._take(self.image.source, 0, self.image.source.size, line)
                self.add(
                    sparse.SparsePart(self.image.source, 0, header, length, self.image.notice), line
                )
            elif line.kind == "ZERO":
                self.add(ZeroPart(length), line)
            else:
                self.add(self._stored_part(line), line)

    def _own_line(self, descriptor: Descriptor) -> ExtentLine:
        """The extent that the file with the embedded descriptor itself is.

        Its name is not asked where there is no other: files get renamed.
        """
        stored = [line for line in descriptor.extents if line.kind != "ZERO"]
        name = self.image.source.path.rsplit("/", 1)[-1]
        own = [line for line in stored if "" in line.names or name in line.names]
        chosen = stored if len(stored) == 1 else own
        if len(chosen) != 1 or chosen[0].kind not in SPARSE:
            raise InvalidImageError(
                f"{len(chosen)} of the extents that the descriptor lists could be this file, "
                "expected one, of type SPARSE",
                path=self.image.source.path,
                offset=descriptor.extents[0].at,
                hint="give the file the name that it has in its descriptor",
            )
        return chosen[0]

    def _check_capacity(self, source: Source, capacity: int, line: ExtentLine) -> None:
        if capacity < line.sectors:
            raise CorruptImageError(
                f"the extent has {capacity} sectors, its descriptor says {line.sectors}",
                path=source.path,
                offset=12,
                hint="the descriptor and the extent do not belong together, or one is damaged",
            )
        if capacity > line.sectors:
            self.image.notice(
                "capacity-differs",
                f"{source.path} has {capacity} sectors, its descriptor says {line.sectors}; what "
                "is beyond is left out",
                line.at,
            )

    def _stored_part(self, line: ExtentLine) -> Part:
        if line.kind in DEVICES or any(names.is_device(name) for name in line.names):
            raise UnsupportedImageError(
                f"an extent of type {printable(line.kind)} lies on a device of the machine that "
                "made the disk, which is never opened",
                path=self.image.source.path,
                offset=line.at,
            )
        if line.kind not in (*FLAT, *SPARSE) or line.access not in ("RW", "RDONLY", "NOACCESS"):
            raise UnsupportedImageError(
                f"an extent of type {printable(line.kind)!r}, expected one of "
                f"{', '.join((*FLAT, *SPARSE, 'ZERO'))}",
                path=self.image.source.path,
                offset=line.at,
            )
        if line.access == "NOACCESS":
            self.image.notice(
                "no-access",
                f"an extent of {line.sectors} sectors may not be read by the machine (NOACCESS); "
                "it reads as zeros",
                line.at,
            )
            return ZeroPart(line.sectors * SECTOR)
        if not line.names:
            raise InvalidImageError(
                "the extent names no file", path=self.image.source.path, offset=line.at
            )
        file = self._open_extent(line)
        source, length = self.image.sources[file], line.sectors * SECTOR
        if line.kind in FLAT:
            start = line.offset * SECTOR
            self._take(source, start, start + length, line)
            return FlatPart(source, file, start, length)
        self._take(source, 0, source.size, line)
        return self._sparse_part(source, file, line)

    def _open_extent(self, line: ExtentLine) -> int:
        """The number of the extent's source; a file that several extents lie in is opened once."""
        name = names.likeliest(self.image.source, line.names)
        where = names.as_path(self.image.source, name)
        if names.is_foreign(name):
            where = names.base_name(name)
        if where not in self._files:
            self.image.open_file(where, "extent")
            self._files[where] = len(self.image.sources) - 1
        return self._files[where]

    def _sparse_part(self, source: Source, file: int, line: ExtentLine) -> Part:
        start = source.read(0, 8)
        length = line.sectors * SECTOR
        part: Part
        if start[:4] == sparse.MAGIC:
            header = sparse.read_header(source)
            self._check_capacity(source, header.capacity, line)
            return sparse.SparsePart(source, file, header, length, self.image.notice)
        if start[:4] == cowd.MAGIC:
            part = cowd.CowdPart(source, file, length, self.image.notice)
            self._check_capacity(source, part.capacity // SECTOR, line)
            return part
        if start == sesparse.MAGIC:
            part = sesparse.SeSparsePart(source, file, length, self.image.notice)
            self._check_capacity(source, part.capacity // SECTOR, line)
            return part
        raise InvalidImageError(
            f"the extent begins with {start!r}, expected a sparse extent ('KDMV', 'COWD' or "
            "seSparse)",
            path=source.path,
            offset=0,
            hint="the file is damaged, or another one lies under its name",
        )
