from __future__ import annotations

import random

import pytest

KERNELS = ["sse42", "arm64", "scalar"]


@pytest.fixture(params=KERNELS)
def kernel(request, native):
    kernels = native.kernels("crc32c")
    if request.param not in kernels:
        pytest.skip(f"this machine does not run the kernel {request.param}")
    return kernels[request.param]


def by_bits(data, crc=0):
    """The definition: polynomial 0x1edc6f41 with its bits reversed, one bit at a time."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_kernels_are_listed_best_first(native):
    assert native.names("crc32c") == KERNELS


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # RFC 3720, appendix B.4 (which prints the bytes in the order of the wire).
        pytest.param(bytes(32), 0x8A9136AA, id="zeros"),
        pytest.param(b"\xff" * 32, 0x62A8AB43, id="ones"),
        pytest.param(bytes(range(32)), 0x46DD794E, id="ascending"),
        pytest.param(bytes(range(31, -1, -1)), 0x113FDB5C, id="descending"),
        pytest.param(b"123456789", 0xE3069283, id="check value of the CRC catalogue"),
        pytest.param(b"", 0, id="empty"),
    ],
)
def test_known_value(kernel, data, expected):
    assert kernel(0, data, len(data)) == expected


def test_every_length_and_alignment(native, kernel):
    data = random.Random(7).randbytes(120)
    for start in range(9):
        for length in range(100):
            buffer = native.ffi.from_buffer("uint8_t[]", data)
            assert kernel(0, buffer + start, length) == by_bits(data[start : start + length])


def test_continues_where_it_stopped(kernel):
    data = b"123456789"
    for cut in range(len(data) + 1):
        assert kernel(kernel(0, data, cut), data[cut:], len(data) - cut) == 0xE3069283
