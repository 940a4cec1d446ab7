#!/usr/bin/env python3
"""A qcow2 whose clusters lie in the file in another order than on the disk.

    python bench/scattered.py RAW QCOW2 CHUNK

qemu-img writes clusters in the order of the disk and cannot do this. Clusters have 4 KiB; pieces of
CHUNK bytes of the disk's data stay together, and their order is shuffled (seeded). The layout is
that of qemu's docs/interop/qcow2.txt, version 3 with 16-bit refcounts:

    header | refcount table | refcount blocks | L1 table | L2 tables | data
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import numpy as np

CLUSTER_BITS = 12
CLUSTER = 1 << CLUSTER_BITS
ENTRIES = CLUSTER // 8  # of an L2 table
REFCOUNTS = CLUSTER // 2  # of a refcount block
COPIED = 1 << 63  # QCOW_OFLAG_COPIED: the refcount is one
COPY_CLUSTERS = 4096  # read and written at once
SEED = 3


def stored_clusters(fd: int, size: int) -> np.ndarray:
    """Numbers of the clusters that the raw disk stores, ascending."""
    pieces, at = [], 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, at, os.SEEK_HOLE)
        except OSError:  # holes up to the end
            break
        pieces.append(np.arange(at // CLUSTER, -(-end // CLUSTER), dtype=np.int64))
        at = end
    return np.unique(np.concatenate(pieces)) if pieces else np.zeros(0, np.int64)


def shuffled(count: int, chunk: int) -> np.ndarray:
    """For each of `count` clusters its place among the data: groups of `chunk` stay together."""
    groups = -(-count // chunk)
    order = np.random.RandomState(SEED).permutation(groups)
    clusters = (order[:, None] * chunk + np.arange(chunk)).reshape(-1)
    clusters = clusters[clusters < count]
    places = np.empty(count, np.int64)
    places[clusters] = np.arange(count)
    return places


def layout(guest: np.ndarray, size: int) -> tuple[int, int, int, int, np.ndarray]:
    """(refcount table clusters, refcount blocks, L1 clusters, L1 entries, L2 table numbers)."""
    l1_entries = -(-size // (CLUSTER * ENTRIES))
    l1_clusters = -(-l1_entries * 8 // CLUSTER)
    tables = np.unique(guest // ENTRIES)
    blocks = table_clusters = 1
    while True:
        total = 1 + table_clusters + blocks + l1_clusters + len(tables) + len(guest)
        wanted = -(-total // REFCOUNTS)
        needed = -(-wanted * 8 // CLUSTER)
        if (wanted, needed) == (blocks, table_clusters):
            return table_clusters, blocks, l1_clusters, l1_entries, tables
        blocks, table_clusters = wanted, needed


def write(raw: Path, path: Path, chunk: int) -> None:
    with open(raw, "rb") as source, open(path, "xb") as target:
        size = os.fstat(source.fileno()).st_size
        guest = stored_clusters(source.fileno(), size)
        table_clusters, blocks, l1_clusters, l1_entries, tables = layout(guest, size)
        table_at = 1
        blocks_at = table_at + table_clusters
        l1_at = blocks_at + blocks
        l2_at = l1_at + l1_clusters
        data_at = l2_at + len(tables)
        total = data_at + len(guest)
        header = struct.pack(
            ">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, CLUSTER_BITS, size, 0, l1_entries,
            l1_at * CLUSTER, table_at * CLUSTER, table_clusters, 0, 0, 0, 0, 0, 4, 104,
        )  # fmt: skip
        target.truncate(total * CLUSTER)
        target.write(header)
        put(target, table_at, (blocks_at + np.arange(blocks)) * CLUSTER, ">u8")
        put(target, blocks_at, np.ones(total, np.int64), ">u2")
        l1 = np.zeros(l1_entries, np.uint64)
        l1[tables] = ((l2_at + np.arange(len(tables))) * CLUSTER).astype(np.uint64) | COPIED
        put(target, l1_at, l1, ">u8")
        places = shuffled(len(guest), max(1, chunk // CLUSTER))
        l2 = np.zeros((len(tables), ENTRIES), np.uint64)
        rows = np.searchsorted(tables, guest // ENTRIES)
        l2[rows, guest % ENTRIES] = ((data_at + places) * CLUSTER).astype(np.uint64) | COPIED
        put(target, l2_at, l2, ">u8")
        copy(source.fileno(), target, guest, places, data_at)
        target.flush()
        os.fsync(target.fileno())


def put(target, cluster: int, values: np.ndarray, kind: str) -> None:
    target.seek(cluster * CLUSTER)
    target.write(values.astype(kind).tobytes())


def copy(source: int, target, guest: np.ndarray, places: np.ndarray, data_at: int) -> None:
    """Write the data in the order of the file, in long pieces."""
    order = np.empty(len(guest), np.int64)
    order[places] = guest
    target.seek(data_at * CLUSTER)
    for start in range(0, len(order), COPY_CLUSTERS):
        piece = order[start : start + COPY_CLUSTERS]
        breaks = np.flatnonzero(np.diff(piece) != 1) + 1
        for low, high in zip([0, *breaks], [*breaks, len(piece)], strict=True):
            data = os.pread(source, int(high - low) * CLUSTER, int(piece[low]) * CLUSTER)
            target.write(data.ljust(int(high - low) * CLUSTER, b"\0"))


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
