"""The shared collection of real images, where it lies beside the project."""

from __future__ import annotations

import csv
import functools
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 65536


def home() -> Path:
    return Path(os.environ.get("VHDFAST_CORPUS", ROOT.parent / "shared" / "corpus"))


@functools.cache
def unpacked() -> Path:
    """Where the images lie; unpacked once for each content of the collection."""
    if not (home() / "unpack").exists():
        pytest.skip(f"the collection of real images is not at {home()}")
    folder = Path(tempfile.gettempdir()) / "vhdfast-corpus"
    subprocess.run([str(home() / "unpack"), str(folder)], check=True)
    return folder


def rows(*formats: str) -> list[dict[str, str]]:
    """The index's rows of these formats; none where there is no collection."""
    index = home() / "INDEX.tsv"
    if not index.exists():
        return []
    csv.field_size_limit(1 << 24)
    with open(index, encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row for row in table if row["format"] in formats]


def digest_of_fixed_vhd(path: Path, virtual_size: int) -> str:
    """nz64k of the first virtual_size bytes of a file, read by plain means (its README)."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        offset = 0
        while offset < virtual_size:
            try:
                data_at = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError:
                break
            offset = max(offset, data_at // BLOCK * BLOCK)
            if offset >= virtual_size:
                break
            block = os.pread(file.fileno(), min(BLOCK, virtual_size - offset), offset)
            if block.strip(b"\0"):
                digest.update(offset.to_bytes(8, "little") + block)
            offset += BLOCK
    digest.update(virtual_size.to_bytes(8, "little"))
    return digest.hexdigest()
