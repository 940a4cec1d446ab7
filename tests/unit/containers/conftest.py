"""What the tests of containers share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import MIB, SparseFile
from vhdfast.errors import VhdfastError
from vhdfast.image import open_image


def open_files() -> set[str]:
    """The files that this process has open, by their names."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return found


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., VhdfastError]:
    """refused(kind, file or path, *fragments, name=, offset=, **options of open_image)."""

    def check(
        kind: type[VhdfastError],
        file: SparseFile | Path,
        *fragments: str,
        name: str = "disks.ova",
        offset: int | None = None,
        **options: Any,
    ) -> VhdfastError:
        path = file if isinstance(file, Path) else file.write(tmp_path / name)
        with pytest.raises(kind) as caught:
            open_image(path, **options)
        error = caught.value
        assert type(error) is kind
        for fragment in fragments:
            assert fragment in str(error)
        if offset is not None:
            assert error.offset == offset
        assert not {name for name in open_files() if name.startswith(str(tmp_path))}
        return error

    return check


@pytest.fixture
def raw_disk() -> bytes:
    """A raw disk of 1 MiB with a partition table."""
    disk = bytearray(MIB)
    disk[446:462] = bytes([0x80, 0, 0, 0, 0x83, 0, 0, 0, 8, 0, 0, 0, 0, 4, 0, 0])
    disk[510:512] = b"\x55\xaa"
    disk[4096:4100] = b"here"
    return bytes(disk)
