"""Disks from recipes: the same recipe makes the same bytes on every machine.

Only operations whose results are fixed are used: numpy's legacy generator, whose streams do not
change (NEP 19), and sums of integers.
"""

from __future__ import annotations

import errno
import functools
import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import NoSpaceError, UsageError, WriteError
from ..units import KIB, MIB

__all__ = ["RECIPES", "Recipe", "pool", "runs", "scaled", "write_raw"]

GRANULE = 4096
POOL_BYTES = 32 * MIB
PAGE = 16 * KIB
LARGEST_RUN = 16 * MIB
# Lengths of runs as parts of `run`, in eighths: many short ones, few long ones, 8 on average.
EIGHTHS = (1, 2, 2, 4, 4, 8, 8, 35)
# Of 20 pages: words of text, records of numbers; the rest is noise, as packed files hold it.
TEXT_PAGES, RECORD_PAGES = 12, 7

Runs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A disk of `size` bytes with `data` bytes stored in runs of about `run` bytes.

    zero_share: of the runs, how many are stored zeros, 0 to 1. content: "files" is what file
    systems hold, which zlib packs to less than half; "noise" does not pack. even: all runs are as
    long as `run` and equally far apart; otherwise they cluster, as a file system's do. about: the
    recipe in a few words.
    """

    name: str
    size: int
    data: int
    run: int = 512 * KIB
    zero_share: float = 0.0
    content: str = "files"
    even: bool = False
    seed: int = 1
    about: str = ""

    def __post_init__(self) -> None:
        if self.size % MIB or self.run % GRANULE or self.run <= 0 or self.content not in _POOLS:
            raise UsageError(
                f"recipe {self.name!r}: whole MiB, runs of whole 4 KiB, a known content"
            )
        # Room for the gaps between runs of which the last may be longer than the others.
        if not 0 <= self.data <= self.size - self.size // 16:
            raise UsageError(
                f"recipe {self.name!r}: {self.data} bytes of data in {self.size} bytes",
                hint="leave a sixteenth of the disk free",
            )


def scaled(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with its size and data times `factor`: whole MiB, the same length of runs."""
    size = max(1, round(recipe.size * factor / MIB)) * MIB
    data = min(round(recipe.data * factor / GRANULE) * GRANULE, size - size // 16)
    return Recipe(
        recipe.name, size, data, recipe.run, recipe.zero_share, recipe.content, recipe.even,
        recipe.seed, recipe.about,
    )  # fmt: skip


def runs(recipe: Recipe) -> Runs:
    """Rows of (offset, length) in bytes: ascending, apart, whole granules of 4 KiB."""
    total = recipe.data // GRANULE
    if not total:
        return np.zeros((0, 2), np.int64)
    random = np.random.RandomState(recipe.seed)
    usual = recipe.run // GRANULE
    if recipe.even:
        lengths = np.full(max(1, total // usual), min(usual, total), np.int64)
    else:
        count = 2 * (total // usual) + 8
        parts = np.array(EIGHTHS)[random.randint(0, len(EIGHTHS), count)]
        lengths = np.clip(usual * parts // 8, 1, LARGEST_RUN // GRANULE).astype(np.int64)
        while int(lengths.sum()) < total:
            lengths = np.concatenate([lengths, lengths])
        # As many as hold the data, the last of them cut to it.
        ends = np.cumsum(lengths)
        count = int(np.searchsorted(ends, total)) + 1
        lengths = lengths[:count]
        lengths[-1] -= int(ends[count - 1]) - total
    free = recipe.size // GRANULE - int(lengths.sum())
    if free < len(lengths):
        raise UsageError(f"recipe {recipe.name!r}: no room for gaps between {len(lengths)} runs")
    spare = free - len(lengths)  # one granule lies before every run, whatever else
    if recipe.even:
        gaps = np.full(len(lengths), 1 + spare // len(lengths), np.int64)
    else:
        # Half of the runs lie close behind the one before, as the files of one directory do.
        weights = random.randint(1, 1 << 16, len(lengths)).astype(np.int64)
        weights[random.randint(0, 2, len(lengths)) == 0] = 0
        unit = spare / max(1, int(weights.sum()))
        gaps = 1 + np.floor(weights * unit * 0.999).astype(np.int64)
    offsets = np.cumsum(gaps + lengths) - lengths
    return np.stack([offsets, lengths], axis=1) * GRANULE


@functools.cache
def pool(content: str) -> npt.NDArray[np.uint8]:
    """32 MiB of content without a zero granule, from which runs are taken; not to be written."""
    made = _POOLS[content]()
    made.flags.writeable = False
    return made


def _noise() -> npt.NDArray[np.uint8]:
    data = np.frombuffer(np.random.RandomState(7).bytes(POOL_BYTES), np.uint8).copy()
    data[::512] |= 1
    return data


def _files() -> npt.NDArray[np.uint8]:
    data = _noise()
    random = np.random.RandomState(8)
    pages = data.reshape(-1, PAGE)
    kinds = random.randint(0, 20, len(pages))
    text = _text(random, int((kinds < TEXT_PAGES).sum()) * PAGE)
    pages[kinds < TEXT_PAGES] = text.reshape(-1, PAGE)
    are_records = (kinds >= TEXT_PAGES) & (kinds < TEXT_PAGES + RECORD_PAGES)
    pages[are_records] = _records(random, int(are_records.sum()) * PAGE).reshape(-1, PAGE)
    return data


def _text(random: np.random.RandomState, length: int) -> npt.NDArray[np.uint8]:
    """Words of 1 to 12 letters behind each other, some far more frequent than others."""
    letters = np.frombuffer(b"eeeeettaaooiinnsshhrrddlcumwfgypbvk", np.uint8)
    sizes = random.randint(1, 13, 1024)
    words = [bytes(letters[random.randint(0, len(letters), size)]) + b" " for size in sizes]
    # The cube of an even choice: the first words come much more often than the last.
    chosen = (random.randint(0, 1024, length // 4).astype(np.int64) ** 3) >> 20
    text = b"".join([words[index] for index in chosen])
    return np.resize(np.frombuffer(text, np.uint8), length)


def _records(random: np.random.RandomState, length: int) -> npt.NDArray[np.uint8]:
    """Records of 16 bytes: a number that counts, a small one, a flag, a time."""
    count = length // 16
    fields = np.zeros((count, 4), "<u4")
    fields[:, 0] = np.arange(1, count + 1)
    fields[:, 1] = random.randint(0, 1 << 12, count)
    fields[:, 2] = random.randint(0, 4, count)
    fields[:, 3] = 1_600_000_000 + np.cumsum(random.randint(0, 64, count))
    return fields.view(np.uint8).reshape(-1)


_POOLS = {"files": _files, "noise": _noise}


def write_raw(recipe: Recipe, path: str | os.PathLike[str]) -> None:
    """Write the disk as a sparse raw file, which must not exist, and sync it.

    Raises NoSpaceError or WriteError, and leaves what was written to the caller.
    """
    source = pool(recipe.content)
    random = np.random.RandomState(recipe.seed + 1)
    table = _pieces(runs(recipe))
    starts = random.randint(0, (len(source) - LARGEST_RUN) // GRANULE, len(table)) * GRANULE
    are_zeros = random.randint(0, 1 << 16, len(table)) < recipe.zero_share * (1 << 16)
    zeros = np.zeros(LARGEST_RUN, np.uint8)
    try:
        with open(path, "xb", buffering=0) as file:
            file.truncate(recipe.size)
            rows = zip(table.tolist(), starts.tolist(), are_zeros.tolist(), strict=True)
            for (offset, length), start, is_zero in rows:
                piece = zeros[:length] if is_zero else source[start : start + length]
                if os.pwrite(file.fileno(), piece.data, offset) != length:
                    raise NoSpaceError("the disk is full", path=path)
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoSpaceError("the disk is full", path=path) from error
        raise WriteError(f"the recipe cannot be written: {error.strerror}", path=path) from error


def _pieces(table: Runs) -> Runs:
    """The same, cut into rows of LARGEST_RUN at most."""
    counts = -(-table[:, 1] // LARGEST_RUN)
    owner = np.repeat(np.arange(len(table)), counts)
    within = (np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]) * LARGEST_RUN
    lengths = np.minimum(table[owner, 1] - within, LARGEST_RUN)
    return np.stack([table[owner, 0] + within, lengths], axis=1)


# What `vhdfast bench` offers.
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("files", 16384 * MIB, 1024 * MIB, about="a disk as file systems fill it"),
        Recipe("islands", 16384 * MIB, 256 * MIB, 4 * KIB, even=True,
               about="65 536 islands of 4 KiB, far apart"),
        Recipe("zeros", 16384 * MIB, 2048 * MIB, zero_share=0.9,
               about="stored bytes, nine of ten of them zeros"),
        Recipe("empty", 1 << 40, 0, about="1 TiB of nothing"),
    )
}  # fmt: skip
