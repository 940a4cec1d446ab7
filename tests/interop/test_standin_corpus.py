"""Real images: what the stand-in serves alone, asking nobody, qemu-img reads to the same bytes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import MIB, corpus
from tests.support.standin import HANDED_OVER, answer

pytestmark = pytest.mark.corpus

Qemu = Callable[..., str]
SMALL = [
    row
    for row in corpus.rows("vpc", "vhdx", "qcow2", "qcow", "vmdk", "vdi", "parallels")
    if int(row["virtual_size"] or 1 << 62) <= 12 * MIB
]


@pytest.mark.parametrize("row", SMALL, ids=lambda row: f"{row['id']}-{row['format']}")
def test_it_never_reads_other_bytes(row: dict[str, str], tmp_path: Path, qemu_img: Qemu) -> None:
    source = corpus.unpacked() / row["local_file"]
    words = ("convert", "-f", row["format"], "-O", "raw", source)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    status, reason = answer(None, *words, ours)
    if status == HANDED_OVER:
        assert reason and not ours.exists()
        return
    assert status == 0
    qemu_img(*words, theirs)
    assert ours.stat().st_size == theirs.stat().st_size
    subprocess.run(["cmp", ours, theirs], check=True)


def test_most_of_them_are_served(tmp_path: Path) -> None:
    folder = corpus.unpacked()
    served = [
        answer(None, "convert", "-f", row["format"], "-O", "raw",
               folder / row["local_file"], tmp_path / row["id"])[0] == 0
        for row in SMALL
        if row["format"] in ("vhdx", "qcow2", "vdi")
    ]  # fmt: skip
    assert sum(served) > len(served) / 2
