"""Builds qcow images of version 1 from what each cluster is to be. Shares no code with vhdfast."""

from __future__ import annotations

import struct
from functools import partial

from . import SparseFile, set_field

COMPRESSED = 1 << 63

# Where fields of the header lie, with their sizes.
FIELDS = {
    "magic": (0, 4), "version": (4, 4), "backing_file_offset": (8, 8),
    "backing_file_size": (16, 4), "mtime": (20, 4), "size": (24, 8), "cluster_bits": (32, 1),
    "l2_bits": (33, 1), "padding": (34, 2), "crypt_method": (36, 4), "l1_table_offset": (40, 8),
}  # fmt: skip


class Qcow:
    """An image in the making. Clusters are stored in the order in which they were given."""

    def __init__(
        self,
        virtual_size: int,
        cluster_bits: int = 12,
        l2_bits: int = 9,
        backing: str | None = None,
    ) -> None:
        self.virtual_size = virtual_size
        self.cluster_bits, self.l2_bits = cluster_bits, l2_bits
        self.cluster_size = 1 << cluster_bits
        self.backing = (backing or "").encode()
        self.entries: dict[int, int] = {}
        self.l2: dict[int, int] = {}
        self.file = SparseFile()
        self.l1_offset = -(-(48 + len(self.backing)) // 8) * 8
        self.l1_size = -(-virtual_size // (self.cluster_size << l2_bits))
        self._end = self._align(self.l1_offset + 8 * self.l1_size)

    def _align(self, at: int) -> int:
        return -(-at // self.cluster_size) * self.cluster_size

    def data(self, cluster: int, body: bytes) -> int:
        """Where it is stored."""
        at = self._align(self._end)
        self.file.put(at, body.ljust(self.cluster_size, b"\0"))
        self._end = at + self.cluster_size
        self.entries[cluster] = at
        return at

    def packed(self, cluster: int, stream: bytes) -> int:
        """Where it is stored: streams lie behind each other."""
        at = self._end
        self.file.put(at, stream)
        self._end += len(stream)
        self.entries[cluster] = COMPRESSED | len(stream) << (63 - self.cluster_bits) | at
        return at

    def build(self) -> SparseFile:
        file = self.file
        for index in sorted({cluster >> self.l2_bits for cluster in self.entries}):
            at = self.l2[index] = self._align(self._end)
            self._end = at + (8 << self.l2_bits)
            file.put(at, bytes(8 << self.l2_bits))
            file.put(self.l1_offset + 8 * index, struct.pack(">Q", at))
        for cluster, entry in self.entries.items():
            at = self.l2[cluster >> self.l2_bits]
            within = cluster & (1 << self.l2_bits) - 1
            file.put(at + 8 * within, struct.pack(">Q", entry))
        file.size = max(file.size, self.l1_offset + 8 * self.l1_size)
        header = struct.pack(
            ">4sIQIIQBBHIQ", b"QFI\xfb", 1, 48 if self.backing else 0, len(self.backing), 0,
            self.virtual_size, self.cluster_bits, self.l2_bits, 0, 0, self.l1_offset,
        )  # fmt: skip
        file.put(0, header + self.backing)
        return file


poke_field = partial(set_field, FIELDS)
