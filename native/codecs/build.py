"""Builds vhdfast._codecs: libdeflate, zlib and libzstd behind the core's decode function."""

from pathlib import Path

import cffi

HERE = Path(__file__).resolve().parent
FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra"]

ffibuilder = cffi.FFI()
ffibuilder.cdef((HERE / "codecs.h").read_text())
ffibuilder.set_source(
    "vhdfast._codecs",
    '#include <stddef.h>\n#include <stdint.h>\n#include "codecs.h"\n',
    sources=["native/codecs/codecs.c"],
    include_dirs=["native/codecs"],
    libraries=["deflate", "z", "zstd"],
    extra_compile_args=FLAGS,
)
