"""check: what it prints, what it writes, and what its exit status says."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import MIB, SparseFile, pattern
from tests.support.build_vhd import fixed
from tests.support.build_vhdx import write_vhdx
from tests.support.sarif import check_log
from vhdfast.checks import CHECKS
from vhdfast.cli import main

Check = Callable[..., "subprocess.CompletedProcess[str]"]


def disk(size: int = 20 * MIB) -> SparseFile:
    made = SparseFile(size)
    made.put(0, pattern(1, 512))
    return made


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Check:
    """`vhdfast check` in the test's directory: check("--all", name, input=…, env=…)."""
    monkeypatch.chdir(tmp_path)

    def run(
        *words: object, input: str = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patched:
            for name, value in (env or {}).items():
                patched.setenv(name, value)
            patched.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(input.encode())))
            code = main(["check", *map(str, words)])
        return subprocess.CompletedProcess(words, code, *capfd.readouterr())

    return run


@pytest.fixture
def images(tmp_path: Path) -> dict[str, str]:
    """Images in the test's directory, by what their check comes to."""
    fixed(disk()).write(tmp_path / "good.vhd")
    fixed(disk(20 * MIB + 512)).write(tmp_path / "odd.vhd")  # whole-mib: an error
    fixed(disk(), unique_id=bytes(16)).write(tmp_path / "warned.vhd")
    write_vhdx(tmp_path / "source.vhdx", virtual_size=32 * MIB, blocks={0: pattern(1, MIB)})
    # Larger than generation 1 boots from: which it is to be has not been said.
    fixed(disk(2049 * 1024 * MIB)).write(tmp_path / "large.vhd")
    (tmp_path / "directory").mkdir()
    return {
        "good": "good.vhd", "obstacle": "odd.vhd", "warning": "warned.vhd",
        "source": "source.vhdx", "undecided": "large.vhd", "missing": "none.vhd",
    }  # fmt: skip


def status(run: Check, images: dict[str, str], *names: str, options: tuple[str, ...] = ()) -> int:
    found = run("-q", *options, *(images[name] for name in names)).returncode
    assert isinstance(found, int)
    return found


# ---- the exit status ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["good"], 0),
        (["source"], 0),
        (["warning"], 0),
        (["obstacle"], 1),
        (["undecided"], 3),
        (["missing"], 4),
        (["good", "source"], 0),
        (["undecided", "good"], 3),
        (["obstacle", "undecided"], 1),
        (["undecided", "obstacle"], 1),
        (["missing", "obstacle"], 4),
        (["obstacle", "missing", "good"], 4),
        (["undecided", "missing"], 4),
    ],
)
def test_the_worst_of_several_images_counts(
    check: Check, images: dict[str, str], names: list[str], expected: int
) -> None:
    assert status(check, images, *names) == expected


def test_failing_to_read_outranks_all_else(
    check: Check, images: dict[str, str], tmp_path: Path
) -> None:
    """5 before 4 before 1: a URL that leads nowhere, a file that is not there, an obstacle."""
    done = check("-q", "nbd://127.0.0.1:1/x", images["missing"], images["obstacle"])
    assert done.returncode == 5, done.stderr


def test_an_option_that_does_not_fit_an_image(check: Check, images: dict[str, str]) -> None:
    """2 before 1: the image was not looked at as it was asked for."""
    done = check("-q", "--disk=2", images["obstacle"], images["good"])
    assert done.returncode == 2, done.stderr


def test_strict_makes_warnings_fail(check: Check, images: dict[str, str]) -> None:
    assert status(check, images, "warning", options=("--strict",)) == 1
    assert status(check, images, "undecided", "warning", options=("--strict",)) == 1
    assert status(check, images, "source", options=("--strict",)) == 0, "notes never do"


def test_as_is_and_as_source(check: Check, images: dict[str, str]) -> None:
    assert status(check, images, "source", options=("--as-is",)) == 1
    assert status(check, images, "obstacle", options=("--as-source",)) == 0
    done = check("--as-is", "--as-source", images["good"])
    assert (done.returncode, "contradict" in done.stderr) == (2, True)


def test_role_and_generation(check: Check, images: dict[str, str]) -> None:
    assert status(check, images, "undecided", options=("--role=data",)) == 0
    assert status(check, images, "undecided", options=("--generation=2",)) == 0
    assert status(check, images, "undecided", options=("--generation=1",)) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--select=tables"], 0),
        (["--select=whole-*"], 1),
        (["--select=azure"], 1),
        (["--select=azure", "--ignore=whole-mib"], 0),
        (["--ignore=whole-mib"], 0),
        (["--select=nothing"], 2),
        (["--ignore=nothing"], 2),
        (["--select=tables", "--ignore=structure"], 2),
    ],
)
def test_which_checks_run(
    check: Check, images: dict[str, str], options: list[str], expected: int
) -> None:
    assert status(check, images, "obstacle", options=tuple(options)) == expected


# ---- text ---------------------------------------------------------------------------------------


def test_what_is_printed(check: Check, images: dict[str, str]) -> None:
    done = check("--select=whole-mib", images["obstacle"])
    assert done.stderr == ""
    first, second, empty, failure, *_ = done.stdout.splitlines()
    assert first == "odd.vhd: obstacle"
    assert second == "  vhd, fixed, 20.00 MiB (20972032 bytes); judged as it is"
    assert empty == ""
    assert failure.startswith("FAIL  whole-mib: the virtual size of 20972032 bytes is no whole")
    assert "      $ vhdfast repair odd.vhd" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1] == "0 checks passed, 1 failed"
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_width_is_that_of_the_terminal(check: Check, images: dict[str, str]) -> None:
    done = check(images["obstacle"], env={"COLUMNS": "50"})
    widths = [len(line) for line in done.stdout.splitlines() if "$" not in line]
    assert 40 < max(widths) <= 50


def test_all_shows_what_passed_without_lines_between(check: Check, images: dict[str, str]) -> None:
    done = check("--all", images["good"])
    idle = done.stdout.split("\n\n")[-2].splitlines()
    marks = [line[:4] for line in idle if not line.startswith(" ")]
    assert marks == sorted(marks) and set(marks) <= {"pass", "skip"}
    assert len(marks) == len(CHECKS)
    assert "pass  whole-mib: the virtual size is 20 MiB" in idle


def test_several_images_end_with_a_table(check: Check, images: dict[str, str]) -> None:
    done = check(images["good"], images["obstacle"], images["missing"])
    assert done.stdout.split("\n\n")[-1].splitlines() == [
        "3 images: 1 could not be read, 1 with an obstacle, 1 without a known obstacle",
        "  not read           image     none.vhd",
        "  obstacle           1 failed  odd.vhd",
        "  no known obstacle            good.vhd",
    ]
    assert done.stderr.startswith("vhdfast: error: none.vhd: ")
    assert done.stderr.endswith(" [image]\n")


def test_nothing_stands_before_the_first_image(check: Check, images: dict[str, str]) -> None:
    done = check(images["missing"], images["missing"], images["obstacle"])
    assert done.stdout.startswith(images["obstacle"])


def test_quiet_prints_errors_alone(check: Check, images: dict[str, str]) -> None:
    done = check("-q", images["obstacle"], images["missing"])
    assert done.stdout == ""
    assert done.stderr.startswith("vhdfast: error: none.vhd: ")


def test_names_do_not_reach_the_terminal_as_they_are(check: Check, tmp_path: Path) -> None:
    name = "\x1b[2J\x9b.vhd"
    fixed(disk(20 * MIB + 512)).write(tmp_path / name)
    for env in ({}, {"FORCE_COLOR": "1"}):
        done = check(name, name, env=env)
        rest = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
        assert all(line.isprintable() for line in rest.split("\n"))
        assert "?[2J?.vhd: obstacle" in rest


# ---- colours ------------------------------------------------------------------------------------


def on_a_terminal(tmp_path: Path, *words: str, **environment: str) -> str:
    """What `vhdfast` prints where stdout is a terminal."""
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "vhdfast", *words], cwd=tmp_path, stdin=slave, stdout=slave,
            stderr=subprocess.PIPE, env={**os.environ, "TERM": "xterm", **environment},
        )  # fmt: skip
        os.close(slave)
        out = b""
        try:
            while chunk := os.read(master, 65536):
                out += chunk
        except OSError:  # EIO: the other side is closed
            pass
        process.communicate()
    finally:
        os.close(master)
    return out.decode()


@pytest.mark.parametrize(
    ("environment", "is_coloured"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({"FORCE_COLOR": "0"}, False),
    ],
)
def test_colours_on_a_terminal(
    images: dict[str, str], tmp_path: Path, environment: dict[str, str], is_coloured: bool
) -> None:
    out = on_a_terminal(tmp_path, "check", images["obstacle"], **environment)
    assert ("\x1b[1;31mobstacle\x1b[0m" in out) is is_coloured
    assert ("\x1b" in out) is is_coloured


@pytest.mark.parametrize(
    ("environment", "is_coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colours_in_a_pipe(
    check: Check, images: dict[str, str], environment: dict[str, str], is_coloured: bool
) -> None:
    done = check(images["obstacle"], env=environment)
    assert ("\x1b[1;31mobstacle\x1b[0m" in done.stdout) is is_coloured


def test_the_log_has_no_colours(check: Check, images: dict[str, str], tmp_path: Path) -> None:
    check("--log", "log", images["obstacle"], env={"FORCE_COLOR": "1"})
    log = (tmp_path / "log").read_text()
    assert "odd.vhd: obstacle\n" in log
    assert "\x1b" not in log


# ---- JSON ---------------------------------------------------------------------------------------


def test_json(check: Check, images: dict[str, str]) -> None:
    done = check("--json", "--select=whole-mib", images["obstacle"], images["missing"])
    document = json.loads(done.stdout)
    assert document["schema"] == "vhdfast.check/1"
    (image,) = document["images"]
    assert (image["path"], image["exit_code"]) == ("odd.vhd", 1)
    (finding,) = image["findings"]
    assert (finding["check"], finding["outcome"]) == ("whole-mib", "fail")
    assert finding["evidence"][0] == {
        "what": "virtual size", "found": "20972032", "expected": "22020096", "path": None,
        "offset": None,
    }  # fmt: skip
    (error,) = document["errors"]
    assert (error["path"], error["exit_code"]) == ("none.vhd", 4)
    assert document["exit_code"] == done.returncode == 4


def test_the_only_image_that_cannot_be_read_is_an_error(
    check: Check, images: dict[str, str]
) -> None:
    done = check("--json", images["missing"])
    assert json.loads(done.stdout)["schema"] == "vhdfast.error/1"
    assert done.returncode == 4


def test_list(check: Check) -> None:
    done = check("--list", "--select=whole-mib", "--select=tables")
    assert [re.sub(" +", " ", line) for line in done.stdout.splitlines()] == [
        "whole-mib error the virtual size is a whole number of MiB",
        "tables error every block of the disk lies where it may",
    ]
    document = json.loads(check("--list", "--json").stdout)
    assert document["schema"] == "vhdfast.checks/1"
    assert {check["id"] for check in document["checks"]} == set(CHECKS)


# ---- names on stdin -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [(["-"], "good.vhd\n\nodd.vhd\n"), (["-"], "good.vhd\nodd.vhd"),
     (["--null", "-"], "good.vhd\0odd.vhd\0")],
)  # fmt: skip
def test_names_from_stdin(
    check: Check, images: dict[str, str], options: list[str], text: str
) -> None:
    done = check("--json", *options, input=text)
    found = [image["path"] for image in json.loads(done.stdout)["images"]]
    assert found == ["good.vhd", "odd.vhd"]


@pytest.mark.parametrize(
    ("words", "text", "message"),
    [
        ([], "", "no image is named"),
        (["-"], "\n\n", "no image is named"),
        (["-"], "good.vhd\0odd.vhd\0", "holds a NUL; say --null"),
        (["-"], "x" * 70000, "more than 65536 bytes"),
        (["--null", "-"], "good.vhd\n" * 10000, "more than 65536 bytes"),
    ],
)
def test_names_that_are_none(check: Check, words: list[str], text: str, message: str) -> None:
    done = check(*words, input=text)
    assert done.returncode == 2
    assert message in done.stderr


def test_each_image_is_told_of_before_the_next_is_named(
    images: dict[str, str], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vhdfast", "check", "-"], cwd=tmp_path, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    with process:
        for name, verdict in (("good", "no known obstacle"), ("obstacle", "obstacle")):
            process.stdin.write(f"{images[name]}\n")
            process.stdin.flush()
            line = process.stdout.readline()
            while images[name] not in line:
                line = process.stdout.readline()
            assert line == f"{images[name]}: {verdict}\n"
        process.stdin.close()
        process.stdout.read()
    assert process.returncode == 1


# ---- reports ------------------------------------------------------------------------------------


def test_reports_of_all_forms(check: Check, images: dict[str, str], tmp_path: Path) -> None:
    names = [images[name] for name in ("good", "obstacle", "undecided", "missing")]
    done = check(
        "--report", "sarif=c.sarif", "--report=junit=c.xml", "--report=json=c.json", *names
    )
    assert done.returncode == 4
    assert "odd.vhd: obstacle" in done.stdout, "text comes all the same"
    log = json.loads((tmp_path / "c.sarif").read_text())
    check_log(log)
    (run,) = log["runs"]
    kinds = {(result["ruleId"], result["kind"]) for result in run["results"]}
    assert {("whole-mib", "fail"), ("os-disk-size", "open"), ("tables", "pass")} <= kinds
    assert run["invocations"][0]["exitCode"] == 4
    suites = ET.parse(tmp_path / "c.xml").getroot()
    counts = [(suite.get("name"), suite.get("failures"), suite.get("errors")) for suite in suites]
    assert counts == [
        ("good.vhd", "0", "0"), ("odd.vhd", "1", "0"), ("large.vhd", "0", "1"),
        ("none.vhd", "0", "1"),
    ]  # fmt: skip
    document = json.loads((tmp_path / "c.json").read_text())
    assert [image["path"] for image in document["images"]] == names[:3]


def test_a_report_on_stdout_stands_alone(check: Check, images: dict[str, str]) -> None:
    done = check("--report=junit=-", images["good"], images["obstacle"])
    assert len(ET.fromstring(done.stdout)) == 2
    assert done.returncode == 1


def test_a_single_image_that_cannot_be_read_is_reported(
    check: Check, images: dict[str, str], tmp_path: Path
) -> None:
    done = check("--report=sarif=c.sarif", images["missing"])
    assert done.returncode == 4
    log = json.loads((tmp_path / "c.sarif").read_text())
    check_log(log)
    assert len(log["runs"][0]["invocations"][0]["toolExecutionNotifications"]) == 1


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--report=sarif"], 2, "no FORM=FILE"),
        (["--report=sarif="], 2, "no FORM=FILE"),
        (["--report=pdf=x"], 2, "no form of report 'pdf'; one of: json, junit, sarif"),
        (["--report=sarif=-", "--report=junit=-"], 2, "cannot both go to stdout"),
        (["--report=sarif=-", "--json"], 2, "cannot both go to stdout"),
        (["--report=sarif=x", "--report=junit=./x"], 2, "cannot both go to ./x"),
        (["--report=sarif=x", "--list"], 2, "--list checks nothing"),
        (["--report=sarif=good.vhd"], 6, "no sarif report that could be replaced"),
        (["--report=sarif=none/x"], 5, "No such file or directory"),
        (["--report=sarif=directory"], 5, "no such file"),
    ],
)
def test_reports_that_cannot_be(
    check: Check, images: dict[str, str], tmp_path: Path, options: list[str], code: int,
    message: str,
) -> None:  # fmt: skip
    before = sorted(os.listdir(tmp_path))
    done = check(*options, images["good"])
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert sorted(os.listdir(tmp_path)) == before


def test_a_report_never_replaces_what_is_checked(check: Check, tmp_path: Path) -> None:
    """Not even a disk that begins as a report does."""
    made = disk()
    made.put(0, b'{"schema": "vhdfast.check/1"'.ljust(512))
    made.write(tmp_path / "disk.raw")
    before = (tmp_path / "disk.raw").read_bytes()
    done = check("--report=json=disk.raw", "-", input="disk.raw\n")
    assert (done.returncode, "would replace an image" in done.stderr) == (2, True)
    assert (tmp_path / "disk.raw").read_bytes() == before
    assert os.listdir(tmp_path) == ["disk.raw"]


def test_reports_are_written_though_nobody_reads_the_text(
    images: dict[str, str], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vhdfast", "check", "--report=json=c.json", "-"], cwd=tmp_path,
        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate("good.vhd\nodd.vhd\n")
    assert (process.returncode, stderr) == (1, "")
    assert len(json.loads((tmp_path / "c.json").read_text())["images"]) == 2


def test_a_run_that_is_stopped_leaves_no_report(images: dict[str, str], tmp_path: Path) -> None:
    before = sorted(os.listdir(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-m", "vhdfast", "check", "--report=json=c.json", "-"], cwd=tmp_path,
        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("good.vhd\n")
    process.stdin.flush()
    assert process.stdout.readline() == "good.vhd: no known obstacle\n"
    assert len(os.listdir(tmp_path)) == len(before) + 1, "the report under its temporary name"
    process.terminate()
    process.communicate()
    assert process.returncode == 143
    assert sorted(os.listdir(tmp_path)) == before


# ---- settings -----------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(
        '[check]\nselect = ["whole-mib", "footer-*"]\nignore = ["footer-unique-id"]\n'
        '[[check.grade]]\nid = "whole-mib"\nseverity = "note"\nreason = "our importer rounds"\n'
        '[[check.grade]]\nid = "footer-timestamp"\nseverity = "off"\nreason = "clocks drift"\n'
    )
    return path


def checked(run: Check, *words: Any) -> tuple[int, dict[str, Any]]:
    done = run("--json", *words)
    (image,) = json.loads(done.stdout)["images"]
    return done.returncode, {finding["check"]: finding for finding in image["findings"]}


def test_a_file_grades_checks(check: Check, images: dict[str, str], config: Path) -> None:
    code, findings = checked(check, "--config", config, images["obstacle"])
    assert code == 0
    assert findings["whole-mib"]["severity"] == "note"
    assert findings["whole-mib"]["graded"] == "our importer rounds"
    assert findings["footer-timestamp"]["outcome"] == "skipped"
    assert findings["footer-timestamp"]["graded"] == "clocks drift"
    assert "footer-unique-id" not in findings and "tables" not in findings
    done = check("--config", config, images["obstacle"])
    assert "      graded as a note: our importer rounds" in done.stdout.splitlines()


def test_a_note_can_be_graded_up(check: Check, images: dict[str, str], tmp_path: Path) -> None:
    text = '[[check.grade]]\nid = "footer-unique-id"\nseverity = "error"\nreason = "ours"\n'
    (tmp_path / "site.toml").write_text(text)
    code, findings = checked(check, "--config=site.toml", images["warning"])
    assert (code, findings["footer-unique-id"]["severity"]) == (1, "error")


def test_what_convert_cures_stays_a_note(
    check: Check, images: dict[str, str], tmp_path: Path
) -> None:
    text = '[[check.grade]]\nid = "fixed-vhd"\nseverity = "error"\nreason = "ours"\n'
    (tmp_path / "site.toml").write_text(text)
    code, findings = checked(check, "--config=site.toml", images["source"])
    assert (code, findings["fixed-vhd"]["severity"]) == (0, "note")


def test_options_go_before_the_file(
    check: Check, images: dict[str, str], config: Path, tmp_path: Path
) -> None:
    _, findings = checked(
        check, "--config", config, "--select=footer-*", "--ignore=footer-type",
        images["good"],
    )  # fmt: skip
    assert "whole-mib" not in findings, "--select replaces"
    assert not {"footer-type", "footer-unique-id"} & set(findings), "--ignore adds"
    (tmp_path / "data.toml").write_text('[check]\nrole = "data"\n')
    assert checked(check, "--config=data.toml", images["undecided"])[0] == 0
    assert checked(check, "--config=data.toml", "--role=os", images["undecided"])[0] == 3


def test_nothing_is_read_that_is_not_named(
    check: Check, images: dict[str, str], tmp_path: Path
) -> None:
    for name in ("vhdfast.toml", ".vhdfast.toml", "pyproject.toml"):
        (tmp_path / name).write_text("this is no TOML")
    assert status(check, images, "good") == 0


def test_a_mistake_in_the_file_is_a_wrong_command_line(
    check: Check, images: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "site.toml").write_text('[check]\nrole = "boss"\n')
    done = check("--config=site.toml", images["good"])
    assert done.returncode == 2
    assert "site.toml: line 2: role is 'boss'; one of: os, data, auto" in done.stderr


# ---- progress -----------------------------------------------------------------------------------


def test_the_walk_through_the_map_is_told_of(check: Check, images: dict[str, str]) -> None:
    done = check("--progress=json", images["source"])
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["phase"] for line in lines} == {"checking"}
    assert (lines[0]["done"], lines[0]["total"]) == (0, 32 * MIB)
    assert (lines[-1]["done"], lines[-1]["finished"]) == (32 * MIB, True)
