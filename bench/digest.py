"""A digest of a disk in a flat file, with no code of vhdfast or qemu."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

FOOTER = 512
GRANULE = 4096
PIECE = 4 << 20


def digest(path: Path, target: str) -> str:
    """Of a disk: its size, and place and content of every 4 KiB that are not zero.

    target: "fixed-vhd", whose last 512 bytes are no part of the disk, or "raw". Holes are skipped;
    whether zeros are stored makes no difference.
    """
    size = path.stat().st_size - (FOOTER if target == "fixed-vhd" else 0)
    places, contents = hashlib.blake2b(), hashlib.blake2b()
    with open(path, "rb", buffering=0) as file:
        fd, at = file.fileno(), 0
        while at < size:
            try:
                start = max(at, os.lseek(fd, at, os.SEEK_DATA) // GRANULE * GRANULE)
                end = os.lseek(fd, max(start, at), os.SEEK_HOLE)
            except OSError:  # no data any more
                break
            # A range that began below `at` was looked at as far as it went.
            end = min(size, max(-(-end // GRANULE) * GRANULE, start + GRANULE))
            while start < end:
                data = os.pread(fd, min(PIECE, end - start), start)
                if not data:
                    raise OSError(f"{path} ends at {start}, not at {size}")
                granules = np.zeros(-(-len(data) // GRANULE) * GRANULE, np.uint8)
                granules[: len(data)] = np.frombuffer(data, np.uint8)
                granules = granules.reshape(-1, GRANULE)
                busy = np.flatnonzero(granules.any(axis=1))
                places.update((busy + start // GRANULE).astype("<u8").tobytes())
                contents.update(granules[busy].tobytes())
                start += len(data)
            at = start
    both = size.to_bytes(8, "little") + places.digest() + contents.digest()
    return hashlib.blake2b(both, digest_size=16).hexdigest()
