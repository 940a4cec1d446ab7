"""The XML of an OVF descriptor: which files are disks. Nothing but start tags is looked at.

Source: DMTF DSP0243, Open Virtualization Format Specification, 7.1 "File references" and 9.1
"DiskSection".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote
from xml.parsers import expat

from ..errors import InvalidImageError, UnsupportedImageError, printable

__all__ = ["MAX_DESCRIPTOR", "DiskFile", "parse_envelope", "refuse_packed"]

MAX_DESCRIPTOR = 1 << 20
MAX_ELEMENTS = 100_000
MAX_DEPTH = 64
MAX_DISKS = 1024


@dataclass(frozen=True, slots=True)
class DiskFile:
    """A file that a disk of the envelope refers to."""

    href: str
    size: int | None
    compression: str  # "" for none
    chunked: bool
    format: str | None  # "raw" where the envelope says so

    @property
    def spellings(self) -> tuple[str, ...]:
        """The href is a URI: with its %-escapes as they stand, which most writers mean, and not."""
        plain = unquote(self.href, errors="surrogateescape")
        return (self.href,) if plain == self.href else (self.href, plain)


class _Collector:
    """Attributes of the elements that matter, in their order."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.elements = self.depth = 0
        self.root = ""
        self.files: list[dict[str, str]] = []
        self.disks: list[dict[str, str]] = []

    def refuse_doctype(self, *_: Any) -> None:
        raise InvalidImageError(
            "the OVF has a document type declaration, which no OVF needs and which could make it "
            "grow without end",
            path=self.path,
        )

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.elements += 1
        self.depth += 1
        if self.elements > MAX_ELEMENTS or self.depth > MAX_DEPTH:
            raise InvalidImageError(
                f"the OVF has more than {MAX_ELEMENTS} elements, or more than {MAX_DEPTH} inside "
                "each other",
                path=self.path,
            )
        local = name.rpartition(":")[2]
        self.root = self.root or local
        if local in ("File", "Disk"):
            plain: dict[str, str] = {}
            # Other makers' attributes may have the same local names.
            for key in sorted(attributes, key=lambda key: not key.startswith("ovf:")):
                plain.setdefault(key.rpartition(":")[2], attributes[key])
            (self.files if local == "File" else self.disks).append(plain)

    def end(self, name: str) -> None:
        self.depth -= 1


def parse_envelope(data: bytes, path: str) -> list[DiskFile]:
    """The files of the disks, in the order of the DiskSection; a disk without a file is left out.

    Raises InvalidImageError, UnsupportedImageError.
    """
    found = _Collector(path)
    # Without name spaces: an expanded name repeats a URI as long as the file in each of its tags.
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = found.refuse_doctype
    parser.StartElementHandler = found.start
    parser.EndElementHandler = found.end
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise InvalidImageError(
            f"the OVF is no XML: {error}",
            path=path,
            hint="it is damaged: copy it again and compare checksums",
        ) from error
    if found.root != "Envelope":
        raise InvalidImageError(
            f"the OVF begins with the element {printable(found.root)!r}, expected 'Envelope'",
            path=path,
        )
    by_id = {file.get("id", ""): file for file in reversed(found.files)}
    by_href = {file.get("href", ""): file for file in reversed(found.files)}
    disks: dict[str, DiskFile] = {}
    for disk in found.disks:
        reference = disk.get("fileRef")
        if not reference:
            continue  # an empty disk, made when the machine is
        if disk.get("parentRef"):
            raise UnsupportedImageError(
                "a disk of the OVF holds only the changes to another one (ovf:parentRef)",
                path=path,
                hint="export the machine again without delta disks",
            )
        file = by_id.get(reference) or by_href.get(reference)
        if file is None or not file.get("href"):
            raise InvalidImageError(
                f"a disk of the OVF is in the file {printable(reference)!r}, which its References "
                "do not have",
                path=path,
            )
        disks.setdefault(file["href"], _disk_file(file, disk))
    if len(disks) > MAX_DISKS:
        raise InvalidImageError(
            f"the OVF has {len(disks)} disks, expected {MAX_DISKS} or fewer", path=path
        )
    return list(disks.values())


def _disk_file(file: dict[str, str], disk: dict[str, str]) -> DiskFile:
    size = file.get("size", "")
    compression = file.get("compression", "").strip()
    return DiskFile(
        href=file["href"],
        size=int(size) if size.isascii() and size.isdecimal() and len(size) < 20 else None,
        compression="" if compression == "identity" else compression,
        chunked=bool(file.get("chunkSize")),
        # oVirt says "vmdk" of every disk in the attribute of the standard, and the truth here.
        format="raw" if disk.get("volume-format", "").upper() == "RAW" else None,
    )


def refuse_packed(file: DiskFile, path: str, unpack: str) -> None:
    """Raise UnsupportedImageError where the disk does not lie in one file as it is.

    unpack: what to do first, "" for an OVF that lies beside its files.
    """
    name = printable(file.href)
    if file.chunked:
        raise UnsupportedImageError(
            f"the disk {name!r} is cut into chunks (ovf:chunkSize)",
            path=path,
            hint=f"{unpack}put it together first: cat {name}.0* > {name}",
        )
    if file.compression:
        program = {"gzip": "gunzip", "bzip2": "bunzip2"}.get(file.compression, "a program for it")
        raise UnsupportedImageError(
            f"the disk {name!r} is compressed ({printable(file.compression)})",
            path=path,
            hint=f"{unpack}decompress it with {program}, and name the result",
        )
