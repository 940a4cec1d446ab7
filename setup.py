"""Builds the extensions, vhdfast._native and vhdfast._codecs; the rest is in pyproject.toml.

VHDFAST_CFLAGS adds compiler flags (CI: -Werror; a profile build: -g -fno-omit-frame-pointer).
"""

import os
import shlex
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
NATIVE = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "native" / "src").rglob("*.c"))
HEADERS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "native").rglob("*.h"))

extension = Extension(
    "vhdfast._native",
    sources=["vhdfast/_native.pyx", *NATIVE],
    depends=HEADERS,
    include_dirs=["native/include", "native/src", numpy.get_include()],
    define_macros=[
        ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"),
        ("_GNU_SOURCE", "1"),
        ("_FILE_OFFSET_BITS", "64"),  # else 32-bit systems cut offsets at 2 GiB in silence
    ],
    extra_compile_args=[
        "-std=c11",
        "-O3",
        "-fvisibility=hidden",
        *shlex.split(os.environ.get("VHDFAST_CFLAGS", "")),
    ],
)

setup(
    cffi_modules=["native/codecs/build.py:ffibuilder"],
    ext_modules=cythonize(
        [extension],
        compiler_directives={
            "language_level": "3",
            "boundscheck": False,
            "wraparound": False,
            "embedsignature": True,
        },
    )
)
