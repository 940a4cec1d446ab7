"""Images of the cases: a recipe's raw disk, written in a format."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Format:
    """driver: qemu's name. convert: what makes it of a raw disk. create: what makes an empty one.

    suffix: of the file. largest: of the virtual size, 0 for none that matters here.
    """

    driver: str
    options: tuple[str, ...] = ()
    packed: bool = False
    suffix: str = ""
    largest: int = 0


FORMATS = {
    "raw": Format("raw"),
    "qcow2": Format("qcow2"),
    "qcow2-zlib": Format("qcow2", ("compression_type=zlib",), packed=True),
    "qcow2-zstd": Format("qcow2", ("compression_type=zstd",), packed=True),
    "vhdx": Format("vhdx", ("subformat=dynamic",)),
    "vhd": Format("vpc", ("subformat=dynamic", "force_size"), largest=2040 << 30),
    "vdi": Format("vdi"),
    "vmdk": Format("vmdk", ("subformat=monolithicSparse",)),
    "vmdk-stream": Format("vmdk", ("subformat=streamOptimized",)),
}


def make_raw(recipe: object, path: Path) -> None:
    """The recipe's disk as a sparse raw file, unless it is there."""
    if not path.exists():
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        # Only here: whoever measures needs no numpy in memory.
        from vhdfast.benchmark.recipes import write_raw

        write_raw(recipe, part)  # type: ignore[arg-type]
        part.rename(path)


def make_image(format_name: str, raw: Path, path: Path, size: int, chunk: int = 0) -> None:
    """The disk in `raw` as an image; an empty one of `size` bytes where raw does not exist.

    chunk: write a qcow2 whose pieces of so many bytes lie scattered (scattered.py).
    """
    if path.exists():
        return
    kind = FORMATS[format_name]
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    options = ["-o", ",".join(kind.options)] if kind.options else []
    if chunk:
        command = [sys.executable, str(HERE / "scattered.py"), str(raw), str(part), str(chunk)]
    elif raw.exists():
        packed = ["-c"] if kind.packed else []
        command = ["qemu-img", "convert", *packed, "-f", "raw", "-O", kind.driver, *options]
        command += [str(raw), str(part)]
    else:
        command = ["qemu-img", "create", "-q", "-f", kind.driver, *options, str(part), str(size)]
    subprocess.run(command, check=True)
    descriptor = os.open(part, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    part.rename(path)
