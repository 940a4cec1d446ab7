"""What is measured: each case an image, as data. A new case is a new row."""

from __future__ import annotations

from dataclasses import dataclass, replace

from builders import FORMATS

from vhdfast.benchmark.recipes import Recipe, scaled

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


@dataclass(frozen=True)
class Case:
    """An image of a recipe in a format, and what it is converted to.

    group: which table or picture it belongs to. format: one of builders.FORMATS. target:
    "fixed-vhd", or "raw" where qemu writes no VHD so large. x: of a series, where on its axis.
    chunk: of a scattered qcow2, bytes that stay together.
    """

    name: str
    group: str
    format: str
    recipe: Recipe
    target: str = "fixed-vhd"
    x: int = 0
    chunk: int = 0


# A disk as file systems fill it.
FS256 = Recipe("fs256", 256 * GIB, 5 * GIB)
ZEROS = Recipe("zeros256", 256 * GIB, 5 * GIB, zero_share=0.9)
SCATTER = Recipe("scatter", 16 * GIB, 4 * GIB, run=4 * GIB, even=True)
ISLANDS = Recipe("islands", 64 * GIB, 4 * GIB, run=4 * KIB, even=True)


def _formats() -> list[Case]:
    return [
        *(Case(f"fs256-{name}", "formats", name, FS256) for name in FORMATS),
        Case("stored-zeros-raw", "formats", "raw", ZEROS),
    ]


def _fragmented() -> list[Case]:
    """A million pieces: of a contiguous disk scattered in the file, and of a disk in the file."""
    return [
        Case("scattered-1m-qcow2", "fragmented", "qcow2", SCATTER, chunk=4 * KIB),
        Case("islands-1m-raw", "fragmented", "raw", ISLANDS),
    ]


def _empty() -> list[Case]:
    cases = []
    for name, kind in FORMATS.items():
        if not kind.packed:
            size = kind.largest or 8 * TIB
            recipe = Recipe("empty-2t" if kind.largest else "empty-8t", size, 0)
            target = "fixed-vhd" if kind.largest else "raw"
            cases.append(Case(f"{recipe.name}-{name}", "empty", name, recipe, target))
    return cases


def _growth() -> list[Case]:
    """The same data on ever larger disks."""
    cases = []
    for size in (GIB, 16 * GIB, 256 * GIB, TIB, 8 * TIB):
        label = f"{size // TIB}t" if size >= TIB else f"{size // GIB}g"
        recipe = Recipe(f"growth-{label}", size, 512 * MIB)
        for name in ("raw", "qcow2", "vhdx"):
            cases.append(Case(f"growth-{name}-{label}", "growth", name, recipe, "raw", size))
    return cases


def _fragmentation() -> list[Case]:
    """1 GiB of data in ever more pieces."""
    cases = []
    for pieces in (1 << 8, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18):
        run = GIB // pieces
        recipe = Recipe(f"pieces-{pieces}", 16 * GIB, GIB, run=run, even=True)
        cases.append(Case(f"pieces-raw-{pieces}", "fragmentation", "raw", recipe, x=pieces))
        whole = Recipe("whole-1g", 16 * GIB, GIB, run=GIB, even=True)
        cases.append(
            Case(f"pieces-qcow2-{pieces}", "fragmentation", "qcow2", whole, x=pieces, chunk=run)
        )
    return cases


CASES = (*_formats(), *_fragmented(), *_empty(), *_growth(), *_fragmentation())
GROUPS = tuple(dict.fromkeys(case.group for case in CASES))


def at_scale(case: Case, factor: float) -> Case:
    """The case with less data on a smaller disk, for trying; pieces keep their length."""
    if factor == 1:
        return case
    recipe = replace(scaled(case.recipe, factor), name=f"{case.recipe.name}-x{factor:g}")
    if recipe.even and recipe.run > recipe.data > 0:
        recipe = replace(recipe, run=recipe.data)
    return replace(case, recipe=recipe)
