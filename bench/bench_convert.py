#!/usr/bin/env python3
"""vhdfast against qemu-img on large images: wall time, CPU time and peak memory.

    python bench/bench_convert.py [--pairs N] [--case NAME ...] [--engine NAME ...] [--minutes M]
                                  [--folder DIR] [--record]

A round runs every engine once on the same image; ratios are formed within rounds, so that a
machine that slows down over time does not favour one side. bench/README.md tells how to read the
table. Cases and engines are the two tables below.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
FOOTER = 512
CHUNK = MIB


@dataclass(frozen=True)
class Case:
    """An image: a recipe of images.py in a format, or an empty disk of `empty` bytes."""

    name: str
    kind: str  # raw, vhdx, vhd
    recipe: tuple = ()  # the fields of images.Recipe
    empty: int = 0
    qemus: tuple[str, ...] = ("qemu-img", "qemu-img-m16", "qemu-img-direct")


@dataclass(frozen=True)
class Engine:
    """A command line; {source}, {format}, {target} and {python} are filled in."""

    name: str
    command: str


FS256 = ("fs256", 256 * GIB, 5 * GIB, 512 * KIB)
# Nearly all of the disk is stored, three quarters of it as zeros that only reading finds.
DENSE = ("dense", 3 * GIB, 2816 * MIB, MIB, 0.75)

CASES = (
    Case("fs256-raw", "raw", FS256),
    Case("fs256-vhdx", "vhdx", FS256),
    Case("fs256-vhd", "vhd", FS256),
    Case("stored-zeros-raw", "raw", DENSE),
    Case("empty-1t-vhdx", "vhdx", empty=TIB, qemus=("qemu-img",)),
    Case("empty-1t-vhd", "vhd", empty=TIB, qemus=("qemu-img",)),
)

# vhdfast's target is durable when it ends; so that the others' are too, a sync follows.
_QEMU = "qemu-img convert {flags} -f {{format}} -O vpc -o subformat=fixed,force_size"
_QEMU += " {{source}} {{target}} && sync {{target}}"
ENGINES = (
    Engine("vhdfast", "{python} -m vhdfast convert --quiet {source} {target}"),
    Engine("qemu-img", _QEMU.format(flags="")),
    Engine("qemu-img-m16", _QEMU.format(flags="-m 16 -W")),
    Engine("qemu-img-direct", _QEMU.format(flags="-m 16 -W -t none")),
)

QEMU_FORMATS = {"raw": "raw", "vhdx": "vhdx", "vhd": "vpc"}


@dataclass(frozen=True)
class Sample:
    """One run: seconds of wall and CPU (user and system, children included), bytes of memory."""

    engine: str
    round: int
    wall_s: float
    cpu_s: float
    peak_rss: int


def make_image(case: Case, folder: Path) -> Path:
    """The case's image, made once and kept in `folder`."""
    if not case.empty:
        path = folder / f"{case.recipe[0]}.{case.kind}"
        if not path.exists():
            # In a process of its own: what this one holds in memory counts as its children's peak.
            code = "import sys, pathlib, images; images.make(images.Recipe(*eval(sys.argv[1])), "
            code += "sys.argv[2], pathlib.Path(sys.argv[3]))"
            subprocess.run(
                [sys.executable, "-c", code, repr(case.recipe), case.kind, str(folder)],
                check=True, env={**os.environ, "PYTHONPATH": str(HERE)},
            )  # fmt: skip
        return path
    path = folder / f"{case.name}.{case.kind}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        options = ["-o", "subformat=dynamic" + (",force_size" if case.kind == "vhd" else "")]
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", QEMU_FORMATS[case.kind], *options, path,
             str(case.empty)], check=True,
        )  # fmt: skip
    return path


def run_once(engine: Engine, case: Case, source: Path, target: Path, number: int) -> Sample:
    """Run an engine; the target is left for the caller."""
    target.unlink(missing_ok=True)
    os.sync()
    command = engine.command.format(
        python=shlex.quote(sys.executable), format=QEMU_FORMATS[case.kind],
        source=shlex.quote(str(source)), target=shlex.quote(str(target)),
    )  # fmt: skip
    started = time.monotonic()
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", command], os.environ)
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - started
    if status:
        raise SystemExit(f"{engine.name} failed on {case.name}: {command}")
    return Sample(
        engine.name, number, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * KIB
    )


def digest(path: Path) -> str:
    """Of the disk in a fixed VHD: its size, and offset and content of every MiB that is not zero.

    Holes are skipped; no code of vhdfast or qemu is used.
    """
    state = hashlib.blake2b(digest_size=16)
    size = path.stat().st_size - FOOTER
    state.update(size.to_bytes(8, "little"))
    zeros = bytes(CHUNK)
    fd = os.open(path, os.O_RDONLY)
    try:
        at = 0
        while at < size:
            try:
                at = max(at, os.lseek(fd, at, os.SEEK_DATA) // CHUNK * CHUNK)
            except OSError:  # no data any more
                break
            if at >= size:
                break
            data = os.pread(fd, min(CHUNK, size - at), at)
            if data != zeros[: len(data)]:
                state.update(at.to_bytes(8, "little"))
                state.update(data)
            at += CHUNK
    finally:
        os.close(fd)
    return state.hexdigest()


def verify_against_source(case: Case, folder: Path, target: Path) -> None:
    """By qemu-img compare with the recipe's raw disk; an empty disk's target must hold nothing."""
    if case.empty:
        fd = os.open(target, os.O_RDONLY)
        try:
            size = os.fstat(fd).st_size - FOOTER
            stored = os.lseek(fd, 0, os.SEEK_DATA)
        finally:
            os.close(fd)
        if size != case.empty or stored < size - MIB:
            raise SystemExit(f"{case.name}: the target is not an empty disk of {case.empty} bytes")
        return
    raw = folder / f"{case.recipe[0]}.raw"
    command = ["qemu-img", "compare", "-q", "-f", "raw", "-F", "vpc", raw, target]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"{case.name}: qemu-img compare says that the target differs")


def measure(
    case: Case, engines: list[Engine], rounds: int, minutes: float, folder: Path
) -> tuple[list[Sample], str]:
    """(all samples, the digest that all engines' targets have)."""
    source = make_image(case, folder)
    target = folder / "bench-target.vhd"
    samples: list[Sample] = []
    digests: dict[str, str] = {}
    try:
        run_once(ENGINES[0], case, source, target, -1)  # brings the source into the page cache
        verify_against_source(case, folder, target)
        started = time.monotonic()
        for number in range(rounds):
            if number and time.monotonic() - started > 60 * minutes:
                break
            shift = number % len(engines)
            for engine in engines[shift:] + engines[:shift]:
                sample = run_once(engine, case, source, target, number)
                samples.append(sample)
                print(
                    f"  round {number + 1} {engine.name:<16} {sample.wall_s:8.2f} s "
                    f"{sample.cpu_s:8.2f} s CPU {sample.peak_rss / MIB:6.0f} MiB",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
                if engine.name not in digests:
                    digests[engine.name] = digest(target)
    finally:
        target.unlink(missing_ok=True)
    if len(set(digests.values())) != 1:
        raise SystemExit(f"{case.name}: the engines wrote different disks: {digests}")
    return samples, next(iter(digests.values()))


def summary(samples: list[Sample]) -> dict[str, dict[str, float]]:
    """Per engine: medians, and the median over rounds of its time divided by vhdfast's."""
    ours = {sample.round: sample for sample in samples if sample.engine == "vhdfast"}
    out: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(engine.name for engine in ENGINES):
        own = [sample for sample in samples if sample.engine == name]
        if own:
            out[name] = {
                "wall_s": round(statistics.median(s.wall_s for s in own), 3),
                "cpu_s": round(statistics.median(s.cpu_s for s in own), 3),
                "peak_rss": max(s.peak_rss for s in own),
                "wall_ratio": round(
                    statistics.median(s.wall_s / ours[s.round].wall_s for s in own), 3
                ),
                "cpu_ratio": round(
                    statistics.median(s.cpu_s / ours[s.round].cpu_s for s in own), 3
                ),
            }
    return out


def table(name: str, rows: dict[str, dict[str, float]]) -> str:
    lines = [f"{name:<18} {'wall s':>8} {'CPU s':>8} {'peak MiB':>9} {'wall x':>7} {'CPU x':>7}"]
    for engine, row in rows.items():
        lines.append(
            f"  {engine:<16} {row['wall_s']:8.2f} {row['cpu_s']:8.2f} "
            f"{row['peak_rss'] / MIB:9.0f} {row['wall_ratio']:7.2f} {row['cpu_ratio']:7.2f}"
        )
    return "\n".join(lines)


# ---- the record ---------------------------------------------------------------------------------


def machine() -> dict[str, object]:
    """What the numbers depend on; no host name."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    meminfo = Path("/proc/meminfo").read_text().splitlines()
    model = next(
        (line.split(":", 1)[1].strip() for line in cpuinfo if "model name" in line),
        platform.machine(),
    )
    memory = next(line.split()[1] for line in meminfo if line.startswith("MemTotal"))
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory) / MIB),
        "arch": platform.machine(),
    }


def versions() -> dict[str, str]:
    def first_line(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[0]

    return {
        "vhdfast": first_line(sys.executable, "-m", "vhdfast", "--version"),
        "commit": first_line("git", "-C", str(HERE), "rev-parse", "--short", "HEAD"),
        "qemu-img": first_line("qemu-img", "--version"),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def file_system(folder: Path) -> str:
    command = ["stat", "-f", "-c", "%T", str(folder)]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def record(case: Case, samples: list[Sample], answer: str, folder: Path) -> Path:
    ran = {sample.engine for sample in samples}
    host = machine()
    words = "".join(c if c.isalnum() else " " for c in str(host["cpu"]).lower()).split()
    name = "-".join([*words, f"{host['cpus']}cpu"])
    path = HERE / "record" / name / f"{case.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "case": asdict(case),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "machine": {**host, "file_system": file_system(folder)},
        "versions": versions(),
        "engines": {engine.name: engine.command for engine in ENGINES if engine.name in ran},
        "digest": answer,
        "summary": summary(samples),
        "samples": [asdict(sample) for sample in samples],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def main() -> int:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description="vhdfast against qemu-img on large images")
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="rounds (default: 5)")
    parser.add_argument("--case", nargs="+", choices=names, default=names, metavar="NAME",
                        help=f"which of: {', '.join(names)} (default: all)")  # fmt: skip
    others = [engine.name for engine in ENGINES[1:]]
    parser.add_argument("--engine", nargs="*", choices=others, default=others, metavar="NAME",
                        help=f"beside vhdfast: {', '.join(others)} (default: all)")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=30.0, metavar="M",
                        help="begin no round of a case after M minutes (default: 30)")  # fmt: skip
    parser.add_argument("--folder", type=Path, default=HERE / ".images", metavar="DIR",
                        help="where images are kept and targets written")  # fmt: skip
    parser.add_argument("--record", action="store_true", help="write bench/record/<machine>/")
    args = parser.parse_args()
    if args.pairs < 1:
        parser.error("--pairs must be at least 1")
    for case in CASES:
        if case.name in args.case:
            wanted = {"vhdfast"} | (set(case.qemus) & set(args.engine))
            engines = [engine for engine in ENGINES if engine.name in wanted]
            samples, answer = measure(case, engines, args.pairs, args.minutes, args.folder)
            print(table(case.name, summary(samples)), flush=True)
            if args.record:
                path = record(case, samples, answer, args.folder)
                print(f"  {path.relative_to(HERE.parent)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
