"""Files of reports: whole or not there, and in nobody's place."""

from __future__ import annotations

import os
import resource
import stat
import threading
from pathlib import Path

import pytest

from tests.support.findings import image, run_of
from vhdfast.errors import TargetExistsError, UsageError, WriteError
from vhdfast.report import REPORTS, Report, form_names, report_of
from vhdfast.report.writing import ReportFile


def write(path: Path | str, form: str = "json", images: int = 1) -> None:
    with ReportFile(report_of(form), str(path), run_of()) as report:
        report.begin()
        for _ in range(images):
            report.image(image())
        report.publish(0)


def test_forms_are_found_by_their_files() -> None:
    assert form_names() == ["json", "junit", "sarif"]
    for name in form_names():
        assert report_of(name).name == name


def test_there_is_no_other_form() -> None:
    with pytest.raises(UsageError, match="no form of report 'pdf'") as caught:
        report_of("pdf")
    assert caught.value.hint == "one of: json, junit, sarif"


def test_two_forms_of_one_name_refuse_to_load() -> None:
    kind = report_of("json")
    with pytest.raises(TypeError, match="two reports call themselves 'json'"):
        type("Other", (Report,), {"name": "json", "marker": b""})
    assert REPORTS["json"] is kind


def test_a_report_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "check.json"
    with ReportFile(report_of("json"), str(path), run_of()) as report:
        report.begin()
        report.image(image())
        assert not path.exists()
        report.publish(0)
    assert path.read_text().endswith("}\n")
    assert os.listdir(tmp_path) == ["check.json"]


def test_one_that_is_not_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "check.json"
    write(path)
    before = path.read_bytes()
    with ReportFile(report_of("json"), str(path), run_of()) as report:
        report.begin()
        report.image(image(path="new"))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["check.json"]


@pytest.mark.parametrize("form", ["json", "junit", "sarif"])
def test_a_report_of_the_same_form_is_replaced(tmp_path: Path, form: str) -> None:
    path = tmp_path / "check"
    write(path, form)
    small = path.stat().st_size
    write(path, form, images=3)
    assert path.stat().st_size > small


def test_an_empty_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "check.json"
    path.touch()
    write(path)
    assert path.stat().st_size


@pytest.mark.parametrize("content", [b"conectix", b'{"name": 1}', b"\0" * 1024])
def test_anything_else_is_not(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "disk"
    path.write_bytes(content)
    with pytest.raises(TargetExistsError, match="no json report") as caught:
        write(path)
    assert caught.value.path == str(path)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["disk"]


def test_a_link_leads_to_what_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("real.json")
    write(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").stat().st_size


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="no such file"):
        write(tmp_path)


def test_a_directory_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="No such file or directory"):
        ReportFile(report_of("json"), str(tmp_path / "none" / "check.json"), run_of())


def test_a_disk_that_is_full_is_a_typed_error() -> None:
    with pytest.raises(WriteError, match="No space left on device") as caught:
        write("/dev/full")
    assert caught.value.path == "/dev/full"
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path: Path) -> None:
    """What the buffer still holds is refused a second time where the file is closed."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(WriteError, match="the report cannot be written: File too large"):
            write(tmp_path / "check.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


def test_a_pipe_gets_the_report_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    write(path)
    reader.join()
    assert got[0].startswith(b'{\n  "schema": "vhdfast.check/1"')


def test_a_descriptor_of_a_pipe_gets_it_too() -> None:
    """As a shell's >(command) names it."""
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as reader:
        write(f"/dev/fd/{write_end}")
        os.close(write_end)
        assert reader.read().endswith(b"}\n")


def test_it_knows_the_file_that_it_would_replace(tmp_path: Path) -> None:
    (tmp_path / "disk").touch()
    (tmp_path / "link").symlink_to("disk")
    with ReportFile(report_of("json"), str(tmp_path / "disk"), run_of()) as report:
        assert report.is_file(str(tmp_path / "link"))
        assert not report.is_file(str(tmp_path / "other"))
        assert not report.is_file("a\0b")
