"""The core's kernels beside a plain read of the same memory, built as setup.py builds the core."""

from __future__ import annotations

import functools
import importlib.util
import mmap
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import cffi

HERE = Path(__file__).parent
ROOT = HERE.parent
MODULE = "_vhdfast_bench_native"
FLAGS = ["-std=c11", "-O3", "-fPIC", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64"]
INCLUDES = [ROOT / "native" / "include", ROOT / "native" / "src", HERE]
PROTOTYPES = """
uint64_t bench_plain_read(const uint8_t *bytes, size_t length, size_t rounds);
size_t bench_plain_width(void);
size_t bench_zero_bytes(vf_zero_kernel kernel, const uint8_t *bytes, size_t length, size_t rounds);
uint32_t bench_crc32c(vf_crc32c_kernel kernel, const uint8_t *bytes, size_t length, size_t rounds);
"""


@functools.cache
def module() -> Any:
    """ffi and lib; built once per process."""
    directory = Path(tempfile.mkdtemp(prefix="vhdfast-bench-"))
    objects = []
    for source in [*(ROOT / "native" / "src").rglob("*.c"), HERE / "plain_read.c"]:
        made = directory / f"{source.stem}.o"
        # Only the plain read is for this very CPU: the product's kernels choose at run time.
        native = ["-march=native"] if source.name == "plain_read.c" else []
        includes = [f"-I{path}" for path in INCLUDES]
        compiler = os.environ.get("CC") or "cc"
        subprocess.run(
            [compiler, *FLAGS, *native, *includes, "-c", str(source), "-o", str(made)], check=True
        )
        objects.append(str(made))
    ffi = cffi.FFI()
    ffi.cdef((ROOT / "native" / "include" / "vf_decl.h").read_text() + PROTOTYPES)
    ffi.set_source(
        MODULE,
        '#include "plain_read.h"',
        include_dirs=[str(path) for path in INCLUDES],
        extra_objects=objects,
        extra_compile_args=["-w"],
    )
    spec = importlib.util.spec_from_file_location(MODULE, ffi.compile(tmpdir=str(directory)))
    assert spec is not None and spec.loader is not None
    built = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(built)
    return built


def zeros(size: int) -> Any:
    """`size` zero bytes, each page of them real: never-written pages all share one page of zeros,
    which would stay in the cache. Huge pages, so that page tables are not what is measured."""
    memory = mmap.mmap(-1, size + (4 << 20))
    memory.madvise(mmap.MADV_HUGEPAGE)
    for at in range(0, len(memory), 4096):
        memory[at] = 0
    buffer = module().ffi.from_buffer("uint8_t[]", memory)
    start = int(module().ffi.cast("uintptr_t", buffer))
    return buffer, buffer + (-start) % (2 << 20)


def kernels(family: str) -> dict[str, Any]:
    """The kernels that run here, best first."""
    ffi, lib = module().ffi, module().lib
    found: dict[str, Any] = {}
    index = 0
    while (name := getattr(lib, f"vf_{family}_name")(index)) != ffi.NULL:
        kernel = ffi.new(f"vf_{family}_kernel *")
        if getattr(lib, f"vf_{family}_select")(name, kernel) == lib.VF_OK:
            found[ffi.string(name).decode()] = kernel[0]
        index += 1
    return found
