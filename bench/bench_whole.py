"""A small conversion under pytest-benchmark, vhdfast beside qemu-img, for a quick look at a change:

    python -m pytest -o addopts= -o python_files='bench_*.py' bench/bench_whole.py

A process is started for each run, so that start-up counts. bench_convert.py measures large images.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from builders import FORMATS, make_image, make_raw
from cases import GIB, KIB, MIB, Recipe

RECIPE = Recipe("small", GIB, 64 * MIB, 256 * KIB)
KINDS = ("raw", "qcow2", "qcow2-zlib", "vhdx", "vhd")

QEMU = ["qemu-img", "convert", "-O", "vpc", "-o", "subformat=fixed,force_size"]
ENGINES = {
    "vhdfast": lambda kind: [sys.executable, "-m", "vhdfast", "convert", "--quiet"],
    "qemu-img": lambda kind: [*QEMU, "-f", FORMATS[kind].driver],
    "qemu-img-m16": lambda kind: [*QEMU, "-m", "16", "-W", "-f", FORMATS[kind].driver],
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
def test_convert(benchmark, folder: Path, kind: str, engine: str) -> None:
    raw = folder / "small.raw"
    source = folder / f"small.{kind}"
    make_raw(RECIPE, raw)
    make_image(kind, raw, source, RECIPE.size)
    target = folder / "target.vhd"
    command = [*ENGINES[engine](kind), str(source), str(target)]
    benchmark.group = f"{kind}, 1 GiB with 64 MiB of data"

    def convert() -> None:
        subprocess.run(command, check=True)
        subprocess.run(["sync", str(target)], check=True)  # for all, so that it costs all the same

    benchmark.pedantic(
        convert, setup=lambda: target.unlink(missing_ok=True), rounds=5, warmup_rounds=1
    )
    check = ["qemu-img", "compare", "-q", "-f", "raw", "-F", "vpc", str(raw), str(target)]
    assert subprocess.run(check, check=False).returncode == 0
