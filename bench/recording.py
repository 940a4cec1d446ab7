"""Records: what was measured, with all that the numbers depend on."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cases import Case
from engines import Engine

from vhdfast.benchmark.measuring import Sample, summary

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "record"
MIB = 1 << 20


def machine() -> dict[str, Any]:
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


def machine_name(host: dict[str, Any]) -> str:
    words = "".join(c if c.isalnum() else " " for c in str(host["cpu"]).lower()).split()
    return "-".join([*words, f"{host['cpus']}cpu"])


def versions(engines: Iterable[Engine]) -> dict[str, str]:
    def first_line(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[0]

    programs = {engine.program for engine in engines} - {sys.executable}
    return {
        "vhdfast": first_line(sys.executable, "-m", "vhdfast", "--version"),
        "commit": first_line("git", "-C", str(HERE), "describe", "--always", "--dirty"),
        **{name: first_line(name, "--version") for name in sorted(programs)},
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def file_system(folder: Path) -> str:
    command = ["stat", "-f", "-c", "%T", str(folder)]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def write(
    folder: Path,
    case: Case,
    cache: str,
    engines: Sequence[Engine],
    samples: Sequence[Sample],
    answer: str,
    given_up: dict[str, float],
    images: Path,
) -> Path:
    """folder/<machine>/<case>.json, or <case>-cold.json."""
    host = machine()
    path = folder / machine_name(host) / f"{case.name}{'' if cache == 'warm' else '-cold'}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "case": asdict(case),
        "cache": cache,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "machine": {**host, "file_system": file_system(images)},
        "versions": versions(engines),
        "engines": {
            engine.name: " ".join(("python", *engine.command[1:]))
            if engine.program == sys.executable
            else " ".join(engine.command)
            for engine in engines
        },
        "digest": answer,
        "given_up_s": given_up,
        "summary": {name: asdict(row) for name, row in summary(samples, "vhdfast").items()},
        "samples": [asdict(sample) for sample in samples],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def read(folder: Path) -> list[dict[str, Any]]:
    """All records of a machine's folder, by name. Each has at least vhdfast in its summary."""
    documents = []
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text())
        document["path"] = path
        documents.append(document)
    return documents
