"""Zero detection in 4 KiB granules beside a plain read of the same memory.

    python -m pytest -c bench/pytest.ini bench/bench_zero.py

One group per size of buffer: the plain read is the row to compare with. The ratio that counts is
the one of bench/zero_ratio.py, which alternates between both.
"""

from __future__ import annotations

import pytest
from plain_read import kernels, module, zeros

SIZES = {"64 MiB, RAM": (64 << 20, 1), "256 KiB, cache": (256 << 10, 400)}


@pytest.fixture(scope="module", params=SIZES)
def case(request):
    size, rounds = SIZES[request.param]
    owner, start = zeros(size)
    yield request.param, start, size, rounds
    del owner


def test_plain_read(benchmark, case):
    label, start, size, rounds = case
    benchmark.group = f"zeros, {label}"
    benchmark.extra_info["bytes"] = size * rounds
    assert benchmark(module().lib.bench_plain_read, start, size, rounds) == 0


@pytest.mark.parametrize("name", kernels("zero"))
def test_zero(benchmark, case, name):
    label, start, size, rounds = case
    benchmark.group = f"zeros, {label}"
    benchmark.extra_info["bytes"] = size * rounds
    kernel = kernels("zero")[name]
    found = benchmark(module().lib.bench_zero_bytes, kernel, start, size, rounds)
    assert found == size * rounds


@pytest.mark.parametrize("name", kernels("zero"))
def test_data_that_shows_at_once(benchmark, name):
    size = 64 << 20
    owner, start = zeros(size)
    for at in range(0, size, 4096):
        start[at + 17] = 1
    benchmark.group = "data granules, 64 MiB, RAM"
    benchmark.extra_info["bytes"] = size
    found = benchmark(module().lib.bench_zero_bytes, kernels("zero")[name], start, size, 1)
    assert found == 0
    del owner
