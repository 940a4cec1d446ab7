"""OVF: a descriptor beside the disks of a machine."""

from __future__ import annotations

from functools import partial

from ..errors import MissingReferenceError
from ..files import Source
from ..formats.base import Glimpse, OpenOptions
from .base import Container, Disk, no_disk, read_text
from .envelope import MAX_DESCRIPTOR, DiskFile, parse_envelope, refuse_packed

__all__ = ["OvfContainer"]


class OvfContainer(Container):
    """An OVF descriptor that is a file of its own."""

    name = "ovf"
    title = "OVF"
    suffixes = (".ovf",)

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        """By the name too: what a guest writes must not make a descriptor of its raw disk."""
        if not cls.is_named(glimpse.path) or b"<" not in glimpse.at(0, 512):
            return None
        return "XML under a name that ends in .ovf"

    @classmethod
    def disks(cls, source: Source, options: OpenOptions) -> list[Disk]:
        files = parse_envelope(read_text(source, MAX_DESCRIPTOR, "OVF"), source.path)
        if not files:
            raise no_disk("the OVF names none with a file", source.path)

        def open_file(file: DiskFile) -> Source:
            refuse_packed(file, source.path, "")
            *others, last = file.spellings
            for name in others:
                try:
                    return options.references.open(source, name, "disk")
                except MissingReferenceError:
                    continue
            return options.references.open(source, last, "disk")

        return [
            Disk(file.href, number, file.size, file.format, partial(open_file, file))
            for number, file in enumerate(files, 1)
        ]
