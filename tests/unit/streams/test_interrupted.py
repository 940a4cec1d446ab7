"""Ctrl-C while a stream is read that gives nothing for a long time."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import MIB
from tests.support.build_streams import PACKERS, SUFFIXES

TIB = 1 << 40
SKIPPED = 4 << 30  # with the frame's header
SKIPPABLE = struct.pack("<II", 0x184D2A50, SKIPPED - 8)

# What lies before a terabyte of nothing, all of which must be looked at. (gzip and xz streams may
# have 64 MiB of zeros behind them, and are refused at once where there are more.)
LONG = {
    "bzip2": 2 * PACKERS["bzip2"](bytes(MIB)),
    "zstd": PACKERS["zstd"](bytes(MIB)),
}


@pytest.mark.parametrize("kind", sorted(LONG))
def test_a_long_nothing_is_left_at_once(kind: str, tmp_path: Path) -> None:
    source = tmp_path / f"disk.raw{SUFFIXES[kind]}"
    source.write_bytes(LONG[kind])
    os.truncate(source, TIB)
    if kind == "zstd":
        with open(source, "r+b") as file:
            for at in range(len(LONG[kind]), TIB, SKIPPED):
                os.pwrite(file.fileno(), SKIPPABLE, at)
    command = [sys.executable, "-m", "vhdfast", "convert", source, tmp_path / "x.vhd"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            time.sleep(2)
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            process.wait(timeout=5)
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.stderr.read() == "vhdfast: stopped by SIGINT\n"
    assert process.returncode == 130
    assert sorted(tmp_path.iterdir()) == [source, tmp_path / "spool"]
