"""The header, the extensions behind it, and the names in them. All big-endian.

Source: QEMU, docs/interop/qcow2, "Header", "Header extensions".
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import (
    CONVERT_ELSEWHERE,
    InvalidImageError,
    UnsupportedImageError,
    VhdfastError,
    printable,
)
from ...extents import Codec
from ...files import Source
from ...units import MAX_OFFSET

__all__ = [
    "MAGIC",
    "Header",
    "backing_name",
    "read_header",
    "refuse_encryption",
    "walk_extensions",
]

MAGIC = b"QFI\xfb"
_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
assert (_V2.size, _V3.size) == (72, 32)

MIN_CLUSTER_BITS, MAX_CLUSTER_BITS = 9, 21
MIN_EXTENDED_BITS = 14
MAX_BACKING_NAME = 1023
MAX_EXTENSIONS = 1024

# Where fields lie, for messages.
BACKING_AT, CLUSTER_BITS_AT, SIZE_AT, L1_SIZE_AT, L1_AT = 8, 20, 24, 36, 40
CRYPT_AT, SNAPSHOTS_AT, INCOMPATIBLE_AT, LENGTH_AT, COMPRESSION_AT = 32, 60, 72, 100, 104
AUTOCLEAR_AT = 88

DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED_L2 = (1 << bit for bit in range(5))
KNOWN = (1 << 5) - 1
RAW_EXTERNAL = 2  # of the auto-clear features

_END = 0
_BACKING_FORMAT = 0xE2792ACA
_FEATURE_NAMES = 0x6803F857
_DATA_FILE_NAME = 0x44415441
_FEATURE_SIZE = 48

_CODECS = {0: Codec.DEFLATE, 1: Codec.ZSTD}


@dataclass(frozen=True, slots=True)
class Header:
    """The header, checked. Sizes and offsets in bytes; names as they stand there."""

    version: int
    cluster_bits: int
    virtual_size: int
    l1_size: int
    l1_offset: int
    snapshot_count: int
    snapshots_offset: int
    incompatible: int
    autoclear: int
    codec: Codec
    backing_file: str | None
    backing_format: str | None
    data_file: str | None

    @property
    def cluster_size(self) -> int:
        return 1 << self.cluster_bits

    @property
    def is_extended(self) -> bool:
        return bool(self.incompatible & EXTENDED_L2)

    @property
    def has_data_file(self) -> bool:
        return bool(self.incompatible & DATA_FILE)

    @property
    def is_raw_external(self) -> bool:
        return bool(self.autoclear & RAW_EXTERNAL)


def read_header(source: Source) -> Header:
    """Read and check it. Raises InvalidImageError, UnsupportedImageError, CorruptImageError."""

    def invalid(offset: int, problem: str, hint: str | None = None) -> InvalidImageError:
        return InvalidImageError(problem, path=source.path, offset=offset, hint=hint)

    (
        magic, version, backing_offset, backing_size, cluster_bits, size, crypt, l1_size, l1_offset,
        _, _, snapshot_count, snapshots_offset,
    ) = _V2.unpack(source.read_exact(0, _V2.size, "qcow2 header"))  # fmt: skip
    if magic != MAGIC:
        raise invalid(0, f"the file begins with {magic!r}, expected {MAGIC!r}")
    if version not in (2, 3):
        raise UnsupportedImageError(
            f"version {version}, expected 2 or 3",
            path=source.path,
            offset=4,
            hint="say --from qcow" if version == 1 else CONVERT_ELSEWHERE,
        )
    if cluster_bits < MIN_CLUSTER_BITS:
        raise invalid(
            CLUSTER_BITS_AT, f"cluster_bits is {cluster_bits}, expected {MIN_CLUSTER_BITS} or more"
        )
    if cluster_bits > MAX_CLUSTER_BITS:
        raise UnsupportedImageError(
            f"clusters of 2^{cluster_bits} bytes, up to 2^{MAX_CLUSTER_BITS} are read",
            path=source.path,
            offset=CLUSTER_BITS_AT,
            hint=CONVERT_ELSEWHERE,
        )
    cluster_size = 1 << cluster_bits
    incompatible = autoclear = compression = 0
    length = _V2.size
    if version == 3:
        incompatible, _, autoclear, _, length = _V3.unpack(
            source.read_exact(_V2.size, _V3.size, "qcow2 header")
        )
        if not _V2.size + _V3.size <= length <= cluster_size or length % 8:
            raise invalid(
                LENGTH_AT,
                f"header_length is {length}, expected a multiple of 8 from 104 to {cluster_size}",
            )
        if length > COMPRESSION_AT:
            compression = source.read_exact(COMPRESSION_AT, 1, "qcow2 header")[0]
    if incompatible & ~KNOWN:
        raise _unknown_features(source, incompatible & ~KNOWN, length, cluster_size)
    if crypt:
        raise refuse_encryption(source, "qcow2", crypt, CRYPT_AT)
    if incompatible & EXTENDED_L2 and cluster_bits < MIN_EXTENDED_BITS:
        raise invalid(
            CLUSTER_BITS_AT,
            f"clusters of {cluster_size} bytes, extended L2 entries need 2^{MIN_EXTENDED_BITS} or "
            "more",
        )
    if bool(incompatible & COMPRESSION) != bool(compression):
        raise invalid(
            COMPRESSION_AT,
            f"compression_type is {compression}, and the feature bit for it is "
            f"{'set' if incompatible & COMPRESSION else 'not set'}, expected both or neither",
        )
    if compression not in _CODECS:
        raise UnsupportedImageError(
            f"compression type {compression}, expected 0 (zlib) or 1 (zstd)",
            path=source.path,
            offset=COMPRESSION_AT,
            hint=CONVERT_ELSEWHERE,
        )
    if not 0 < size <= MAX_OFFSET:
        raise invalid(SIZE_AT, f"a disk of {size} bytes, expected 1 to 2^63 - 1")
    if l1_offset % cluster_size:
        raise invalid(
            L1_AT, f"the L1 table is said to lie at {l1_offset:#x}, no multiple of {cluster_size}"
        )
    backing_file = backing_name(source, backing_offset, backing_size, length, cluster_size, invalid)
    strings = _strings(source, length, backing_offset or cluster_size)
    data_file = strings.get(_DATA_FILE_NAME)
    if incompatible & DATA_FILE and data_file is None:
        raise UnsupportedImageError(
            "the disk's data lies in another file, and the image does not say which: it has no "
            "header extension 'external data file name'",
            path=source.path,
            offset=INCOMPATIBLE_AT,
            hint="store the name: qemu-img amend -o data_file=FILE --image-opts "
            "driver=qcow2,file.filename=IMAGE,data-file.filename=FILE",
        )
    if autoclear & RAW_EXTERNAL and not incompatible & DATA_FILE:
        raise invalid(
            AUTOCLEAR_AT, "the data file is said to be raw, and the image says that it has none"
        )
    if autoclear & RAW_EXTERNAL and backing_file is not None:
        raise invalid(
            AUTOCLEAR_AT,
            "the image has a backing file, and its data file is said to be raw: expected one of "
            "them",
        )
    return Header(
        version=version,
        cluster_bits=cluster_bits,
        virtual_size=size,
        l1_size=l1_size,
        l1_offset=l1_offset,
        snapshot_count=snapshot_count,
        snapshots_offset=snapshots_offset,
        incompatible=incompatible,
        autoclear=autoclear,
        codec=_CODECS[compression],
        backing_file=backing_file,
        backing_format=strings.get(_BACKING_FORMAT) or None,
        data_file=data_file if incompatible & DATA_FILE else None,
    )


def backing_name(
    source: Source,
    offset: int,
    size: int,
    low: int,
    high: int,
    invalid: Callable[[int, str], InvalidImageError],
) -> str | None:
    """The name of `size` bytes at `offset`, which must lie in [low, high); None without one."""
    if not offset:
        return None
    if size > MAX_BACKING_NAME:
        raise invalid(
            BACKING_AT + 8,
            f"the backing file's name has {size} bytes, expected {MAX_BACKING_NAME} or fewer",
        )
    if offset < low or offset + size > high:
        raise invalid(
            BACKING_AT,
            f"the backing file's name is said to lie at [{offset:#x}, {offset + size:#x}), "
            f"expected it between {low:#x} and {high:#x}",
        )
    return os.fsdecode(source.read_exact(offset, size, "name of the backing file"))


def refuse_encryption(
    source: Source, driver: str, method: int, offset: int
) -> UnsupportedImageError:
    """The error for an encrypted disk, with the command that decrypts it."""
    kind = {1: "aes", 2: "luks"}.get(method)
    if kind is None:
        return UnsupportedImageError(
            f"the disk is encrypted with method {method}, which nobody knows",
            path=source.path,
            offset=offset,
            hint="the image may be damaged: copy it again and compare checksums",
        )
    return UnsupportedImageError(
        f"the disk is encrypted ({kind.upper()})",
        path=source.path,
        offset=offset,
        hint="decrypt it first: qemu-img convert --object secret,id=key,file=PASSWORD_FILE "
        f"--image-opts driver={driver},encrypt.format={kind},encrypt.key-secret=key,"
        "file.filename=IMAGE -O raw disk.raw",
    )


def walk_extensions(source: Source, start: int, end: int) -> list[tuple[int, int, bytes]]:
    """(type, offset, content) of every header extension in [start, end)."""
    data = source.read(0, end)
    found: list[tuple[int, int, bytes]] = []
    at = start
    while at + 8 <= len(data):
        kind, length = struct.unpack_from(">II", data, at)
        if kind == _END:
            break
        if len(found) == MAX_EXTENSIONS:
            raise InvalidImageError(
                f"more than {MAX_EXTENSIONS} header extensions", path=source.path, offset=at
            )
        if length > len(data) - at - 8:
            raise InvalidImageError(
                f"header extension {kind:#010x} is said to have {length} bytes, "
                f"{len(data) - at - 8} are left for it",
                path=source.path,
                offset=at,
            )
        found.append((kind, at, data[at + 8 : at + 8 + length]))
        at += 8 + -(-length // 8) * 8
    return found


def _strings(source: Source, start: int, end: int) -> dict[int, str]:
    """The extensions that are names, by type. Raises InvalidImageError where one is there twice."""
    found: dict[int, str] = {}
    for kind, at, content in walk_extensions(source, start, end):
        if kind not in (_BACKING_FORMAT, _DATA_FILE_NAME):
            continue
        if kind in found:
            raise InvalidImageError(
                f"header extension {kind:#010x} is there twice", path=source.path, offset=at
            )
        if len(content) > MAX_BACKING_NAME:
            raise InvalidImageError(
                f"header extension {kind:#010x} is a name of {len(content)} bytes, expected "
                f"{MAX_BACKING_NAME} or fewer",
                path=source.path,
                offset=at,
            )
        found[kind] = os.fsdecode(content)
    return found


def _unknown_features(
    source: Source, bits: int, length: int, cluster_size: int
) -> UnsupportedImageError:
    """The error for incompatible features, by the names that the image gives them."""
    names: dict[int, str] = {}
    try:
        for kind, _, content in walk_extensions(source, length, cluster_size):
            if kind != _FEATURE_NAMES:
                continue
            for at in range(0, len(content) - _FEATURE_SIZE + 1, _FEATURE_SIZE):
                text = content[at + 2 : at + _FEATURE_SIZE].split(b"\0", 1)[0]
                if content[at] == 0 and text:
                    names[content[at + 1]] = printable(text.decode("utf-8", "replace"))
    except VhdfastError:
        pass  # they are unknown all the same
    found = [
        f"bit {bit}" + (f" ({names[bit]})" if bit in names else "")
        for bit in range(64)
        if bits >> bit & 1
    ]
    return UnsupportedImageError(
        f"the image uses unknown incompatible features: {', '.join(found)}",
        path=source.path,
        offset=INCOMPATIBLE_AT,
        hint=CONVERT_ELSEWHERE,
    )
