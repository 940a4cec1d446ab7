"""The container formats, and telling which one a file is.

Every module of this package is imported once, which registers the formats in it.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from typing import TYPE_CHECKING

from ..errors import (
    AmbiguousFormatError,
    UnknownFormatError,
    UnsupportedImageError,
    UsageError,
    printable,
)
from ..files import FileSlice, Source
from ..streams import STREAMS, Stream, unpack
from .base import FORMATS, Glimpse, ImageFormat, ImageInfo, Notice, OpenOptions
from .known import find_known
from .options import ReadOptions
from .raw import RawImage

if TYPE_CHECKING:
    from ..containers import Container

__all__ = [
    "FORMATS",
    "Glimpse",
    "ImageFormat",
    "ImageInfo",
    "Notice",
    "OpenOptions",
    "ReadOptions",
    "detect",
    "named",
    "open_format",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def detect(source: Source) -> type[ImageFormat] | type[Container] | type[Stream]:
    """The format that a file is of, or the container, or the compressed stream.

    All of them probe. Raw is taken only where none matches, nothing shows a damaged image of a
    known format, and something speaks for a disk: a partition table, a file system, a block
    device or the file's name.

    Raises AmbiguousFormatError, UnsupportedImageError (known, not read), UnknownFormatError.
    """
    from ..containers import CONTAINERS

    glimpse = Glimpse(source)
    kinds: dict[str, type[ImageFormat] | type[Container] | type[Stream]] = {
        **FORMATS, **CONTAINERS, **STREAMS
    }  # fmt: skip
    matches = {
        name: evidence
        for name, kind in kinds.items()
        if (evidence := kind.probe(glimpse)) is not None
    }
    if len(matches) > 1:
        what = " and ".join(f"{name} ({evidence})" for name, evidence in sorted(matches.items()))
        raise AmbiguousFormatError(
            f"the file is {what} at once",
            path=source.path,
            hint="say which it is with --from, if you trust it",
        )
    if matches:
        return kinds[next(iter(matches))]

    known = find_known(glimpse)
    if known is not None:
        name, advice = known
        raise UnsupportedImageError(
            f"this is a {name} file, which this version does not read",
            path=source.path,
            hint=f"{advice}; a raw disk that only begins like one is read with --from raw",
        )
    for name, kind in sorted(kinds.items()):
        residue = None if issubclass(kind, Stream) else kind.residue(glimpse)
        if residue is not None:
            retry = f"--from {name} tries to read it, " if name in FORMATS else ""
            raise UnknownFormatError(
                f"this looks like a damaged {name} image: {residue}",
                path=source.path,
                hint=f"copy it again; {retry}--from raw takes it as it is",
            )
    if RawImage.evidence(glimpse, source.is_device) is not None:
        return RawImage
    raise UnknownFormatError(
        "no known format matches, and nothing speaks for a raw disk (no partition table, no "
        "file system, not a name like .raw or .img)" if source.size else "the file is empty",
        path=source.path,
        hint="if it is a raw disk, say --from raw" if source.size else "check the download",
    )


def open_format(
    source: Source, name: str | None = None, options: OpenOptions | None = None
) -> ImageFormat:
    """Open a source as the named format, or as the detected one.

    Of a container the chosen disk is opened, `name` being that of its format.

    The image owns the source; on an error the caller still does, and closes what was opened
    through options.references. Raises what `detect` and the format itself raise, and UsageError
    for an unknown name, for one disk of several not chosen, or one that is not there.
    """
    options = options or OpenOptions()
    if name is not None and name not in FORMATS:
        raise UsageError(
            f"unknown format {name!r}", hint=f"one of: {', '.join(sorted(FORMATS))}"
        )
    kind = detect(source) if name is None else named(source, name, options)
    if issubclass(kind, Stream):
        return _open_unpacked(kind, source, name, options)
    if not issubclass(kind, ImageFormat):
        return _open_disk(kind, source, name, options)
    if options.snapshot is not None and not kind.has_snapshots:
        raise UsageError(
            f"a {kind.name} image has no internal snapshots, {options.snapshot!r} was asked for",
            path=source.path,
        )
    if options.disk is not None:
        raise UsageError(
            f"this is one {kind.name} image, not a container of which disk {options.disk!r} could "
            "be chosen",
            path=source.path,
            hint="leave out --disk",
        )
    return kind(source, options)


def named(
    source: Source, name: str, options: OpenOptions
) -> type[ImageFormat] | type[Container] | type[Stream]:
    """The format of that name, or the container or stream that holds a disk of it.

    name: one of FORMATS.
    """
    from ..containers import CONTAINERS

    stream = _stream_around(source, FORMATS[name])
    if stream is not None:
        return stream
    if options.is_outermost:
        glimpse = Glimpse(source)
        for container in CONTAINERS.values():
            if container.is_named(source.name) and container.probe(glimpse) is not None:
                return container
    return FORMATS[name]


def _open_disk(
    kind: type[Container], source: Source, name: str | None, options: OpenOptions
) -> ImageFormat:
    from ..containers import choose

    if not options.is_outermost:
        where = "below another image" if options.trail else "inside another one"
        raise UnsupportedImageError(
            f"this is an archive or a description of disks ({kind.title}) {where}",
            path=source.path,
            hint="unpack it first, and name the disk in it",
        )
    disk = choose(kind.disks(source, options), options.disk, source.path)
    inner = disk.open()
    within = dataclasses.replace(
        options, disk=None, container=f"{kind.title}, {printable(source.path)}"
    )
    image = open_format(inner, name or disk.format, within)
    if not isinstance(inner, FileSlice):
        # To be closed, and to stay as it is, like the others; and rows may name it (SparseSource).
        image.sources.append(source)
    return image


def _stream_around(source: Source, kind: type[ImageFormat]) -> type[Stream] | None:
    """The stream that an image of the named format lies in, or None.

    A raw disk may begin like a stream: there the file's name must say so too.
    """
    glimpse = Glimpse(source)
    if kind.probe(glimpse) is not None:
        return None
    for stream in STREAMS.values():
        if stream.probe(glimpse) is not None:
            named = glimpse.name.lower().endswith(stream.suffixes)
            return stream if named or kind is not RawImage else None
    return None


def _open_unpacked(
    kind: type[Stream], source: Source, name: str | None, options: OpenOptions
) -> ImageFormat:
    """The image within a stream. On an error what was unpacked is gone, and `source` stays open."""
    if source.stream is not None:
        raise UnsupportedImageError(
            f"a {kind.name} stream within a {source.stream} stream",
            path=source.path,
            hint="unpack it once first",
        )
    inner = kind.inner_name(source.name)
    spool = unpack(kind, source, inner, options.temporary, options.unpacking)
    try:
        options.references.keep(spool)
        return open_format(spool, name, options)
    except BaseException:
        spool.discard()
        raise
