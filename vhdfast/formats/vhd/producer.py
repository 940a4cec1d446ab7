"""Who wrote a VHD, and whether its size was rounded to whole cylinders on the way.

From version 2.2.1 on, qemu-img makes a VHD as large as the next geometry unless it is told
`force_size` (2.6 and later): the disk is then larger than what was asked for, and hardly ever a
whole number of MiB, which Azure refuses. Creator, geometry, size and file size together tell who
wrote a footer; docs/formats/vhd.md has the table. Nothing here reads an image but
`gather_size_evidence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...guest.gpt import read_header
from ...units import MIB, SECTOR, round_down
from .footer import FOOTER_LENGTH, LARGEST_GEOMETRY, DiskType, Footer
from .geometry import LARGEST_SIZE, rounded_up

if TYPE_CHECKING:
    from ...image import Image

__all__ = [
    "IntendedSize",
    "Producer",
    "SizeEvidence",
    "candidate_sizes",
    "gather_size_evidence",
    "identify",
    "intended_size",
]

QEMU, QEMU_FORCED, MKIMG = b"qemu", b"qem2", b"*img"

_OTHERS = {
    b"vpc ": "virtual-pc",
    b"vs  ": "virtual-server",
    b"win ": "hyper-v",
    b"d2v\0": "disk2vhd",
    b"wa\0\0": "azure",
    b"vbox": "virtualbox",
    b"tap\0": "xenserver",
    b"CTXS": "xenconverter",
    b"vhdf": "vhdfast",
}

# A rounded size is less than two MiB above what was asked for; one more, for certain.
SEARCHED_MIB = 3
# How much of a disk's end is read for evidence.
MAX_TAIL = 8 * MIB


@dataclass(frozen=True, slots=True)
class Producer:
    """Who wrote a footer.

    code: "qemu-chs", "qemu-exact", "qemu-force-size", "qemu-large", "qemu-255-heads", "mkimg",
    "hyper-v", "azure" …
    versions: of qemu-img, that write such a footer; None for other programs.
    is_chs_rounded: the size is one that a geometry expresses, in place of what was asked for.
    """

    code: str
    name: str
    versions: str | None = None
    is_chs_rounded: bool = False

    @property
    def is_qemu(self) -> bool:
        return self.versions is not None


def identify(footer: Footer, file_size: int) -> Producer | None:
    """Who wrote the footer of a file of `file_size` bytes; None where nothing known fits."""
    if footer.creator == QEMU:
        return _identify_qemu(footer, file_size)
    if footer.creator == QEMU_FORCED:
        if footer.geometry != LARGEST_GEOMETRY:
            return None
        return Producer("qemu-force-size", "qemu-img with force_size", "2.6 and later")
    if footer.creator == MKIMG:
        rounded = footer.chs_size == footer.current_size
        return Producer("mkimg", footer.creator_name, is_chs_rounded=rounded)
    code = _OTHERS.get(footer.creator)
    return None if code is None else Producer(code, footer.creator_name)


def _identify_qemu(footer: Footer, file_size: int) -> Producer | None:
    size, spanned = footer.current_size, footer.chs_size
    is_fixed = footer.disk_type == DiskType.FIXED
    if is_fixed and file_size != size + FOOTER_LENGTH:
        return None  # changed since: no longer as it was written
    if footer.geometry == LARGEST_GEOMETRY:
        if size < LARGEST_SIZE:
            return None
        return Producer("qemu-large", "qemu-img", "2.3 and later")
    if footer.geometry[1] == 255:
        return Producer("qemu-255-heads", "qemu-img", "1.4 to 2.2", spanned == size)
    if spanned == size:
        versions = "2.2.1 to 2.5, or later without force_size"
        return Producer(
            "qemu-chs", "qemu-img", versions if is_fixed else "any, without force_size", True
        )
    if is_fixed and spanned > size:
        return Producer("qemu-exact", "qemu-img", "2.2.0 and earlier")
    return None


# ---- what was asked for -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SizeEvidence:
    """What a disk's end says about the size that it was made with; bytes.

    gpt_ends: sizes at whose end an intact backup header of a GPT lies.
    data_end: from here on all is zero, as far as was looked (MAX_TAIL, or the smallest candidate).
    """

    gpt_ends: tuple[int, ...]
    data_end: int


@dataclass(frozen=True, slots=True)
class IntendedSize:
    """A size in bytes that was rounded to the one that the disk has, and what confirms it."""

    size: int
    confirmed_by: Literal["gpt-backup", "zero-tail"] | None


def candidate_sizes(size: int) -> tuple[int, ...]:
    """Whole MiB below `size` that qemu-img rounds to it, in bytes, the largest first.

    None of them where `size` is itself a whole number of MiB.
    """
    if size % MIB == 0 or size > LARGEST_SIZE:
        return ()
    first = round_down(size, MIB)
    below = (first - step * MIB for step in range(SEARCHED_MIB))
    return tuple(each for each in below if each > 0 and rounded_up(each) == size)


def intended_size(size: int, evidence: SizeEvidence | None = None) -> IntendedSize | None:
    """The size that was asked for where qemu-img made a disk of `size` bytes.

    Without evidence the largest whole MiB that is rounded to it. With it, None where something
    lies at the end of the disk as it is: then it has been used with this size.
    """
    candidates = candidate_sizes(size)
    if evidence is None:
        return IntendedSize(candidates[0], None) if candidates else None
    if size in evidence.gpt_ends:
        return None
    for end in sorted(evidence.gpt_ends, reverse=True):
        if evidence.data_end <= end < size <= LARGEST_SIZE and rounded_up(end) == size:
            return IntendedSize(end, "gpt-backup")
    for candidate in candidates:
        if evidence.data_end <= candidate:
            return IntendedSize(candidate, "zero-tail")
    return None


def gather_size_evidence(image: Image, candidates: Sequence[int]) -> SizeEvidence:
    """Look at the end of a disk for what `intended_size` goes by.

    candidates: sizes in bytes at whose end a backup header is looked for, besides the one that the
    GPT at the start names, and the disk's end. Raises what reading an image raises.
    """
    size = image.virtual_size
    places = {each for each in candidates if 0 < each <= size} | {size}
    head = read_header(image.pread, SECTOR, SECTOR, size)
    if head is not None and head.header_matches and head.my_lba == 1:
        named = (head.alternate_lba + 1) * SECTOR
        if 0 < named <= size:
            places.add(named)
    ends = []
    for end in sorted(place for place in places if place % SECTOR == 0 and place >= 3 * SECTOR):
        header = read_header(image.pread, end - SECTOR, SECTOR, size)
        if header and header.header_matches and header.my_lba == end // SECTOR - 1:
            ends.append(end)
    start = max(min(places), size - MAX_TAIL)
    tail = image.pread(start, size - start)
    return SizeEvidence(tuple(ends), start + len(tail.rstrip(b"\0")))
