"""CRC-32C of metadata (4 KiB) and of longer buffers (1 MiB).

python -m pytest -c bench/pytest.ini bench/bench_crc32c.py
"""

from __future__ import annotations

import pytest
from plain_read import kernels, module

# Of so many zero bytes; computed bit by bit, independently of the kernels.
SIZES = {"4 KiB": (4096, 1000, 0x98F94189), "1 MiB": (1 << 20, 4, 0x14298C12)}


@pytest.mark.parametrize("label", SIZES)
@pytest.mark.parametrize("name", kernels("crc32c"))
def test_crc32c(benchmark, name, label):
    size, rounds, expected = SIZES[label]
    data = bytes(size)
    benchmark.group = f"crc32c, {label}"
    benchmark.extra_info["bytes"] = size * rounds
    found = benchmark(module().lib.bench_crc32c, kernels("crc32c")[name], data, size, rounds)
    assert found == expected
