"""What the tests of repairs share: a VHD, its repair, and proof that a refused one is untouched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import SparseFile, build_vhd
from vhdfast import in_place
from vhdfast.errors import VhdfastError

Refused = Callable[..., VhdfastError]


def digest(path: Path) -> tuple[str, int, list[str]]:
    """All of a file, its time, and the names beside it."""
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    return content, path.stat().st_mtime_ns, sorted(os.listdir(path.parent))


def fields(path: Path) -> dict[str, int]:
    """The fields of the footer in the last 512 bytes, as numbers; its checksum must be right."""
    data = path.read_bytes()[-512:]
    assert data == build_vhd.with_checksum(data, 64)
    return {
        name: int.from_bytes(data[at : at + size], "big")
        for name, (at, size) in build_vhd.FOOTER_FIELDS.items()
    }


def codes(path: Path, **options: Any) -> list[tuple[str, bool]]:
    """What a dry run finds, and whether it would be repaired; the dry run changes nothing."""
    before = digest(path)
    plan = in_place.plan_repair(path, **options)
    assert digest(path) == before
    return [(finding.code, finding.repaired) for finding in plan.findings]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[SparseFile], Path]:
    return lambda image: image.write(tmp_path / "disk.vhd")


@pytest.fixture
def refused() -> Refused:
    """refused(path, kind, text, **options): neither planned nor done, and the file is as it was."""

    def check(path: Path, kind: type[VhdfastError], text: str, **options: Any) -> VhdfastError:
        before = digest(path)
        for act in (in_place.plan_repair, in_place.repair):
            with pytest.raises(kind, match=text) as caught:
                act(path, **options)
            assert type(caught.value) is kind
            assert digest(path) == before
        return caught.value

    return check
