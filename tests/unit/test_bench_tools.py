"""bench/: images of the cases, digests of answers, tables and pictures from records."""

from __future__ import annotations

import json
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support import MIB, pattern

KIB = 1 << 10


@pytest.fixture(scope="module")
def bench() -> Any:
    """The modules of bench/, which is no package: its programs import each other by name."""
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        import bench_convert
        import cases
        import digest
        import engines
        import plot
        import recording
        import scattered
        import table

        return SimpleNamespace(
            convert=bench_convert, cases=cases, digest=digest.digest, engines=engines, plot=plot,
            recording=recording, scattered=scattered, table=table,
        )  # fmt: skip
    finally:
        sys.path.remove(str(ROOT / "bench"))


# ---- cases and engines --------------------------------------------------------------------------


def test_cases_are_told_apart_by_their_names(bench: Any) -> None:
    names = [case.name for case in bench.cases.CASES]
    assert len(names) == len(set(names)) > 40
    # Files of one name hold one disk.
    recipes = {case.recipe for case in bench.cases.CASES}
    assert len({recipe.name for recipe in recipes}) == len(recipes)


def test_every_case_is_possible_at_a_smaller_scale(bench: Any) -> None:
    for case in bench.cases.CASES:
        small = bench.cases.at_scale(case, 0.01)
        assert small.recipe.size < case.recipe.size
        assert small.recipe.name != case.recipe.name
        assert bool(small.recipe.data) == bool(case.recipe.data)


def test_a_vhd_is_demanded_only_where_qemu_makes_one(bench: Any) -> None:
    for case in bench.cases.CASES:
        assert case.target == "raw" or case.recipe.size <= 2040 << 30, case.name


def test_command_lines_are_filled_in(bench: Any) -> None:
    case = next(case for case in bench.cases.CASES if case.name == "fs256-vhd")
    engines = {engine.name: engine for engine in bench.engines.ENGINES}
    assert engines["qemu-img-m16"].argv(case, "a b", "t") == [
        "qemu-img", "convert", "-m", "16", "-W", "-f", "vpc", "-O", "vpc",
        "-o", "subformat=fixed,force_size", "a b", "t",
    ]  # fmt: skip
    assert not engines["cp"].fits(case)
    assert f"--size={5 << 30}" in engines["fio"].argv(case, "s", "t")


# ---- images and answers -------------------------------------------------------------------------


def test_a_scattered_qcow2_is_sound_and_holds_the_disk(
    bench: Any, tmp_path: Path, qemu_img: Callable[..., str]
) -> None:
    raw, image = tmp_path / "a.raw", tmp_path / "a.qcow2"
    with open(raw, "wb") as file:
        file.truncate(96 * MIB)
        for offset in (0, 40 * MIB, 96 * MIB - 64 * KIB):
            file.seek(offset)
            file.write(pattern(offset + 1, 64 * KIB))
        file.seek(50 * MIB)
        file.write(pattern(5, 9 * MIB))
    bench.scattered.write(raw, image, 8 * KIB)
    assert "No errors were found" in qemu_img("check", image)
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "qcow2", raw, image)
    rows = json.loads(qemu_img("map", "--output=json", image))
    stored = [row for row in rows if row["data"]]
    # Pieces of 8 KiB, of which nearly none lies behind the one before.
    assert sum(row["length"] for row in stored) == 9 * MIB + 3 * 64 * KIB
    assert len(stored) > 1000


def test_an_empty_disk_can_be_scattered(
    bench: Any, tmp_path: Path, qemu_img: Callable[..., str]
) -> None:
    with open(tmp_path / "a.raw", "wb") as file:
        file.truncate(3 * MIB)
    bench.scattered.write(tmp_path / "a.raw", tmp_path / "a.qcow2", 4 * KIB)
    assert "No errors were found" in qemu_img("check", tmp_path / "a.qcow2")
    assert (
        json.loads(qemu_img("info", "--output=json", tmp_path / "a.qcow2"))["virtual-size"]
        == 3 * MIB
    )


@pytest.fixture
def answer(tmp_path: Path) -> Path:
    path = tmp_path / "answer.raw"
    with open(path, "wb") as file:
        file.truncate(8 * MIB)
        file.seek(3 * MIB)
        file.write(pattern(1, MIB))
    return path


def test_a_digest_tells_a_wrong_byte_wherever_it_is(bench: Any, answer: Path) -> None:
    right = bench.digest(answer, "raw")
    for offset in (0, 3 * MIB, 3 * MIB + 4095, 8 * MIB - 1):
        with open(answer, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)
            file.seek(offset)
            file.write(bytes([byte[0] ^ 1]))
            file.flush()
            assert bench.digest(answer, "raw") != right, offset
            file.seek(offset)
            file.write(byte)
    assert bench.digest(answer, "raw") == right


def test_a_digest_tells_data_that_moved_and_a_size(bench: Any, tmp_path: Path) -> None:
    found = set()
    for size, offset in ((8, 3), (8, 4), (9, 3)):
        with open(tmp_path / "a", "wb") as file:
            file.truncate(size * MIB)
            file.seek(offset * MIB)
            file.write(pattern(1, MIB))
        found.add(bench.digest(tmp_path / "a", "raw"))
    assert len(found) == 3


def test_a_digest_is_that_of_the_disk_not_of_the_file(
    bench: Any, answer: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.vhd"
    whole.write_bytes(answer.read_bytes() + b"conectix".ljust(512, b"\1"))
    assert whole.stat().st_blocks > answer.stat().st_blocks  # its zeros are stored
    assert bench.digest(whole, "fixed-vhd") == bench.digest(answer, "raw")
    assert bench.digest(whole, "raw") != bench.digest(answer, "raw")


# ---- a whole run --------------------------------------------------------------------------------

SMALL = ["--case", "growth-qcow2-1g", "--scale", "0.005", "--pairs", "2"]


def test_a_run_leaves_a_record_and_nothing_else(
    bench: Any, tmp_path: Path, qemu_img: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sync", lambda: None)  # of a busy machine it takes minutes
    words = [*SMALL, "--engine", "qemu-img", "--cache", "both", f"--folder={tmp_path / 'images'}"]
    assert bench.convert.main([*words, f"--record={tmp_path / 'records'}"]) == 0
    assert list((tmp_path / "images").iterdir()) == []
    (machine,) = (tmp_path / "records").iterdir()
    names = sorted(path.name for path in machine.iterdir())
    assert names == ["growth-qcow2-1g-cold.json", "growth-qcow2-1g.json"]
    record = json.loads((machine / names[1]).read_text())
    assert [(s["engine"], s["round"]) for s in record["samples"]] == [
        ("vhdfast", 0), ("qemu-img", 0), ("qemu-img", 1), ("vhdfast", 1),
    ]  # fmt: skip
    assert record["summary"]["vhdfast"]["wall_ratio"] == 1.0
    assert record["cache"] == "warm"


def test_a_wrong_answer_is_no_measurement(
    bench: Any, tmp_path: Path, qemu_img: Callable[..., str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(os, "sync", lambda: None)
    # It "converts" an image to zeros of the right length.
    liar = bench.engines.Engine("liar", "sh", ("truncate", "-s", "5M", "{target}"))
    monkeypatch.setattr(bench.convert, "ENGINES", (bench.engines.ENGINES[0], liar))
    words = [*SMALL, f"--folder={tmp_path / 'images'}", f"--record={tmp_path / 'records'}"]
    args = bench.convert.parsed(words)
    args.engine = ["liar"]
    monkeypatch.setattr(bench.convert, "parsed", lambda words: args)
    assert bench.convert.main() == 1
    assert "liar wrote" in capsys.readouterr().err
    assert not (tmp_path / "records").exists()
    assert list((tmp_path / "images").iterdir()) == []


def test_what_is_measured_at_another_scale_is_no_record(
    bench: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bench.convert.parsed(["--scale", "0.5", "--record"])
    assert "is no record" in capsys.readouterr().err


# ---- pages --------------------------------------------------------------------------------------


def record(name: str, group: str, walls: dict[str, float], **case: Any) -> dict[str, Any]:
    rows = {
        engine: {"wall_s": wall, "cpu_s": 0.5, "peak_rss": 50 * MIB,
                 "wall_ratio": wall / walls["vhdfast"], "cpu_ratio": 1.5, "wall_ratios": []}
        for engine, wall in walls.items()
    }  # fmt: skip
    return {
        "case": {"name": name, "group": group, "format": "raw", "x": 0, **case},
        "cache": "warm",
        "date": "2026-01-02",
        "machine": {"cpu": "A CPU", "cpus": 4, "memory_gib": 8, "file_system": "xfs"},
        "versions": {"kernel": "6.1.0-x", "qemu-img": "qemu-img version 9.0.1 (D)", "commit": "c0"},
        "given_up_s": {},
        "summary": rows,
        "samples": [{"round": 0}, {"round": 1}],
    }


@pytest.fixture
def records(bench: Any, tmp_path: Path) -> Path:
    """A folder with the synthetic records of a machine."""
    folder = tmp_path / "record" / "a-machine"
    folder.mkdir(parents=True)
    slow = record("fs256-vhdx", "formats", {"vhdfast": 4.0, "qemu-img-m16": 6.0})
    slow["given_up_s"] = {"qemu-img": 300.0}
    found = [
        record("fs256-raw", "formats", {"vhdfast": 4.0, "qemu-img": 5.0, "qemu-img-m16": 3.0}),
        slow,
        record("g-1", "growth", {"vhdfast": 1.0, "qemu-img": 10.0}, x=1 << 30),
        record("g-2", "growth", {"vhdfast": 1.5, "qemu-img": 100.0}, x=1 << 40),
        record("p-1", "fragmentation", {"vhdfast": 1.0}, x=256),
    ]
    for one in found:
        (folder / f"{one['case']['name']}.json").write_text(json.dumps(one))
    return folder


def test_tables_are_written_from_the_records(bench: Any, records: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = "a\n<!-- begin: {0} -->\nold\n<!-- end: {0} -->\nb"
    documents = bench.recording.read(records)

    def made(name: str) -> list[str]:
        lines = bench.table.rewritten(text.format(name), documents, page).splitlines()
        assert (lines[0], lines[-1]) == ("a", "b")
        assert "old" not in lines
        return lines[2:-2]

    assert made("ratios")[2:] == [
        "| [fs256-raw](record/a-machine/fs256-raw.json) | 4.00 | 0.50 | 50 | 1.25 | 0.75 |",
        "| [fs256-vhdx](record/a-machine/fs256-vhdx.json) | 4.00 | 0.50 | 50 |  | 1.50 |",
    ]
    assert made("formats")[-1] == "|  |  | `qemu-img` | more than 300 |  |  |  |  |"
    assert made("growth")[-1].endswith("| 1 TiB | 1.50 | 0.50 | 50 | 100.00 |  |")
    assert made("empty") == ["No record yet."]
    demands = made("demands")
    assert demands[2].endswith("| more than 75.00 | met |")
    assert demands[3].endswith("| no record yet |  |")
    assert demands[4].endswith("| 0.75 of `qemu-img-m16`, CPU 1.50 (2 rounds) | not met |")
    assert made("conditions")[-1] == (
        "| A CPU, 4 CPUs, 8 GiB, xfs | 6.1.0 | 9.0.1 | c0 | 2026-01-02 "
        "| fs256-raw, fs256-vhdx, g-1, g-2, p-1 |"
    )


def test_pages_say_what_the_records_say(bench: Any) -> None:
    assert bench.table.main(["--check"]) == 0


def test_pictures_show_what_the_records_say(bench: Any, tmp_path: Path) -> None:
    assert bench.plot.main([f"--folder={tmp_path}"]) == 0
    drawn = list(tmp_path.glob("*.svg"))
    assert drawn
    for path in drawn:
        kept = ROOT / "docs" / "pictures" / path.name
        assert kept.read_bytes() == path.read_bytes(), "run python bench/plot.py"


def test_pictures_are_drawn_from_the_records(bench: Any, records: Path, tmp_path: Path) -> None:
    words = [f"--records={records.parent}", "--machine=a-machine", f"--folder={tmp_path}"]
    assert bench.plot.main(words) == 0
    tips = {}
    for name in ("ratios", "growth", "fragmentation"):
        root = ET.parse(tmp_path / f"{name}.svg").getroot()
        tips[name] = [node.text for node in root.iter("{http://www.w3.org/2000/svg}title")]
        assert any("A CPU, 4 CPUs, xfs" in (node.text or "") for node in root.iter())
    assert tips["ratios"] == [
        "fs256-raw, qemu-img: 1.25", "fs256-raw, qemu-img -m 16 -W: 0.75",
        "fs256-vhdx, qemu-img -m 16 -W: 1.50",
    ]  # fmt: skip
    assert tips["growth"] == [
        "raw, vhdfast, 1 GiB: 1.00 s", "raw, vhdfast, 1 TiB: 1.50 s",
        "raw, qemu-img, 1 GiB: 10.00 s", "raw, qemu-img, 1 TiB: 100.00 s",
    ]  # fmt: skip
    assert tips["fragmentation"] == ["raw, vhdfast, 256: 1.00 s"]


def test_what_takes_longer_stands_higher(bench: Any, records: Path) -> None:
    picture = bench.plot.PLOTS["growth"](bench.recording.read(records))
    root = ET.fromstring(picture.svg())
    dots = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    heights = [float(dot.attrib["cy"]) for dot in dots]
    # A logarithmic axis: from 1 to 10 s as far as from 10 to 100 s; upwards is less.
    assert heights[0] > heights[2] > heights[3]
    assert heights[0] - heights[2] == pytest.approx(heights[2] - heights[3], abs=0.1)
    assert float(dots[0].attrib["cx"]) < float(dots[1].attrib["cx"])
