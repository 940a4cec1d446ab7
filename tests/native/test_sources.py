"""What holds for the text of native/, whoever compiles it."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from .build_cffi import CORE, DECLARATIONS, INCLUDES, LANGUAGE, ROOT, WARNINGS, compiler

FILES = sorted(path for path in (ROOT / "native").rglob("*") if path.suffix in (".c", ".h"))


def test_python_is_not_known_there():
    assert [str(path) for path in FILES if "Python.h" in path.read_text()] == []


def test_declarations_have_no_preprocessor_line():
    assert re.findall(r"^\s*#.*", DECLARATIONS.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_no_warning(tmp_path, name):
    """At -O3, as the product is built: some warnings need what the optimiser learns."""
    if shutil.which(name) is None:
        pytest.skip(f"no {name}")
    command = [name, *LANGUAGE, *WARNINGS, *INCLUDES, "-O3", "-c", *map(str, CORE)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("header", ["native/include/vhdfast.h", "native/src/internal.h"])
def test_a_header_stands_alone(tmp_path, header):
    (tmp_path / "alone.c").write_text(f'#include "{ROOT / header}"\nint vf_alone;\n')
    command = [compiler(), *LANGUAGE, *WARNINGS, *INCLUDES, "-fsyntax-only", "alone.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_core_allocates_prints_and_ends_nothing():
    """What vhdfast.h promises."""
    call = re.compile(r"\b(?:malloc|calloc|realloc|free|f?printf|puts|exit|abort)\s*\(")
    without_comments = {
        path.name: re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL) for path in CORE
    }
    assert {name for name, text in without_comments.items() if call.search(text)} == set()
