"""Fuzzes one format, with coverage where atheris is installed.

    python tests/fuzz/fuzz_images.py FORMAT [libFuzzer options] CORPUS [SEEDS …]
    python tests/fuzz/fuzz_images.py FORMAT --replay INPUT…      says what becomes of each
    python tests/fuzz/fuzz_images.py FORMAT --unpack INPUT FILE  writes the image that it stands for
    python tests/fuzz/fuzz_images.py FORMAT --plain SECONDS SEEDS…   without atheris, no coverage

VHDFAST_FUZZ_STATS names a file that gets what was measured, as JSON.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# Instrumented code is several times slower: what goes on for longer is replayed without.
FUZZING_SECONDS = "6"


class Stats:
    """The worst of what was seen, written whenever it got worse."""

    def __init__(self) -> None:
        self.path = os.environ.get("VHDFAST_FUZZ_STATS")
        self.runs = 0
        self.slowest_s = 0.0
        self.peak_bytes = 0
        self.outcomes: dict[str, int] = {}
        self._written = time.monotonic()

    def add(self, outcome: Any) -> None:
        self.runs += 1
        code = outcome.error or "read"
        self.outcomes[code] = self.outcomes.get(code, 0) + 1
        self.slowest_s = max(self.slowest_s, outcome.seconds)
        self.peak_bytes = max(self.peak_bytes, outcome.peak)
        if time.monotonic() - self._written > 1:
            self.write()

    def write(self) -> None:
        self._written = time.monotonic()
        if self.path is not None:
            values = {k: v for k, v in vars(self).items() if k != "path" and k[0] != "_"}
            # The process may end at any moment.
            Path(f"{self.path}.new").write_text(json.dumps(values))
            os.replace(f"{self.path}.new", self.path)


def make_box() -> Any:
    from tests.fuzz.harness import Box

    # In memory where there is room: a file is written for every input.
    shared = Path("/dev/shm")
    base = shared if shared.is_dir() and shutil.disk_usage(shared).free > 64 << 20 else None
    folder = Path(tempfile.mkdtemp(prefix="vhdfast-fuzz-", dir=base))
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Box(folder)


def fuzz(name: str, arguments: list[str]) -> None:
    os.environ.setdefault("VHDFAST_FUZZ_SECONDS", FUZZING_SECONDS)
    import atheris

    with atheris.instrument_imports(include=["vhdfast"]):
        import vhdfast  # noqa: F401
        from tests.fuzz import harness
    from tests.fuzz.mutate import mutate

    box, stats = make_box(), Stats()

    def one(packed: bytes) -> None:
        stats.add(harness.check(box, name, packed))

    def change(packed: bytes, most: int, seed: int) -> bytes:
        return mutate(packed, name, seed, atheris.Mutate)[:most]

    # Pure Python of the seeds' making is not instrumented; modules loaded late are.
    atheris.Setup([sys.argv[0], *arguments], one, custom_mutator=change)
    atheris.Fuzz()


def plain(name: str, seconds: float, places: list[str]) -> int:
    from tests.fuzz import harness
    from tests.fuzz.mutate import mutate

    box, stats = make_box(), Stats()
    files = [f for p in map(Path, places) for f in (sorted(p.iterdir()) if p.is_dir() else [p])]
    seeds = [file.read_bytes() for file in files] or [b""]
    chance = random.Random(1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        packed = mutate(chance.choice(seeds), name, chance.getrandbits(32))
        try:
            stats.add(harness.check(box, name, packed))
        except Exception:
            place = Path(f"crash-{name}-{zlib_of(packed):08x}")
            place.write_bytes(packed)
            print(f"the input is in {place}", file=sys.stderr)
            raise
    stats.write()
    print(f"{stats.runs} runs, slowest {stats.slowest_s:.3f} s, {stats.outcomes}")
    return 0


def zlib_of(packed: bytes) -> int:
    import zlib

    return zlib.crc32(packed)


def replay(name: str, inputs: list[str]) -> int:
    from tests.fuzz import harness

    box = make_box()
    # What the first input loads is not its own.
    harness.check(box, name, b"")
    failed = 0
    for place in inputs:
        try:
            print(f"{place}: {harness.check(box, name, Path(place).read_bytes())}")
        except Exception as error:
            failed += 1
            import traceback

            traceback.print_exc()
            print(f"{place}: {type(error).__name__}: {error}")
    return 1 if failed else 0


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        print(__doc__)
        return 2
    name, rest = arguments[0], arguments[1:]
    # Leftovers of an input must not outlive it by more than the next.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if rest[:1] == ["--replay"]:
        return replay(name, rest[1:])
    if rest[:1] == ["--plain"]:
        return plain(name, float(rest[1]), rest[2:])
    if rest[:1] == ["--unpack"]:
        from tests.fuzz.encoding import Input

        Input.unpack(Path(rest[1]).read_bytes()).write(Path(rest[2]))
        return 0
    fuzz(name, rest)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
