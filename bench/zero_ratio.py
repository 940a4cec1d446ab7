"""How near zero detection comes to a plain read of the same memory.

    python bench/zero_ratio.py [--kernel NAME] [--pairs N] [--least RATIO]

Reads and scans alternate, and the median of the pairs' ratios counts, so that what else the machine
does meets both alike. Exit status 1 where a ratio is below the least.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from plain_read import kernels, module, zeros

CASES = {"64 MiB (RAM)": (64 << 20, 2), "256 KiB (cache)": (256 << 10, 2000)}
LEAST = 0.90


def measure(kernel, size: int, rounds: int, pairs: int) -> tuple[float, float]:
    """(median ratio of plain time to scan time, median GB/s of the scan)."""
    lib = module().lib
    memory, start = zeros(size)
    ratios, speeds = [], []
    for pair in range(pairs + 2):
        times = {}
        # Who goes first takes turns too: the second may find a warmer cache.
        for who in ("plain", "scan") if pair % 2 else ("scan", "plain"):
            begun = time.perf_counter()
            if who == "plain":
                answer = lib.bench_plain_read(start, size, rounds) == 0
            else:
                answer = lib.bench_zero_bytes(kernel, start, size, rounds) == size * rounds
            times[who] = time.perf_counter() - begun
            if not answer:
                raise SystemExit(f"{who} gave a wrong answer: nothing was measured")
        if pair >= 2:
            ratios.append(times["plain"] / times["scan"])
            speeds.append(size * rounds / times["scan"] / 1e9)
    del memory
    return statistics.median(ratios), statistics.median(speeds)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", help="by default the best one of this CPU; 'all' for each")
    parser.add_argument("--pairs", type=int, default=41)
    parser.add_argument("--least", type=float, default=LEAST)
    options = parser.parse_args(argv)
    known = kernels("zero")
    if options.kernel == "all":
        wanted = list(known)
    elif options.kernel is None:
        wanted = [next(iter(known))]
    elif options.kernel in known:
        wanted = [options.kernel]
    else:
        parser.error(f"this CPU runs {', '.join(known)}")
    worst = float("inf")
    print(f"plain read: {module().lib.bench_plain_width()}-byte vectors")
    for name in wanted:
        for label, (size, rounds) in CASES.items():
            ratio, speed = measure(known[name], size, rounds, options.pairs)
            worst = min(worst, ratio)
            print(f"{name:8} {label:16} {ratio:6.3f} of the plain read, {speed:7.1f} GB/s")
    return 0 if worst >= options.least else 1


if __name__ == "__main__":
    sys.exit(main())
