"""OVA, and any other tar file that holds disks: read in place."""

from __future__ import annotations

import re
from functools import partial

from ..errors import (
    CorruptImageError,
    InvalidImageError,
    UnsupportedImageError,
    printable,
)
from ..files import Source
from ..formats.base import FORMATS, Glimpse, OpenOptions
from . import tar
from .base import Container, Disk, Member, no_disk, read_text
from .envelope import MAX_DESCRIPTOR, DiskFile, parse_envelope, refuse_packed
from .tar_sparse import open_sparse

__all__ = ["OvaContainer"]

TAR_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2", ".txz", ".tbz2")
_XVA_PIECE = re.compile(r"Ref:\d+/\d+(\.checksum|\.xxhash)?")
# Without an OVF every member is looked at.
MAX_UNNAMED = 256


class OvaContainer(Container):
    """A tar file with an OVF and its disks, or with disks alone."""

    name = "ova"
    title = "OVA or tar"
    suffixes = (".ova",)

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        header = glimpse.at(0, tar.BLOCK)
        # Too little for any file, and enough where its name says so too.
        if cls.is_named(glimpse.name) and tar.is_v7(header):
            return "its name, and the checksum of a tar header"
        if not _has_magic(header) or not tar.checksum_fits(header):
            return None
        return f"'ustar' at offset {tar.MAGIC_OFFSET} and the checksum of a tar header"

    @classmethod
    def is_named(cls, path: str) -> bool:
        return path.lower().endswith((*cls.suffixes, *TAR_SUFFIXES))

    @classmethod
    def residue(cls, glimpse: Glimpse) -> str | None:
        if _has_magic(glimpse.at(0, tar.BLOCK)):
            return f"'ustar' at offset {tar.MAGIC_OFFSET}, but not the checksum of a tar header"
        return None

    @classmethod
    def disks(cls, source: Source, options: OpenOptions) -> list[Disk]:
        # macOS puts a file "._NAME" of attributes beside every NAME.
        found = [
            member
            for member in tar.members(source)
            if not member.name.rpartition("/")[2].startswith("._")
        ]
        envelopes = [member for member in found if member.name.lower().endswith(".ovf")]
        if len(envelopes) > 1:
            raise UnsupportedImageError(
                f"the archive holds {len(envelopes)} OVF descriptors, expected one",
                path=source.path,
                offset=envelopes[1].header_offset,
                hint="unpack it first (tar -xf) and name one of them",
            )
        if envelopes:
            return _of_envelope(source, envelopes[0], found)
        return _unnamed(source, found)


def _has_magic(header: bytes) -> bool:
    return (
        len(header) == tar.BLOCK
        and header[tar.MAGIC_OFFSET : tar.MAGIC_OFFSET + len(tar.MAGIC)] == tar.MAGIC
    )


def _open(source: Source, member: tar.TarMember) -> Source:
    path = f"{source.path}:{printable(member.name)}"
    if member.sparse is not None:
        return open_sparse(source, member.sparse, member.offset, member.stored, path)
    return Member(source, member.offset, member.stored, path)


def _of_envelope(
    source: Source, envelope: tar.TarMember, found: list[tar.TarMember]
) -> list[Disk]:
    text = read_text(_open(source, envelope), MAX_DESCRIPTOR, "OVF")
    path = f"{source.path}:{printable(envelope.name)}"
    # hrefs are relative to the descriptor, which nearly always lies at the top.
    folder = envelope.name.rpartition("/")[0]
    files = parse_envelope(text, path)
    if not files:
        raise no_disk("its OVF names none with a file", source.path)

    def open_file(file: DiskFile) -> Source:
        refuse_packed(file, source.path, "unpack the archive (tar -xf), ")
        return _open(source, _find(source, found, file, folder))

    return [
        Disk(file.href, number, file.size, file.format, partial(open_file, file))
        for number, file in enumerate(files, 1)
    ]


def _find(
    source: Source, found: list[tar.TarMember], file: DiskFile, folder: str
) -> tar.TarMember:
    """The member that an href means: by its name alone, so it never leads out of the archive."""
    for name in file.spellings:
        name = name.removeprefix("./")
        wanted = f"{folder}/{name}" if folder else name
        matches = [member for member in found if member.name == wanted]
        if len(matches) > 1:
            raise _twice(source, matches[1])
        if matches:
            return matches[0]
    raise CorruptImageError(
        f"the OVF says that a disk is in {printable(file.href)!r}, the archive has no such member",
        path=source.path,
        hint="the archive is incomplete: export or download it again",
    )


def _twice(source: Source, member: tar.TarMember) -> InvalidImageError:
    return InvalidImageError(
        f"two members of the archive are called {printable(member.name)!r}",
        path=source.path,
        offset=member.header_offset,
        hint="unpack it first (tar -xf): the last one wins there",
    )


def _unnamed(source: Source, found: list[tar.TarMember]) -> list[Disk]:
    """The members of a plain archive that are disks by their names or by what is in them."""
    pieces = next((member for member in found if _XVA_PIECE.fullmatch(member.name)), None)
    if pieces is not None:
        # Looked at like any member, the first MiB of a guest's disk would pass for a disk where it
        # begins like an image.
        raise UnsupportedImageError(
            f"this is a XenServer export (XVA), which cuts its disks into pieces "
            f"({printable(pieces.name)!r})",
            path=source.path,
            offset=pieces.header_offset,
            hint="export the disk as VHD (xe vdi-export format=vhd), or put it together with "
            "xva-img",
        )
    if len(found) > MAX_UNNAMED:
        raise UnsupportedImageError(
            f"an archive of {len(found)} files without an OVF, at most {MAX_UNNAMED} are looked at",
            path=source.path,
            hint="unpack it first (tar -xf) and name the disk in it",
        )
    chosen = [member for member in found if _is_disk(source, member)]
    if not chosen:
        raise no_disk(
            f"no OVF, and none of its {len(found)} files is an image of a known format",
            source.path,
        )
    names: set[str] = set()
    for member in chosen:
        if member.name in names:
            raise _twice(source, member)
        names.add(member.name)
    return [
        Disk(member.name, number, member.size, None, partial(_open, source, member))
        for number, member in enumerate(chosen, 1)
    ]


def _is_disk(source: Source, member: tar.TarMember) -> bool:
    if member.size == 0:
        return False
    suffixes = tuple(suffix for kind in FORMATS.values() for suffix in kind.suffixes)
    if member.name.lower().endswith(suffixes):
        return True
    glimpse = Glimpse(_open(source, member))
    return any(kind.probe(glimpse) is not None for kind in FORMATS.values())
