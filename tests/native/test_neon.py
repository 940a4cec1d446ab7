"""The kernels of aarch64 on another machine: a cross compiler and an emulator."""

from __future__ import annotations

import subprocess

import pytest

from .build_cffi import build_cross_check, tool

CROSS, EMULATOR = tool("aarch64-linux-gnu-gcc"), tool("qemu-aarch64")

pytestmark = pytest.mark.skipif(
    not (CROSS and EMULATOR),
    reason="needs aarch64-linux-gnu-gcc and qemu-aarch64 (gcc-aarch64-linux-gnu, qemu-user)",
)


def run(program, *options):
    # -L for a dynamically linked program, as a native one would be.
    command = [EMULATOR, "-L", "/usr/aarch64-linux-gnu", *options, str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build_cross_check(tmp_path_factory.mktemp("aarch64"), CROSS, [])


def test_neon_and_arm64_equal_the_reference(program):
    assert run(program) == ["zero neon", "zero scalar", "crc32c arm64", "crc32c scalar"]
