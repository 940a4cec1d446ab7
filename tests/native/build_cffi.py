"""Builds native/src for tests: warnings are errors, sanitizers on, internal.h reachable.

The product binds the core with Cython; this is the tests' own door, so that nothing has to be
exported for their sake.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import cffi

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DECLARATIONS = ROOT / "native" / "include" / "vf_decl.h"
CORE = sorted((ROOT / "native" / "src").rglob("*.c"))
MODULE = "_vhdfast_native_under_test"
# What stands around the core in tests: system calls that fail as planned, and a decoder.
TOOLS = [HERE / "faults.c", HERE / "codec.c"]
CODECS = ROOT / "native" / "codecs"
CODECS_MODULE = "_vhdfast_codecs_under_test"

WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
]
LANGUAGE = ["-std=c11", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64"]
INCLUDES = [f"-I{ROOT / 'native' / 'include'}", f"-I{ROOT / 'native' / 'src'}"]

# What the tests ask of native/src/internal.h.
INTERNAL = """
uint32_t vf_cpu_features(void);
int vf_check_rows(const struct vf_source *sources, size_t source_count,
                  const struct vf_extent *rows, size_t row_count, uint64_t end,
                  struct vf_error *reterr);
int vf_source_read(const struct vf_source *sources, size_t file, uint64_t offset, uint8_t *buffer,
                   size_t length, struct vf_error *reterr);
int vf_sink_write(const struct vf_sink *sink, const uint8_t *bytes, size_t length,
                  uint64_t offset, struct vf_error *reterr);
bool vf_zero_scalar(const uint8_t *bytes, size_t length);
uint32_t vf_crc32c_scalar(uint32_t crc, const uint8_t *bytes, size_t length);

typedef void (*vf_any_kernel)(void);
struct vf_kernel {
    const char *name;
    uint32_t needs;
    vf_any_kernel kernel;
};
int vf_kernel_select(const struct vf_kernel *known, size_t count, const char *name,
                     vf_any_kernel *ret_kernel);

"""


def compiler() -> str:
    return os.environ.get("CC") or "cc"


def is_clang() -> bool:
    version = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True)
    return "clang" in version.stdout


def sanitizer_library(name: str) -> str | None:
    """Where the compiler keeps libasan.so and the like; None where it has none.

    clang answers with gcc's, which does not fit what clang compiles.
    """
    if is_clang():
        return None
    found = subprocess.run(
        [compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return found if os.path.isabs(found) and os.path.exists(found) else None


def _compile(source: Path, directory: Path, flags: list[str]) -> str:
    made = directory / f"{source.stem}.o"
    command = [
        compiler(),
        *LANGUAGE,
        *WARNINGS,
        *INCLUDES,
        *flags,
        "-c",
        str(source),
        "-o",
        str(made),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return str(made)


def build(directory: Path, sanitizers: str) -> ModuleType:
    """Compile into `directory` and import. sanitizers: as in -fsanitize=, "" for none."""
    sanitize = _sanitize(sanitizers)
    flags = ["-O1", "-g", "-fPIC", "-fno-omit-frame-pointer", *sanitize]
    headers = [path.with_suffix(".h") for path in TOOLS]
    with ThreadPoolExecutor() as pool:
        objects = list(pool.map(lambda source: _compile(source, directory, flags), [*CORE, *TOOLS]))
    ffi = cffi.FFI()
    ffi.cdef(DECLARATIONS.read_text() + INTERNAL + "".join(path.read_text() for path in headers))
    ffi.set_source(
        MODULE,
        '#include "internal.h"\n' + "".join(f'#include "{path.name}"\n' for path in headers),
        include_dirs=[str(ROOT / "native/include"), str(ROOT / "native/src"), str(HERE)],
        extra_objects=objects,
        define_macros=[("_GNU_SOURCE", "1"), ("_FILE_OFFSET_BITS", "64")],
        extra_compile_args=["-std=c11", "-O1", "-w"],
        # The C library's functions that faults.c stands in front of; on LP64 systems the names
        # with 64 are what _FILE_OFFSET_BITS makes of the others.
        extra_link_args=([] if is_clang() else sanitize)
        + [
            f"-Wl,--wrap={name}{suffix}"
            for name in ("pread", "pwrite", "lseek")
            for suffix in ("", "64")
        ]
        + ["-Wl,--wrap=ioctl"],
    )
    return _import(MODULE, ffi.compile(tmpdir=str(directory)))


def build_codecs(directory: Path, sanitizers: str) -> ModuleType:
    """native/codecs/codecs.c in the same way."""
    sanitize = _sanitize(sanitizers)
    flags = ["-O1", "-g", "-fPIC", "-fno-omit-frame-pointer", f"-I{CODECS}", *sanitize]
    made = _compile(CODECS / "codecs.c", directory, flags)
    ffi = cffi.FFI()
    ffi.cdef((CODECS / "codecs.h").read_text())
    ffi.set_source(
        CODECS_MODULE,
        '#include <stddef.h>\n#include <stdint.h>\n#include "codecs.h"\n',
        include_dirs=[str(CODECS)],
        extra_objects=[made],
        extra_compile_args=["-std=c11", "-O1", "-w"],
        libraries=["deflate", "z", "zstd"],
        extra_link_args=[] if is_clang() else sanitize,
    )
    return _import(CODECS_MODULE, ffi.compile(tmpdir=str(directory)))


def _sanitize(sanitizers: str) -> list[str]:
    flags = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"] if sanitizers else []
    if flags and is_clang():
        # Its reporting library cannot be linked into a module; a trap ends the run just as well.
        flags.append("-fsanitize-trap=undefined")
    return flags


def _import(name: str, path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_cross_check(directory: Path, cc: str, flags: list[str]) -> Path:
    """cross_check.c with the core as a program of its own, for this or another architecture."""
    made = directory / "cross_check"
    sources = [str(path) for path in [*CORE, HERE / "cross_check.c"]]
    subprocess.run(
        [cc, *LANGUAGE, *WARNINGS, *INCLUDES, "-O2", "-g", *flags, *sources, "-o", str(made)],
        check=True,
    )
    return made


def tool(name: str) -> str | None:
    return shutil.which(name)
