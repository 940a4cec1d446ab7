"""Builds qcow2 images from what each cluster is to be, with reference counts that qemu accepts.

Shares no code with vhdfast. Source: QEMU, docs/interop/qcow2.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from functools import partial

from . import SparseFile, set_field

MAGIC = b"QFI\xfb"
COPIED = 1 << 63
COMPRESSED = 1 << 62
DIRTY, CORRUPT, DATA_FILE, COMPRESSION_TYPE, EXTENDED = 1, 2, 4, 8, 16
RAW_EXTERNAL = 2
BACKING_FORMAT = 0xE2792ACA
DATA_FILE_NAME = 0x44415441
FEATURE_NAMES = 0x6803F857

# Where fields of the header lie, with their sizes.
FIELDS = {
    "magic": (0, 4), "version": (4, 4), "backing_file_offset": (8, 8),
    "backing_file_size": (16, 4), "cluster_bits": (20, 4), "size": (24, 8),
    "crypt_method": (32, 4), "l1_size": (36, 4), "l1_table_offset": (40, 8),
    "refcount_table_offset": (48, 8), "refcount_table_clusters": (56, 4),
    "nb_snapshots": (60, 4), "snapshots_offset": (64, 8), "incompatible_features": (72, 8),
    "compatible_features": (80, 8), "autoclear_features": (88, 8), "refcount_order": (96, 4),
    "header_length": (100, 4), "compression_type": (104, 1),
}  # fmt: skip


def raw_deflate(data: bytes, level: int = 6) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -12)
    return packer.compress(data) + packer.flush()


def zstd_frame(data: bytes, sized: bool = True) -> bytes:
    """A frame of raw blocks and blocks of one repeated byte (RFC 8878, 3.1.1)."""
    # Frame content size of 4 bytes and a single segment; or a window of 8 MiB and no size.
    head = b"\x28\xb5\x2f\xfd" + (b"\xa0" + struct.pack("<I", len(data)) if sized else b"\x00\x68")
    out = [head]
    chunks = [data[at : at + 65536] for at in range(0, len(data), 65536)] or [b""]
    for index, chunk in enumerate(chunks):
        is_last = index == len(chunks) - 1
        is_run = len(chunk) > 1 and chunk == chunk[:1] * len(chunk)
        block = len(chunk) << 3 | (1 << 1 if is_run else 0) | is_last
        out.append(block.to_bytes(3, "little") + (chunk[:1] if is_run else chunk))
    return b"".join(out)


def feature_names(*names: tuple[int, int, str]) -> bytes:
    """(kind, bit, name) of each feature."""
    return b"".join(
        bytes([kind, bit]) + name.encode().ljust(46, b"\0")[:46] for kind, bit, name in names
    )


@dataclass
class Cluster:
    """What one cluster is. entry: as it stands; else made from the rest."""

    body: bytes | None = None
    stream: bytes | None = None
    flags: int = 0
    bitmap: int = 0
    entry: int | None = None


@dataclass
class Layer:
    """What an L1 table describes."""

    clusters: dict[int, Cluster] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)  # where bodies lie, once built
    l1_offset: int = 0
    l1_size: int | None = None
    l2: dict[int, int] = field(default_factory=dict)  # offset of each L1 entry's table

    def data(self, cluster: int, body: bytes) -> None:
        self.clusters[cluster] = Cluster(body=body, bitmap=0xFFFFFFFF)

    def zero(self, cluster: int, body: bytes | None = None) -> None:
        """Reads as zeros; with a body it is stored all the same, and not to be read."""
        self.clusters[cluster] = Cluster(body=body, flags=1, bitmap=0xFFFFFFFF << 32)

    def packed(self, cluster: int, stream: bytes, bitmap: int = 0) -> None:
        self.clusters[cluster] = Cluster(stream=stream, bitmap=bitmap)

    def sub(self, cluster: int, body: bytes | None, stored: int, zeros: int) -> None:
        self.clusters[cluster] = Cluster(body=body, bitmap=zeros << 32 | stored)

    def entry(self, cluster: int, value: int, bitmap: int = 0) -> None:
        self.clusters[cluster] = Cluster(entry=value, bitmap=bitmap)


class Qcow2(Layer):
    """An image in the making. Bodies are stored in the order in which they were given."""

    def __init__(
        self,
        virtual_size: int,
        cluster_bits: int = 16,
        version: int = 3,
        *,
        backing: str | bytes | None = None,
        backing_format: str | bytes | None = None,
        data_file: str | None = None,
        incompatible: int = 0,
        autoclear: int = 0,
        compression: int | None = None,
        extensions: tuple[tuple[int, bytes], ...] = (),
        header_length: int = 112,
        l1_size: int | None = None,
    ) -> None:
        super().__init__(l1_size=l1_size)
        self.virtual_size = virtual_size
        self.cluster_bits = cluster_bits
        self.cluster_size = 1 << cluster_bits
        self.version = version
        self.backing = backing.encode() if isinstance(backing, str) else backing
        self.incompatible = incompatible
        self.autoclear = autoclear
        self.compression = compression
        self.header_length = header_length if version == 3 else 72
        self.extensions = list(extensions)
        if backing_format is not None:
            named = backing_format
            self.extensions.append(
                (BACKING_FORMAT, named.encode() if isinstance(named, str) else named)
            )
        if data_file is not None:
            self.incompatible |= DATA_FILE
            self.extensions.append((DATA_FILE_NAME, data_file.encode()))
        self.data_bodies = SparseFile(virtual_size)  # what the data file holds, once built
        self.snapshots: list[tuple[str, str, int | None, Layer]] = []
        self.snapshots_offset = 0
        self.backing_offset = 0
        self._file = SparseFile()
        self._references: dict[int, int] = {}
        self._end = 0

    @property
    def is_extended(self) -> bool:
        return bool(self.incompatible & EXTENDED)

    @property
    def l2_entries(self) -> int:
        return self.cluster_size // (16 if self.is_extended else 8)

    def snapshot(self, id: str, name: str, size: int | None = None, **layer: int) -> Layer:
        """A snapshot; without a size the entry has no extra data."""
        made = Layer(**layer)  # type: ignore[arg-type]
        self.snapshots.append((id, name, size, made))
        return made

    # ---- building -------------------------------------------------------------------------------

    def _take(self, size: int) -> int:
        """Whole clusters at the end of the file."""
        at = self._end
        count = max(1, -(-size // self.cluster_size))
        for index in range(count):
            self._refer(at + index * self.cluster_size)
        self._end += count * self.cluster_size
        return at

    def _refer(self, at: int) -> None:
        number = at // self.cluster_size
        self._references[number] = self._references.get(number, 0) + 1

    def _store(self, layer: Layer) -> None:
        for number, cluster in layer.clusters.items():
            if cluster.body is None:
                continue
            body = cluster.body.ljust(self.cluster_size, b"\0")
            if self.incompatible & DATA_FILE:
                at = number * self.cluster_size
                self.data_bodies.put(at, body[: self.virtual_size - at])
            else:
                at = self._take(self.cluster_size)
                self._file.put(at, body)
            layer.places[number] = at

    def _reserve_tables(self, layer: Layer, size: int) -> None:
        reach = self.l2_entries * self.cluster_size
        if layer.l1_size is None:
            layer.l1_size = -(-size // reach)
        layer.l1_offset = self._take(8 * layer.l1_size)
        for number in layer.clusters:
            index = number // self.l2_entries
            if index not in layer.l2:
                layer.l2[index] = self._take(self.cluster_size)

    def _pack(self, layer: Layer, at: int) -> int:
        """Streams one behind the other, whatever borders they cross; the end of the last."""
        for cluster in layer.clusters.values():
            if cluster.stream is None:
                continue
            self._file.put(at, cluster.stream)
            sectors = (at + len(cluster.stream) - 1) // 512 - at // 512
            shift = 62 - (self.cluster_bits - 8)
            cluster.entry = COMPRESSED | sectors << shift | at
            last = at // 512 * 512 + (sectors + 1) * 512 - 1
            for host in range(at // self.cluster_size, last // self.cluster_size + 1):
                self._refer(host * self.cluster_size)
            at += len(cluster.stream)
        return at

    def _write_tables(self, layer: Layer) -> None:
        assert layer.l1_size is not None
        for index, at in layer.l2.items():
            self._file.put(at, bytes(self.cluster_size))
            if index < layer.l1_size:
                self._file.put(layer.l1_offset + 8 * index, struct.pack(">Q", COPIED | at))
        for number, cluster in layer.clusters.items():
            index, within = divmod(number, self.l2_entries)
            value = cluster.entry
            if value is None:
                flags = 0 if self.is_extended else cluster.flags
                value = flags | (COPIED | layer.places[number] if number in layer.places else 0)
            words = [value, cluster.bitmap] if self.is_extended else [value]
            place = layer.l2[index] + 8 * len(words) * within
            self._file.put(place, struct.pack(f">{len(words)}Q", *words))

    def build(self) -> SparseFile:
        file = self._file = SparseFile()
        self._references.clear()
        self._end = 0
        self._take(self.cluster_size)
        layers: list[tuple[int, Layer]] = [(self.virtual_size, self)]
        layers += [(size or self.virtual_size, layer) for _, _, size, layer in self.snapshots]
        for size, layer in layers:
            layer.l2.clear()
            layer.places.clear()
            self._reserve_tables(layer, size)
        for _, layer in layers:
            self._store(layer)
        table = b""
        for id, name, size, layer in self.snapshots:
            extra = b"" if size is None else struct.pack(">QQ", 0, size)
            entry = struct.pack(
                ">QIHHIIQII", layer.l1_offset, layer.l1_size, len(id.encode()),
                len(name.encode()), 1700000000, 0, 0, 0, len(extra),
            ) + extra + id.encode() + name.encode()  # fmt: skip
            table += entry.ljust(-(-len(entry) // 8) * 8, b"\0")
        if table:
            self.snapshots_offset = self._take(len(table))
            file.put(self.snapshots_offset, table)
        refcounts, refcount_clusters = self._write_refcounts()
        for _, layer in layers:
            self._write_tables(layer)
        self._write_header(refcounts, refcount_clusters)
        # What is reserved is there, but for the streams at the very end.
        file.size = max(file.size, self._end)
        return file

    def _write_refcounts(self) -> tuple[int, int]:
        """Table, blocks, and then the streams, which thus lie at the end of the file."""
        in_block = self.cluster_size // 2
        layers = [self, *(layer for *_, layer in self.snapshots)]
        streams = sum(len(c.stream or b"") for layer in layers for c in layer.clusters.values())
        blocks = 1
        while True:
            table_clusters = -(-8 * blocks // self.cluster_size)
            used = self._end // self.cluster_size + table_clusters + blocks
            used += -(-streams // self.cluster_size) + 2
            if blocks * in_block >= used:
                break
            blocks += 1
        table = self._take(8 * blocks)
        starts = [self._take(self.cluster_size) for _ in range(blocks)]
        at = self._end
        for layer in layers:
            at = self._pack(layer, at)
        self._file.put(table, struct.pack(f">{blocks}Q", *starts))
        for number, count in self._references.items():
            block, within = divmod(number, in_block)
            self._file.put(starts[block] + 2 * within, struct.pack(">H", count))
        return table, table_clusters

    def _write_header(self, refcounts: int, refcount_clusters: int) -> None:
        extensions = b"".join(
            struct.pack(">II", kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")
            for kind, data in self.extensions
        ) + bytes(8)  # fmt: skip
        self.backing_offset = self.header_length + len(extensions) if self.backing else 0
        header = struct.pack(
            ">4sIQIIQIIQQIIQ", MAGIC, self.version, self.backing_offset, len(self.backing or b""),
            self.cluster_bits, self.virtual_size, 0, self.l1_size, self.l1_offset, refcounts,
            refcount_clusters, len(self.snapshots), self.snapshots_offset,
        )  # fmt: skip
        if self.version == 3:
            compression = self.compression
            if compression is None:
                compression = 1 if self.incompatible & COMPRESSION_TYPE else 0
            header += struct.pack(
                ">QQQII", self.incompatible, 0, self.autoclear, 4, self.header_length
            ) + bytes([compression])
        header = header.ljust(self.header_length, b"\0")[: self.header_length]
        self._file.put(0, header + extensions + (self.backing or b""))


poke_field = partial(set_field, FIELDS)
