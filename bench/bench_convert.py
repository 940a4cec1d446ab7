#!/usr/bin/env python3
"""vhdfast against other programs on large images: wall time, CPU time and peak memory.

    python bench/bench_convert.py [--group NAME ...] [--case NAME ...] [--engine NAME ...]
                                  [--cache warm|cold|both] [--pairs N] [--minutes M]
                                  [--patience S] [--scale X] [--folder DIR] [--keep]
                                  [--record[=DIR]]

A round runs every engine once on the same image; ratios are formed within rounds, so that a
machine that slows down over time does not favour one side. bench/README.md tells how to read the
table; cases.py and engines.py hold what is measured.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import recording
from builders import make_image, make_raw
from cases import CASES, GROUPS, Case, at_scale
from digest import digest
from engines import ENGINES, Engine, installed

from vhdfast.benchmark.measuring import (
    Row,
    Sample,
    drop_cache,
    launch,
    read_through,
    rotated,
    summary,
)
from vhdfast.errors import VhdfastError
from vhdfast.signals import Interrupted, signals

HERE = Path(__file__).resolve().parent
MIB = 1 << 20


class CaseError(Exception):
    """An engine wrote another disk than the recipe's, or there is nothing to compare with."""


# What ends a case and not the run: a night's worth of others comes behind it.
FAILURES = (CaseError, VhdfastError, subprocess.CalledProcessError, OSError)


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def remove(path: Path) -> None:
    """An image, and what is there of one that was not finished."""
    path.unlink(missing_ok=True)
    path.with_suffix(".part").unlink(missing_ok=True)


class Images:
    """The cases' images in a folder: made when needed, removed when no later case wants them."""

    def __init__(self, folder: Path, keep: bool) -> None:
        self.folder, self.keep = folder, keep
        self._digests: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def raw(self, case: Case) -> Path:
        return self.folder / f"{case.recipe.name}.raw"

    def path(self, case: Case) -> Path:
        if case.format == "raw":
            return self.raw(case)
        chunk = f"-{case.chunk}" if case.chunk else ""
        return self.folder / f"{case.recipe.name}{chunk}.{case.format}"

    def make(self, case: Case) -> Path:
        raw, path = self.raw(case), self.path(case)
        if case.recipe.data:
            make_raw(case.recipe, raw)
        elif case.format == "raw":
            make_image("raw", raw, raw, case.recipe.size)
        if case.format == "raw":
            return raw
        make_image(case.format, raw, path, case.recipe.size, case.chunk)
        if case.chunk:
            subprocess.run(["qemu-img", "check", "-q", str(path)], check=True)
        return path

    def expected(self, case: Case) -> str:
        """The digest of the recipe's disk; of the file that the image was made of."""
        name = case.recipe.name
        if name not in self._digests:
            raw = self.raw(case)
            if not raw.exists():  # an empty disk
                with open(raw, "wb") as file:
                    file.truncate(case.recipe.size)
            self._digests[name] = digest(raw, "raw")
        return self._digests[name]

    def done(self, case: Case, later: Sequence[Case]) -> None:
        if self.keep:
            return
        if case.format != "raw":
            remove(self.path(case))
        if all(other.recipe.name != case.recipe.name for other in later):
            remove(self.raw(case))


def run_once(
    engine: Engine, case: Case, source: Path, target: Path, number: int, cache: str, patience: float
) -> Sample | None:
    """Run an engine; the target is left for the caller. None where it took longer than patience."""
    target.unlink(missing_ok=True)
    os.sync()
    if cache == "cold":
        drop_cache(str(source))
    sample, _ = launch(
        engine.name, engine.argv(case, str(source), str(target)),
        sync=None if engine.is_durable else str(target), number=number, limit_s=patience,
    )  # fmt: skip
    return sample


def measure(
    case: Case, engines: Sequence[Engine], images: Images, cache: str, rounds: int,
    minutes: float, patience: float,
) -> tuple[list[Sample], str, dict[str, float]]:  # fmt: skip
    """(all samples, the digest of every engine's target, {engine: seconds after which it stopped}).

    Raises CaseError.
    """
    source = images.make(case)
    expected = images.expected(case)
    target = images.folder / "bench-target"
    samples: list[Sample] = []
    given_up: dict[str, float] = {}
    checked: set[str] = set()
    try:
        if cache == "warm":
            read_through(str(source))
        started = time.monotonic()
        for number in range(rounds):
            if number and time.monotonic() - started > 60 * minutes:
                break
            left = [engine for engine in engines if engine.name not in given_up]
            for engine in rotated(left, number):
                sample = run_once(engine, case, source, target, number, cache, patience)
                if sample is None and engine.name == "vhdfast":
                    raise CaseError(f"vhdfast took more than {patience:g} s")
                if sample is None:
                    given_up[engine.name] = patience
                    tell(f"  round {number + 1} {engine.name:<16} took more than {patience:g} s")
                    continue
                samples.append(sample)
                tell(
                    f"  round {number + 1} {engine.name:<16} {sample.wall_s:8.2f} s "
                    f"{sample.cpu_s:8.2f} s CPU {sample.peak_rss / MIB:6.0f} MiB"
                )
                if engine.copies and engine.name not in checked:
                    checked.add(engine.name)
                    found = digest(target, engine.target_of(case))
                    if found != expected:
                        raise CaseError(f"{case.name}: {engine.name} wrote {found}, not {expected}")
    finally:
        target.unlink(missing_ok=True)
    return samples, expected, given_up


def table(name: str, rows: dict[str, Row], given_up: dict[str, float]) -> str:
    lines = [f"{name:<18} {'wall s':>8} {'CPU s':>8} {'peak MiB':>9} {'wall x':>7} {'CPU x':>7}"]
    for engine, row in rows.items():
        lines.append(
            f"  {engine:<16} {row.wall_s:8.2f} {row.cpu_s:8.2f} "
            f"{row.peak_rss / MIB:9.0f} {row.wall_ratio:7.2f} {row.cpu_ratio:7.2f}"
        )
    lines += [f"  {engine:<16} more than {limit:g} s" for engine, limit in given_up.items()]
    return "\n".join(lines)


def parsed(words: list[str] | None) -> argparse.Namespace:
    names = [case.name for case in CASES]
    others = [engine.name for engine in ENGINES[1:]]
    parser = argparse.ArgumentParser(description="vhdfast against others on large images")
    add = parser.add_argument
    add("--list", action="store_true", help="list cases and engines")
    add("--group", nargs="+", choices=GROUPS, default=[], help=f"of: {', '.join(GROUPS)}",
        metavar="NAME")  # fmt: skip
    add("--case", nargs="+", choices=names, default=[], metavar="NAME", help="see --list")
    add("--engine", nargs="*", choices=others, default=others, metavar="NAME",
        help=f"beside vhdfast: {', '.join(others)} (default: all that are installed)")  # fmt: skip
    add("--cache", choices=("warm", "cold", "both"), default="warm", help="of the source")
    add("--pairs", type=int, default=5, metavar="N", help="rounds (default: 5)")
    add("--minutes", type=float, default=15.0, metavar="M",
        help="begin no round of a case after M minutes (default: 15)")  # fmt: skip
    add("--patience", type=float, default=300.0, metavar="S",
        help="stop an engine after S seconds, and run it no more in the case (default: 300)",
    )  # fmt: skip
    add("--scale", type=float, default=1.0, metavar="X", help="of sizes: 0.1 to try it")
    add("--folder", type=Path, default=HERE / ".images", metavar="DIR",
        help="where images are made and targets written")  # fmt: skip
    add("--keep", action="store_true", help="keep the images for another time")
    add("--record", nargs="?", type=Path, const=recording.RECORDS, metavar="DIR",
        help="write DIR/<machine>/ (default: bench/record)")  # fmt: skip
    args = parser.parse_args(words)
    if args.pairs < 1 or args.scale <= 0:
        parser.error("--pairs must be at least 1, --scale above 0")
    if args.record == recording.RECORDS and args.scale != 1:
        parser.error("what is measured at another scale is no record: name another --record=DIR")
    return args


def main(words: list[str] | None = None) -> int:
    args = parsed(words)
    if args.list:
        for case in CASES:
            print(f"{case.group:<14} {case.name}")
        print("engines:", ", ".join(e.name for e in ENGINES if installed(e)))
        return 0
    everything = not args.case and not args.group
    chosen = [
        at_scale(case, args.scale)
        for case in CASES
        if everything or case.name in args.case or case.group in args.group
    ]
    wanted = {"vhdfast", *args.engine}
    images = Images(args.folder, args.keep)
    caches = ("warm", "cold") if args.cache == "both" else (args.cache,)
    status = 0
    for index, case in enumerate(chosen):
        engines = [e for e in ENGINES if e.name in wanted and installed(e) and e.fits(case)]
        for cache in caches:
            label = case.name if cache == "warm" else f"{case.name}, cold"
            tell(label)
            try:
                samples, answer, given_up = measure(
                    case, engines, images, cache, args.pairs, args.minutes, args.patience
                )
            except FAILURES as error:
                tell(f"FAILED: {label}: {error}")
                status = 1
                continue
            print(table(label, summary(samples, "vhdfast"), given_up), flush=True)
            if args.record:
                path = recording.write(
                    args.record, case, cache, engines, samples, answer, given_up, args.folder
                )
                print(f"  {path}", flush=True)
        images.done(case, chosen[index + 1 :])
    return status


if __name__ == "__main__":
    try:
        with signals():  # whatever stops it, targets are removed and programs ended
            sys.exit(main())
    except Interrupted as stop:
        sys.exit(128 + stop.number)
