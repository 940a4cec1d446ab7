from __future__ import annotations

import subprocess

import pytest

from .build_cffi import build_cross_check, compiler, sanitizer_library

KERNELS = ["avx512", "avx2", "sse2", "neon", "scalar"]
LENGTHS = [*range(301), 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097]


@pytest.fixture
def kernel(request, native):
    kernels = native.kernels("zero")
    if request.param not in kernels:
        pytest.skip(f"this machine does not run the kernel {request.param}")
    return kernels[request.param]


@pytest.fixture
def block(native):
    """Room at a 64-byte boundary, all 0xff."""
    size = 8192
    memory = native.ffi.gc(native.lib.tf_allocate(size), native.lib.tf_free)
    native.ffi.memmove(memory, b"\xff" * size, size)
    return memory


def test_kernels_are_listed_best_first(native):
    assert native.names("zero") == KERNELS


@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
def test_zeros_between_bytes_that_are_not(native, block, kernel):
    for alignment in range(64):
        for length in LENGTHS:
            native.ffi.memmove(block + alignment, bytes(length), length)
            answer = kernel(block + alignment, length)
            native.ffi.memmove(block + alignment, b"\xff" * length, length)
            assert answer, (alignment, length)


@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
def test_one_byte_at_every_position(native, block, kernel):
    for alignment in (0, 1, 31, 63):
        for length in (1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 200, 300, 513, 1100):
            start = block + alignment
            native.ffi.memmove(start, bytes(length), length)
            for position in range(length):
                start[position] = 1 << position % 8
                assert not kernel(start, length), (alignment, length, position)
                start[position] = 0
            native.ffi.memmove(start, b"\xff" * length, length)


@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
def test_one_byte_at_the_ends_of_every_alignment_and_length(native, block, kernel):
    for alignment in range(64):
        for length in LENGTHS[1:]:
            start = block + alignment
            native.ffi.memmove(start, bytes(length), length)
            for position in (0, length // 2, length - 1):
                start[position] = 0x80
                assert not kernel(start, length), (alignment, length, position)
                start[position] = 0
            native.ffi.memmove(start, b"\xff" * length, length)


@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
def test_no_bytes_are_zero_wherever_they_are(native, kernel):
    assert kernel(native.ffi.NULL, 0)


def test_all_positions_with_buffers_that_end_where_the_data_does(tmp_path):
    """The full matrix, in C: alignment x length x position, watched by the address sanitizer."""
    flags = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
    if sanitizer_library("libasan.so"):
        flags[0] += ",address"
    program = build_cross_check(tmp_path, compiler(), flags)
    done = subprocess.run([program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert {"zero scalar", "crc32c scalar"} <= set(done.stdout.splitlines())
