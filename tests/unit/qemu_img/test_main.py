"""Serving or handing over: what decides, and what is said about it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import MIB, pattern
from tests.support.standin import install
from vhdfast.errors import CorruptImageError
from vhdfast.qemu_img import main as main_module
from vhdfast.qemu_img.main import main
from vhdfast.qemu_img.real import HandOver, NoRealError, become, find_real


class Became(Exception):
    """The real one was started."""


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> str:
    """A real qemu-img that is not started, but told of."""

    def become(real: str, words: Sequence[str]) -> None:
        raise Became(real, *words)

    monkeypatch.setattr(main_module, "find_real", lambda: "/x/qemu-img")
    monkeypatch.setattr(main_module, "become", become)
    return "/x/qemu-img"


@pytest.mark.parametrize(
    "failure",
    [HandOver("no"), CorruptImageError("bad"), OSError("odd"), RuntimeError("no threads"),
     MemoryError()],
    ids=lambda failure: type(failure).__name__,
)  # fmt: skip
def test_whatever_goes_wrong_is_handed_over(
    failure: Exception, real: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(words: object, real: object) -> int:
        raise failure

    monkeypatch.setattr(main_module, "serve", fail)
    with pytest.raises(Became) as became:
        main(["convert", "a", "b"])
    assert became.value.args == (real, "convert", "a", "b")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(main_module, "find_real", lambda: None)
    assert main(["convert", "a", "b"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("qemu-img: ")


@pytest.mark.parametrize(("value", "is_told"), [("1", True), ("yes", True), ("0", False)])
def test_the_variable_decides_whether_it_is_told(
    value: str, is_told: bool, real: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("VHDFAST_QEMU_IMG_VERBOSE", value)
    with pytest.raises(Became):
        main(["info", "disk"])
    assert capsys.readouterr().err.startswith("vhdfast-qemu-img: handed over") is is_told


def test_its_own_option_is_not_passed_on(real: str) -> None:
    with pytest.raises(Became) as became:
        main(["--vhdfast-verbose", "--vhdfast-verbose", "info", "--vhdfast-verbose"])
    assert became.value.args == (real, "info", "--vhdfast-verbose")


def test_a_real_one_that_cannot_be_started_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "qemu-img"
    broken.write_bytes(b"\x7fELF, but not really")
    broken.chmod(0o755)
    monkeypatch.setenv("VHDFAST_QEMU_IMG", str(broken))
    (tmp_path / "disk").write_bytes(pattern(1, MIB))
    for words in (["info", "disk"], ["convert", str(tmp_path / "disk"), str(tmp_path / "out")]):
        assert main(words) == 1
        assert (
            capsys.readouterr().err == f"qemu-img: {broken} cannot be started: Exec format error\n"
        )
    assert not (tmp_path / "out").exists()


def test_a_pipe_that_breaks_kills_nobody_after_a_failed_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGPIPE)
    broken = tmp_path / "qemu-img"
    broken.write_bytes(b"no program")
    with pytest.raises(NoRealError):
        become(str(broken), ["info"])
    assert before is signal.SIG_IGN
    assert signal.getsignal(signal.SIGPIPE) is before


# ---- finding it ---------------------------------------------------------------------------------


def program(directory: Path, text: str = "#!/bin/sh\n") -> Path:
    directory.mkdir()
    path = directory / "qemu-img"
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_first_on_path_that_is_not_the_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "ours")
    program(tmp_path / "script", "#!/bin/sh\nexec vhdfast-qemu-img --vhdfast-verbose\n")
    program(tmp_path / "dead").chmod(0o644)
    (tmp_path / "folder" / "qemu-img").mkdir(parents=True)
    wanted = program(tmp_path / "wanted")
    program(tmp_path / "later")
    names = ("ours", "script", "dead", "folder", "missing", "wanted", "later")
    monkeypatch.setenv("PATH", ":".join(str(tmp_path / name) for name in names))
    assert find_real() == str(wanted)
    monkeypatch.setenv("PATH", str(tmp_path / "ours"))
    assert find_real() is None
    monkeypatch.setenv("VHDFAST_QEMU_IMG", "")
    assert find_real() is None


def test_it_is_told_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = program(tmp_path / "ours", "a program of any kind")
    (tmp_path / "link").symlink_to(ours)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "link")])
    monkeypatch.setenv("PATH", str(tmp_path / "ours"))
    assert find_real() is None


def test_being_started_in_its_place_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VHDFAST_QEMU_IMG_STARTED", "1")
    with pytest.raises(NoRealError):
        find_real()
