#!/usr/bin/env python3
"""The tables in bench/README.md and docs/internals/performance.md, written from the records.

    python bench/table.py            # write them anew
    python bench/table.py --check    # exit status 1 where a page is not what the records say

A table stands between `<!-- begin: NAME -->` and `<!-- end: NAME -->`, NAME being one of TABLES.
Whose records they are is told by `<!-- machine: FOLDER -->`; --machine changes that.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import recording

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "bench" / "README.md", ROOT / "docs" / "internals" / "performance.md")
MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
TUNED = ("qemu-img-m16", "qemu-img-direct")
MACHINE = re.compile(r"<!-- machine: (\S+) -->")
MARKS = re.compile(r"(<!-- begin: ([a-z-]+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)

Record = dict[str, Any]


def link(record: Record, page: Path) -> str:
    name = record["case"]["name"] + (", cold" if record["cache"] == "cold" else "")
    return f"[{name}]({os.path.relpath(record['path'], page.parent)})"


def rounds(record: Record) -> int:
    return len({sample["round"] for sample in record["samples"]})


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def size(value: int) -> str:
    return f"{value / TIB:g} TiB" if value >= TIB else f"{value / GIB:g} GiB"


def engines_of(group: str) -> Callable[[list[Record], Path], str]:
    """Each engine of each record of a group."""

    def write(records: list[Record], page: Path) -> str:
        rows = []
        for record in (r for r in records if r["case"]["group"] == group):
            case = link(record, page)
            for engine, row in record["summary"].items():
                first = (case, str(rounds(record))) if engine == "vhdfast" else ("", "")
                rows.append((
                    *first, f"`{engine}`", f"{row['wall_s']:.2f}", f"{row['cpu_s']:.2f}",
                    f"{row['peak_rss'] / MIB:.0f}", f"{row['wall_ratio']:.2f}",
                    f"{row['cpu_ratio']:.2f}",
                ))  # fmt: skip
            for engine, limit in record["given_up_s"].items():
                rows.append(("", "", f"`{engine}`", f"more than {limit:g}", "", "", "", ""))
        head = ("case", "rounds", "engine", "wall s", "CPU s", "peak MiB", "wall x", "CPU x")
        return grid(head, rows) if rows else "No record yet.\n"

    return write


def series_of(group: str) -> Callable[[list[Record], Path], str]:
    """One line for each record of a series: vhdfast, and qemu-img by default and at its best."""

    def write(records: list[Record], page: Path) -> str:
        rows = []
        own = [r for r in records if r["case"]["group"] == group]
        for record in sorted(own, key=lambda r: (r["case"]["format"], r["case"]["x"])):
            ours = record["summary"]["vhdfast"]
            x = record["case"]["x"]
            rows.append((
                link(record, page), size(x) if group == "growth" else f"{x:,}".replace(",", " "),
                f"{ours['wall_s']:.2f}", f"{ours['cpu_s']:.2f}", f"{ours['peak_rss'] / MIB:.0f}",
                wall_of(record, ("qemu-img",)), wall_of(record, TUNED),
            ))  # fmt: skip
        what = "virtual size" if group == "growth" else "pieces"
        head = ("case", what, "wall s", "CPU s", "peak MiB", "qemu-img, wall s", "tuned, wall s")
        if not rows:
            return "No record yet.\n"
        picture = os.path.relpath(ROOT / "docs" / "pictures" / f"{group}.svg", page.parent)
        return f"![{group}]({picture})\n\n{grid(head, rows)}"

    return write


def wall_of(record: Record, engines: Iterable[str]) -> str:
    """The least median of the engines; what one took more than, where all were given up."""
    walls = [record["summary"][e]["wall_s"] for e in engines if e in record["summary"]]
    if walls:
        return f"{min(walls):.2f}"
    limits = [record["given_up_s"][e] for e in engines if e in record["given_up_s"]]
    return f"more than {max(limits):g}" if limits else ""


def ratios(records: list[Record], page: Path) -> str:
    """One line for each format: what the user waits for."""
    rows = []
    for record in (r for r in records if r["case"]["group"] == "formats"):
        ours, summary = record["summary"]["vhdfast"], record["summary"]
        tuned = [summary[e]["wall_ratio"] for e in TUNED if e in summary]
        rows.append((
            link(record, page), f"{ours['wall_s']:.2f}", f"{ours['cpu_s']:.2f}",
            f"{ours['peak_rss'] / MIB:.0f}",
            f"{summary['qemu-img']['wall_ratio']:.2f}" if "qemu-img" in summary else "",
            f"{min(tuned):.2f}" if tuned else "",
        ))  # fmt: skip
    head = ("case", "wall s", "CPU s", "peak MiB", "qemu-img, wall x", "tuned, wall x")
    return grid(head, rows) if rows else "No record yet.\n"


def conditions(records: list[Record], page: Path) -> str:
    """What the records were taken on; a line for each state of things."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for record in records:
        host, software = record["machine"], record["versions"]
        key = (
            f"{host['cpu']}, {host['cpus']} CPUs, {host['memory_gib']} GiB, {host['file_system']}",
            software["kernel"].split("-")[0],
            software.get("qemu-img", "").removeprefix("qemu-img version ").split(" (")[0],
            software["commit"], record["date"],
        )  # fmt: skip
        rows.setdefault(key, []).append(record["path"].stem)
    head = ("machine", "kernel", "qemu-img", "commit", "date", "records")
    return grid(head, ((*key, ", ".join(names)) for key, names in rows.items()))


# ---- what is demanded ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Demand:
    """cases: what it is judged by. judge: (what was measured, whether that is enough)."""

    text: str
    cases: Callable[[Record], bool]
    judge: Callable[[list[Record]], tuple[str, bool]]


def named(name: str) -> Callable[[Record], bool]:
    return lambda record: record["case"]["name"] == name and record["cache"] == "warm"


def at_least(engine: str, least: float) -> Callable[[list[Record]], tuple[str, bool]]:
    """The wall ratio of an engine; of one that was given up, what it was at least."""

    def judge(records: list[Record]) -> tuple[str, bool]:
        record = records[0]
        if engine in record["summary"]:
            ratio = record["summary"][engine]["wall_ratio"]
            return f"{ratio:.2f} ({rounds(record)} rounds)", ratio >= least
        ratio = record["given_up_s"].get(engine, 0) / record["summary"]["vhdfast"]["wall_s"]
        return f"more than {ratio:.2f}", ratio >= least

    return judge


def beside_tuned(records: list[Record]) -> tuple[str, bool]:
    summary = records[0]["summary"]
    found = [(e, summary[e]["wall_ratio"], summary[e]["cpu_ratio"]) for e in TUNED if e in summary]
    text = "; ".join(f"{wall:.2f} of `{e}`, CPU {cpu:.2f}" for e, wall, cpu in found)
    enough = bool(found) and all(wall >= 0.97 and cpu > 1 for _, wall, cpu in found)
    return f"{text} ({rounds(records[0])} rounds)", enough


def most(field: str, limit: float, unit: str, divisor: int = 1) -> Any:
    def judge(records: list[Record]) -> tuple[str, bool]:
        value, name = max(
            (r["summary"]["vhdfast"][field] / divisor, r["case"]["name"]) for r in records
        )
        return f"{value:.3g} {unit} at most (`{name}`)", value < limit

    return judge


DEMANDS = (
    Demand("VHDX at least 4 times as fast as qemu-img by default", named("fs256-vhdx"),
           at_least("qemu-img", 4)),
    Demand("dynamic VHD at least 1.5 times", named("fs256-vhd"), at_least("qemu-img", 1.5)),
    Demand("raw at least 0.97 of the fastest tuned qemu-img, with less CPU", named("fs256-raw"),
           beside_tuned),
    Demand("an empty disk of 1 TiB and more in less than 1 s of CPU",
           lambda record: record["case"]["group"] == "empty", most("cpu_s", 1, "s")),
    Demand("less than 128 MiB of memory", lambda record: True, most("peak_rss", 128, "MiB", MIB)),
)  # fmt: skip


def demands(records: list[Record], page: Path) -> str:
    rows = []
    for demand in DEMANDS:
        own = [record for record in records if demand.cases(record)]
        text, enough = demand.judge(own) if own else ("no record yet", False)
        rows.append((demand.text, text, ("met" if enough else "not met") if own else ""))
    return grid(("demand", "measured", ""), rows)


TABLES: dict[str, Callable[[list[Record], Path], str]] = {
    "conditions": conditions,
    "demands": demands,
    "ratios": ratios,
    "formats": engines_of("formats"),
    "fragmented": engines_of("fragmented"),
    "empty": engines_of("empty"),
    "growth": series_of("growth"),
    "fragmentation": series_of("fragmentation"),
}


def machine_of(text: str) -> str:
    """The folder of bench/record that a page speaks of."""
    found = MACHINE.search(text)
    if found is None:
        raise SystemExit("a page names no machine")
    return found[1]


def rewritten(text: str, records: list[Record], page: Path) -> str:
    """A page with its tables made anew. Raises KeyError for a name that is none of TABLES."""
    return MARKS.sub(lambda m: m[1] + TABLES[m[2]](records, page) + m[3], text)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="tables from the records")
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--machine", metavar="NAME", help="a folder of bench/record")
    args = parser.parse_args(words)
    stale = []
    for page in PAGES:
        text = page.read_text()
        wanted = MACHINE.sub(f"<!-- machine: {args.machine} -->", text) if args.machine else text
        records = recording.read(recording.RECORDS / machine_of(wanted))
        made = rewritten(wanted, records, page)
        if made != text:
            stale.append(page)
            if not args.check:
                page.write_text(made)
    for page in stale:
        print(f"{page.relative_to(ROOT)}: {'out of date' if args.check else 'written'}")
    return 1 if stale and args.check else 0


if __name__ == "__main__":
    sys.exit(main())
