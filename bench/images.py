"""Test images from recipes: the same recipe makes the same bytes on every machine."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

KIB = 1 << 10
GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True)
class Recipe:
    """A disk: `data` bytes of noise in runs of about `run` bytes, spread over `size` bytes.

    zero_share: of the data, how much is stored zeros. Runs begin and end on 4 KiB borders.
    """

    name: str
    size: int
    data: int
    run: int
    zero_share: float = 0.0
    seed: int = 1


def runs(recipe: Recipe) -> list[tuple[int, int]]:
    """[(offset, length), ...], ascending, not overlapping, clustered as file systems do."""
    if not recipe.data:
        return []
    random = np.random.default_rng(recipe.seed)
    count = max(1, recipe.data // recipe.run)
    lengths = np.clip(random.exponential(recipe.run, count), 4096, 64 * MIB)
    lengths = (lengths * (recipe.data / lengths.sum()) / 4096).astype(np.int64).clip(1) * 4096
    # Half of the runs lie close behind the one before, as the files of one directory do.
    gaps = np.where(random.random(count) < 0.5, 4096.0, random.exponential(1.0, count) * GIB)
    far = gaps > 4096
    room = recipe.size - int(lengths.sum()) - int((~far).sum()) * 4096 - MIB
    gaps[far] *= room / max(gaps[far].sum(), 1.0)
    gaps = (gaps / 4096).astype(np.int64) * 4096
    ends = np.cumsum(gaps + lengths)
    return [(int(end - length), int(length)) for end, length in zip(ends, lengths, strict=True)]


def make_raw(recipe: Recipe, path: Path) -> None:
    """Write the disk as a sparse raw file."""
    random = np.random.default_rng(recipe.seed + 1)
    noise = random.integers(0, 256, 64 * MIB + 8192, dtype=np.uint8)
    noise[noise == 0] = 1
    with open(path, "wb") as file:
        file.truncate(recipe.size)
        for offset, length in runs(recipe):
            start = int(random.integers(0, 8192))
            data = noise[start : start + length]
            if random.random() < recipe.zero_share:
                data = np.zeros(length, np.uint8)
            os.pwrite(file.fileno(), data, offset)
        os.fsync(file.fileno())


def make(recipe: Recipe, kind: str, folder: Path) -> Path:
    """The disk as raw, vhdx or vhd (dynamic); made once and kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = folder / f"{recipe.name}.raw"
    if not raw.exists():
        make_raw(recipe, raw.with_suffix(".part"))
        raw.with_suffix(".part").rename(raw)
    if kind == "raw":
        return raw
    path = folder / f"{recipe.name}.{kind}"
    if not path.exists():
        options = {
            "vhdx": ["-O", "vhdx", "-o", "subformat=dynamic"],
            "vhd": ["-O", "vpc", "-o", "subformat=dynamic,force_size"],
        }[kind]
        part = path.with_suffix(".part")
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", *options, str(raw), str(part)], check=True
        )
        part.rename(path)
    return path
