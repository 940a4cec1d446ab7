"""Harmless files that lie beside every fuzzed image, for it to refer to."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import KIB, MIB, pattern

__all__ = ["write"]


def _vhd(builder: Any, path: Path) -> None:
    disk = builder.DynamicVhd(MIB, block_size=64 * KIB)
    disk.store(1, pattern(1, 1000))
    disk.build().write(path)


def _vhdx(builder: Any, path: Path) -> None:
    builder.write_vhdx(path, virtual_size=4 * MIB, blocks={1: pattern(2, 1000)})


def _qcow2(builder: Any, path: Path) -> None:
    disk = builder.Qcow2(MIB, 12)
    disk.data(1, pattern(3, 1000))
    disk.build().write(path)


def _vmdk(builder: Any, path: Path) -> None:
    builder.write_sparse(path, sectors=2048, grains={1: pattern(4, 1000)})


def _vdi(builder: Any, path: Path) -> None:
    builder.vdi(virtual_size=MIB, blocks={0: pattern(5, 1000)}).write(path)


# Name in the directory: (builder of tests/support, what writes it).
BUILT: dict[str, tuple[str, Callable[[Any, Path], None]]] = {
    "base.vhd": ("build_vhd", _vhd),
    "base.vhdx": ("build_vhdx", _vhdx),
    "base.qcow2": ("build_qcow2", _qcow2),
    "base.vmdk": ("build_vmdk", _vmdk),
    "base.vdi": ("build_vdi", _vdi),
}
RAW = ("base.raw", "data.raw", "disk-flat.vmdk", "disk-s001.vmdk")


def write(folder: Path) -> None:
    """Write those whose builders there are."""
    for number, name in enumerate(RAW):
        (folder / name).write_bytes(pattern(number, 64 * KIB) + bytes(64 * KIB))
    for name, (module, maker) in BUILT.items():
        try:
            builder = importlib.import_module(f"tests.support.{module}")
        except ImportError:
            continue
        maker(builder, folder / name)
