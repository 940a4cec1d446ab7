"""What every test may use: a clean environment, runners, and the prerequisites it declares."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .support import corpus

ROOT = Path(__file__).resolve().parent.parent

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's environment decides what vhdfast writes or prints."""
    for name in ("SOURCE_DATE_EPOCH", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "VHDFAST_QEMU_IMG",
                 "VHDFAST_QEMU_IMG_VERBOSE", "POSIXLY_CORRECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture(autouse=True, scope="session")
def signals_reach_children() -> None:
    """A shell starts what runs in the background with SIGINT ignored, which children inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def vhdfast_cli(tmp_path: Path) -> Run:
    """vhdfast as a process of its own, in the test's directory."""

    def run(*words: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vhdfast", *map(str, words)]
        options: dict[str, object] = {"cwd": tmp_path, "capture_output": True, "text": True}
        return subprocess.run(command, **{**options, **kwargs})  # type: ignore[call-overload]

    return run


@pytest.fixture
def qemu_img() -> Callable[..., str]:
    """qemu-img, the oracle: qemu_img("convert", …) returns its output, fails where it fails."""
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is not installed (apt install qemu-utils)")

    def run(*words: object) -> str:
        done = subprocess.run(
            ["qemu-img", *map(str, words)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A raw disk of 5 MiB + 512 bytes: an MBR, two islands of data, stored zeros, holes."""
    path = tmp_path / "disk.raw"
    path.write_bytes(b"")
    with open(path, "r+b") as file:
        file.truncate(5 * 1024 * 1024 + 512)
        mbr = bytearray(512)
        mbr[446:462] = bytes([0x80, 0, 0, 0, 0x83, 0, 0, 0, 8, 0, 0, 0, 0, 32, 0, 0])
        mbr[510:512] = b"\x55\xaa"
        file.write(mbr)
        file.seek(1024 * 1024)
        file.write(bytes(range(1, 256)) * 1000)
        file.seek(3 * 1024 * 1024 + 4096)
        file.write(bytes(128 * 1024))
        file.seek(5 * 1024 * 1024)
        file.write(b"the end".ljust(512, b"!"))
    return path


def pytest_report_header() -> list[str]:
    tools = ("qemu-img", "mkfs.ext4", "aarch64-linux-gnu-gcc", "qemu-aarch64")
    found = ", ".join(f"{tool}: {'yes' if shutil.which(tool) else 'no'}" for tool in tools)
    index = corpus.home() / "INDEX.tsv"
    real = f"real images: {corpus.home() if index.exists() else 'none, their tests are skipped'}"
    return [f"found: {found}", real]
