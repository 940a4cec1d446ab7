"""Runs all fuzz targets one after the other and sums them up; run.sh sets up what it needs.

    python tests/fuzz/run.py [--seconds N] [--record FILE] [TARGET…]

Targets are the formats, and native and codecs for the C code. What is kept (seeds, corpora, logs,
inputs that broke a promise) lies in build/fuzz/.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / "build" / "fuzz"
sys.path.insert(0, str(ROOT))

C_TARGETS = ("native", "codecs")
MAX_FOUND = 20  # inputs, after which a target is left alone
TIMEOUT_S = 25  # for one input, whatever it does
ROUND_S = 120  # for one process: libFuzzer under Python grows by about 10 MB a second


@dataclass
class Result:
    """A target's line in the record."""

    target: str
    seconds: float = 0
    executions: int = 0
    coverage: int = 0  # edges
    features: int = 0
    corpus: int = 0  # inputs
    slowest_s: float = 0  # CPU of one input, instrumented
    peak_mib: int = 0  # of one input; C: of the process
    outcomes: dict[str, int] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)  # inputs that break a promise
    messages: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--jobs", type=int, default=1, help="targets at once (1)")
    parser.add_argument("--record", type=Path, help="where the record goes, JSON")
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    options = parser.parse_args()

    from tests.fuzz.harness import targets

    names = options.targets or [*targets(), *C_TARGETS]
    unknown = set(names) - {*targets(), *C_TARGETS}
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are: "
                     f"{', '.join([*targets(), *C_TARGETS])}")  # fmt: skip
    WORK.mkdir(parents=True, exist_ok=True)
    started = datetime.datetime.now(datetime.timezone.utc)
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda name: attempt(name, options.seconds), names))
    record = {
        "started": started.isoformat(timespec="seconds"),
        "seconds_per_target": options.seconds,
        "commit": said("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "clean": not said("git", "-C", str(ROOT), "status", "--porcelain", "-uno"),
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform(),
                    "python": platform.python_version(), "atheris": has_atheris(),
                    "clang": said("clang", "--version").partition("\n")[0]},
        "results": [asdict(result) for result in results],
    }  # fmt: skip
    place = options.record or HERE / "record" / f"{started:%Y-%m-%d}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(record, indent=1) + "\n")
    show(results)
    print(f"the record is in {place}")
    return 1 if any(result.found for result in results) else 0


def has_atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


def said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def attempt(name: str, seconds: int) -> Result:
    """What `run` answers; a target that fails to run does not take the record of others along."""
    try:
        return run(name, seconds)
    except Exception as error:
        return Result(name, messages=[f"not run: {type(error).__name__}: {error}"])


def run(name: str, seconds: int) -> Result:
    found = WORK / "found" / name
    corpus, seeds = WORK / "corpus" / name, WORK / "seeds" / name
    for folder in (found, corpus, seeds):
        folder.mkdir(parents=True, exist_ok=True)
    from tests.fuzz.make_seeds import make

    result = Result(name)
    before = set(found.iterdir())
    make(name, seeds)
    if name in C_TARGETS:
        program = build(name)
        if program is None:
            result.messages.append("not run: clang with libFuzzer is missing")
            return result
        command = [str(program)]
    else:
        if not has_atheris():
            result.messages.append("without atheris: no coverage")
        command = [sys.executable, str(HERE / "fuzz_images.py"), name]
    extra = [str(path) for path in (HERE / "regressions").glob(f"{name}-*")]
    for path in extra:
        shutil.copy(path, seeds)
    begun = time.monotonic()
    while (left := seconds - (time.monotonic() - begun)) > 1:
        _round(result, command, min(int(left), ROUND_S), corpus, seeds, found)
        new = set(found.iterdir()) - before
        if len(new) >= MAX_FOUND:
            break
    result.seconds = round(time.monotonic() - begun, 1)
    result.corpus = len(list(corpus.iterdir()))
    for path in sorted(set(found.iterdir()) - before):
        _confirm(result, name, command, path)
    return result


def _round(
    result: Result, command: list[str], seconds: int, corpus: Path, seeds: Path, found: Path
) -> None:
    """One process: it ends with the time, or with the first input that breaks a promise."""
    stats = WORK / f"{result.target}.stats"
    stats.unlink(missing_ok=True)
    log = WORK / f"{result.target}.log"
    with_libfuzzer = result.target in C_TARGETS or has_atheris()
    if with_libfuzzer:
        words = [
            f"-max_total_time={seconds}", f"-timeout={TIMEOUT_S}", "-rss_limit_mb=2048",
            "-max_len=131072", f"-artifact_prefix={found}/", "-print_final_stats=1",
            str(corpus), str(seeds),
        ]  # fmt: skip
    else:
        words = ["--plain", str(seconds), str(seeds)]
    environment = {**os.environ, "VHDFAST_FUZZ_STATS": str(stats), "PYTHONPATH": str(ROOT)}
    with open(log, "wb") as out:
        subprocess.run([*command, *words], cwd=found, env=environment, stdout=out, stderr=out)
    text = log.read_text(errors="replace")
    numbers = {key: int(value) for key, value in re.findall(r"stat::(\w+):\s+(\d+)", text)}
    covered = re.findall(r"cov: (\d+) ft: (\d+)", text)
    if covered:
        result.coverage = max(result.coverage, int(covered[-1][0]))
        result.features = max(result.features, int(covered[-1][1]))
    if stats.exists():
        seen = json.loads(stats.read_text())
        result.slowest_s = max(result.slowest_s, round(seen["slowest_s"], 3))
        result.peak_mib = max(result.peak_mib, seen["peak_bytes"] >> 20)
        for code, count in seen["outcomes"].items():
            result.outcomes[code] = result.outcomes.get(code, 0) + count
        result.executions += max(numbers.get("number_of_executed_units", 0), seen["runs"])
    else:
        result.executions += numbers.get("number_of_executed_units", 0)
        result.peak_mib = max(result.peak_mib, numbers.get("peak_rss_mb", 0))
        result.slowest_s = max(result.slowest_s, numbers.get("slowest_unit_time_sec", 0))


def _confirm(result: Result, name: str, command: list[str], path: Path) -> None:
    """Keep what breaks a promise without instrumentation too, with what it said."""
    words = [*command, str(path)] if name in C_TARGETS else [*command, "--replay", str(path)]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        result.found.append(str(path))
        result.messages.append("does not end within 60 s")
        return
    if done.returncode == 0:
        path.unlink()
        return
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    telling = [line for line in lines if re.search("Error|Broken|SUMMARY|runtime error", line)]
    message = (telling or lines or ["nothing said"])[-1][:300]
    if message.partition(": ")[2] in (m.partition(": ")[2] for m in result.messages):
        path.unlink()
        return
    result.found.append(str(path))
    result.messages.append(message)


def build(name: str) -> Path | None:
    """A C target with libFuzzer and sanitizers; None without clang or these."""
    clang = shutil.which(os.environ.get("CLANG", "clang"))
    if clang is None:
        return None
    WORK.mkdir(parents=True, exist_ok=True)
    made = WORK / f"fuzz_{name}"
    sources = [HERE / f"fuzz_{name}.c"]
    libraries: list[str] = []
    if name == "native":
        sources += sorted((ROOT / "native" / "src").rglob("*.c"))
        sources.append(ROOT / "tests" / "native" / "codec.c")
    else:
        sources.append(ROOT / "native" / "codecs" / "codecs.c")
        libraries = ["-ldeflate", "-lz", "-lzstd"]
    command = [
        clang, "-std=c11", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-O1", "-g", "-Wall",
        "-Wextra", "-fno-omit-frame-pointer", "-fsanitize=fuzzer,address,undefined",
        "-fno-sanitize-recover=all", f"-I{ROOT / 'native/include'}", f"-I{ROOT / 'native/src'}",
        f"-I{ROOT / 'native/codecs'}", *map(str, sources), *libraries, "-o", str(made),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if "libclang_rt" in done.stderr:  # the compiler is there, its sanitizers are not
        print(done.stderr, file=sys.stderr)
        return None
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return made


def show(results: list[Result]) -> None:
    print(f"{'target':12}{'seconds':>8}{'runs':>10}{'edges':>7}{'corpus':>8}{'slowest':>9}"
          f"{'peak MiB':>10}{'found':>7}")  # fmt: skip
    for one in results:
        print(f"{one.target:12}{one.seconds:8.0f}{one.executions:10}{one.coverage:7}{one.corpus:8}"
              f"{one.slowest_s:8.2f}s{one.peak_mib:10}{len(one.found):7}")  # fmt: skip
        for message in one.messages:
            print(f"    {message}")
        for path in one.found:
            print(f"    {path}")


if __name__ == "__main__":
    sys.exit(main())
