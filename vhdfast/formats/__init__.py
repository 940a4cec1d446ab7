"""The container formats, and telling which one a file is.

Every module of this package is imported once, which registers the formats in it.
"""

from __future__ import annotations

import importlib
import pkgutil

from ..errors import AmbiguousFormatError, UnknownFormatError, UnsupportedImageError, UsageError
from ..files import Source
from ..streams import STREAMS, Stream, unpack
from .base import FORMATS, Glimpse, ImageFormat, ImageInfo, Notice, OpenOptions, ReadOptions
from .known import find_known
from .raw import RawImage

__all__ = [
    "FORMATS",
    "Glimpse",
    "ImageFormat",
    "ImageInfo",
    "Notice",
    "OpenOptions",
    "ReadOptions",
    "detect",
    "open_format",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def detect(source: Source) -> type[ImageFormat] | type[Stream]:
    """The format that a file is of, or the compressed stream.

    All formats probe. Raw is taken only where none matches, nothing shows a damaged image of a
    known format, and something speaks for a disk: a partition table, a file system, a block
    device or the file's name.

    Raises AmbiguousFormatError, UnsupportedImageError (known, not read), UnknownFormatError.
    """
    glimpse = Glimpse(source)
    kinds: dict[str, type[ImageFormat] | type[Stream]] = {**FORMATS, **STREAMS}
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
    for name, kind in sorted(FORMATS.items()):
        residue = kind.residue(glimpse)
        if residue is not None:
            raise UnknownFormatError(
                f"this looks like a damaged {name} image: {residue}",
                path=source.path,
                hint=f"copy it again; --from {name} tries to read it, --from raw takes it as it is",
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

    The image owns the source; on an error the caller still does. Raises what `detect` and the
    format's `open` raise, and UsageError for an unknown name.
    """
    options = options or OpenOptions()
    kind: type[ImageFormat] | type[Stream]
    if name is None:
        kind = detect(source)
    elif name in FORMATS:
        kind = _stream_around(source, FORMATS[name]) or FORMATS[name]
    else:
        raise UsageError(
            f"unknown format {name!r}", hint=f"one of: {', '.join(sorted(FORMATS))}"
        )
    if issubclass(kind, Stream):
        return _open_unpacked(kind, source, name, options)
    if options.snapshot is not None and not kind.has_snapshots:
        raise UsageError(
            f"a {kind.name} image has no internal snapshots, {options.snapshot!r} was asked for"
        )
    return kind.open(source, options)


def _stream_around(source: Source, kind: type[ImageFormat]) -> type[Stream] | None:
    """The stream that an image of the named format lies in, or None.

    A raw disk may begin like a stream: there the file's name must say so too.
    """
    glimpse = Glimpse(source)
    if kind.probe(glimpse) is not None:
        return None
    for stream in STREAMS.values():
        if stream.probe(glimpse) is not None:
            named = glimpse.path.lower().endswith(stream.suffixes)
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
    inner = kind.inner_name(source.suffixed)
    spool = unpack(kind, source, inner, options.temporary, options.unpacking)
    try:
        options.references.keep(spool)
        return open_format(spool, name, options)
    except BaseException:
        spool.discard()
        raise
