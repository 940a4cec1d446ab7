"""A disk in more files than a process may usually have open."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support.build_vmdk import write_descriptor
from vhdfast import open_image
from vhdfast.errors import ImageError

PARTS = 300


@pytest.fixture
def split_disk(tmp_path: Path) -> Path:
    for index in range(PARTS):
        (tmp_path / f"p{index}").write_bytes(bytes([index % 255 + 1]) * 512)
    lines = [f'RW 1 FLAT "p{index}" 0' for index in range(PARTS)]
    return write_descriptor(tmp_path / "disk.vmdk", lines)


def test_the_command_line_raises_the_soft_limit(split_disk: Path, vhdfast_cli: Run) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))

    done = vhdfast_cli("convert", "-q", "disk.vmdk", "out.raw", "--to=raw", preexec_fn=few_files)
    assert (done.returncode, done.stderr) == (0, "")
    written = (split_disk.parent / "out.raw").read_bytes()
    assert written == b"".join(bytes([i % 255 + 1]) * 512 for i in range(PARTS))


def test_the_library_leaves_the_limit_alone_and_says_what_to_do(split_disk: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        with pytest.raises(ImageError, match="Too many open files.*ulimit -n"):
            open_image(split_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
