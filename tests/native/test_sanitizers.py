"""This directory once more, with the address sanitizer: it has to be loaded before Python's own
libraries, so it needs a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .build_cffi import ROOT, sanitizer_library

# What does not use the cffi build, or has the address sanitizer anyway.
ELSEWHERE = ["test_neon.py", "test_sanitizers.py", "test_sources.py"]


def test_everything_again_with_the_address_sanitizer(tmp_path):
    library = sanitizer_library("libasan.so")
    if library is None:
        pytest.skip(
            "this compiler has no shared libasan: only the undefined behaviour sanitizer ran"
        )
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0",  # Python leaves objects behind when it ends
        "PYTHONMALLOC": "malloc",  # its own allocator would hide the ends of buffers
        "VHDFAST_TEST_SANITIZERS": "address,undefined",
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(here)]
    command += [f"--ignore={here / name}" for name in ELSEWHERE]
    command += [f"--basetemp={tmp_path / 'again'}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    assert "built with -fsanitize=address,undefined" in done.stdout
