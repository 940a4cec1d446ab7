"""A small conversion under pytest-benchmark, vhdfast beside qemu-img, for a quick look at a change:

    python -m pytest -o addopts= -o python_files='bench_*.py' bench/bench_whole.py

A process is started for each run, so that start-up counts. bench_convert.py measures large images.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from images import GIB, KIB, MIB, Recipe, make

RECIPE = Recipe("small", GIB, 64 * MIB, 256 * KIB)
KINDS = {"raw": "raw", "vhdx": "vhdx", "vhd": "vpc"}

QEMU = ["qemu-img", "convert", "-O", "vpc", "-o", "subformat=fixed,force_size"]
ENGINES = {
    "vhdfast": lambda kind: [sys.executable, "-m", "vhdfast", "convert", "--quiet"],
    "qemu-img": lambda kind: [*QEMU, "-f", KINDS[kind]],
    "qemu-img-m16": lambda kind: [*QEMU, "-m", "16", "-W", "-f", KINDS[kind]],
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
def test_convert(benchmark, folder: Path, kind: str, engine: str) -> None:
    source = make(RECIPE, kind, folder)
    target = folder / "target.vhd"
    command = [*ENGINES[engine](kind), str(source), str(target)]
    benchmark.group = f"{kind}, 1 GiB with 64 MiB of data"

    def convert() -> None:
        subprocess.run(command, check=True)
        subprocess.run(["sync", str(target)], check=True)  # for all, so that it costs all the same

    benchmark.pedantic(
        convert, setup=lambda: target.unlink(missing_ok=True), rounds=5, warmup_rounds=1
    )
    check = ["qemu-img", "compare", "-q", "-f", KINDS[kind], "-F", "vpc", str(source), str(target)]
    assert subprocess.run(check, check=False).returncode == 0
