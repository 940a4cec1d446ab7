"""qcow of version 1, the format before qcow2.

Source: QEMU's block driver of that format; there is no written specification. All big-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidImageError, printable
from ..extents import Codec, Kind, Rows, clip, in_order, make_rows
from ..files import Source
from ..tables import first_true
from ..units import MAX_OFFSET
from .base import Glimpse, ImageFormat, ImageInfo, OpenOptions
from .qcow2.header import MAGIC, backing_name, refuse_encryption
from .qcow2.levels import Layout, TwoLevels

__all__ = ["QcowImage"]

_HEADER = struct.Struct(">4sIQIIQBBHIQ")
assert _HEADER.size == 48

BACKING_AT, SIZE_AT, BITS_AT, CRYPT_AT, L1_AT = 8, 24, 32, 36, 40
MIN_CLUSTER_BITS, MAX_CLUSTER_BITS = 9, 16
MIN_L2_BITS, MAX_L2_BITS = 6, 13
# A backing file's name lies somewhere behind the header; nothing says how far.
MAX_NAME_END = 1 << 20
COMPRESSED = np.uint64(1 << 63)


@dataclass(frozen=True, slots=True)
class Header:
    """The header, checked; offsets and sizes in bytes."""

    cluster_bits: int
    l2_bits: int
    virtual_size: int
    l1_offset: int
    backing_file: str | None


class QcowImage(ImageFormat):
    """A qcow image of version 1."""

    name = "qcow"
    title = "qcow, version 1 (QEMU, before qcow2)"
    suffixes = (".qcow",)

    @classmethod
    def probe(cls, glimpse: Glimpse) -> str | None:
        is_ours = glimpse.at(0, 8) == MAGIC + b"\0\0\0\1"
        return "'QFI\\xfb' and version 1 at its start" if is_ours else None

    def __init__(self, source: Source, options: OpenOptions) -> None:
        super().__init__(source, options)
        header = self.header = _read_header(source)
        self.virtual_size = header.virtual_size
        self.cluster_size = self.unit_size = 1 << header.cluster_bits
        l2_entries = 1 << header.l2_bits
        reach = self.cluster_size * l2_entries
        self.levels = TwoLevels(
            source,
            Layout(
                l1_offset=header.l1_offset,
                l1_size=-(-self.virtual_size // reach),
                l2_entries=l2_entries,
                entry_size=8,
                cluster_size=self.cluster_size,
                virtual_size=self.virtual_size,
                place_bits=(1 << 64) - 1,
                other_bits=0,
                alignment=1,
                header_end=_HEADER.size,
            ),
            L1_AT,
            options.ask_holes,
        )
        # Of a compressed cluster's entry: the offset takes the low bits, the length those above.
        self._length_shift = 63 - header.cluster_bits
        if header.backing_file is not None:
            self.open_parent(header.backing_file, None, "backing file")

    def info(self) -> ImageInfo:
        details: dict[str, object] = {"L2 table entries": 1 << self.header.l2_bits}
        if self.header.backing_file is not None:
            details["backing file"] = printable(self.header.backing_file)
        return self.make_info("v1", block_size=self.cluster_size, details=details)

    def rows(self, offset: int, length: int, max_rows: int) -> Rows:
        first = offset // self.cluster_size
        last = -(-(offset + length) // self.cluster_size)
        window = self.levels.window(first, last, max_rows)
        size = np.uint64(self.cluster_size)
        entries, clusters = window.entries[:, 0], window.clusters
        packed = entries & COMPRESSED != 0
        stored = (entries != 0) & ~packed
        mask = np.uint64((1 << self._length_shift) - 1)
        places = np.where(packed, entries & mask, entries)
        lengths = (entries >> np.uint64(self._length_shift)) & np.uint64(self.cluster_size - 1)

        at = first_true((stored | packed) & (places >= np.uint64(self.source.size)))
        if at is not None:
            raise self.levels.corrupt(
                int(clusters[at]),
                f"is said to lie at {int(places[at]):#x}, the file ends at {self.source.size:#x}",
            )
        at = first_true(stored & (places & np.uint64(511) != 0))
        if at is not None:
            raise self.levels.corrupt(
                int(clusters[at]), f"is said to lie at {int(places[at]):#x}, no multiple of 512"
            )
        at = first_true(packed & (lengths == 0))
        if at is not None:
            raise self.levels.corrupt(int(clusters[at]), "is compressed to no bytes")
        self.levels.check_metadata(clusters[stored], places[stored], self.cluster_size)
        self.levels.check_metadata(clusters[packed], places[packed], 1)

        kinds = np.where(stored, Kind.DATA, np.where(packed, Kind.COMPRESSED, Kind.UNALLOCATED))
        rows = make_rows(clusters * size, size, kinds, places)
        rows["stored_length"][packed] = lengths[packed]
        rows["decoded_length"][packed] = size
        rows["codec"][packed] = Codec.DEFLATE
        rows = in_order([rows, window.gap_rows(self.cluster_size)])
        end = min(offset + length, window.end * self.cluster_size)
        return self.cut_at_end(clip(rows, offset, end - offset), "cluster")


def _read_header(source: Source) -> Header:
    """Read and check it. Raises InvalidImageError, UnsupportedImageError, CorruptImageError."""

    def invalid(offset: int, problem: str, hint: str | None = None) -> InvalidImageError:
        return InvalidImageError(problem, path=source.path, offset=offset, hint=hint)

    (
        magic, version, backing_offset, backing_size, _, size, cluster_bits, l2_bits, _, crypt,
        l1_offset,
    ) = _HEADER.unpack(source.read_exact(0, _HEADER.size, "qcow header"))  # fmt: skip
    if magic != MAGIC or version != 1:
        raise invalid(
            0,
            f"the file begins with {magic!r} and version {version}, expected {MAGIC!r} and 1",
            "say --from qcow2" if magic == MAGIC else None,
        )
    if crypt:
        raise refuse_encryption(source, "qcow", crypt, CRYPT_AT)
    if not 0 < size <= MAX_OFFSET:
        raise invalid(SIZE_AT, f"a disk of {size} bytes, expected 1 to 2^63 - 1")
    if not MIN_CLUSTER_BITS <= cluster_bits <= MAX_CLUSTER_BITS:
        raise invalid(
            BITS_AT,
            f"cluster_bits is {cluster_bits}, expected {MIN_CLUSTER_BITS} to {MAX_CLUSTER_BITS}",
        )
    if not MIN_L2_BITS <= l2_bits <= MAX_L2_BITS:
        raise invalid(BITS_AT + 1, f"l2_bits is {l2_bits}, expected {MIN_L2_BITS} to {MAX_L2_BITS}")
    backing = backing_name(
        source, backing_offset, backing_size, _HEADER.size, MAX_NAME_END, invalid
    )
    return Header(cluster_bits, l2_bits, size, l1_offset, backing)
