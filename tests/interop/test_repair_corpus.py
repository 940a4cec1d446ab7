"""Real VHDs: what is right is left alone, what is repaired reads the same, and undo restores it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.support import corpus
from vhdfast import in_place
from vhdfast.errors import UnsupportedImageError
from vhdfast.image import open_image

ROWS = [row for row in corpus.rows("vpc") if int(row["file_size"]) < 64 << 20]
# What is really wrong with some of them.
FOUND = {
    "c0187": ["geometry"],  # mkimg gives 1/255/63 whatever the size
    "c0206": ["unique-id"],
    "c0211": ["footer-checksum", "footer-checksum"],
}


def read_digest(path: Path, size: int) -> str:
    with open_image(path) as image:
        return hashlib.sha256(image.pread(0, min(size, 16 << 20))).hexdigest()


@pytest.mark.corpus
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_real_vhds(row: dict[str, str], tmp_path: Path) -> None:
    source = corpus.unpacked() / row["local_file"]
    plan = in_place.plan_repair(source)
    assert [finding.code for finding in plan.findings] == FOUND.get(row["id"], [])
    if plan.change is None:
        return
    path = tmp_path / "disk.vhd"
    shutil.copyfile(source, path)
    content = read_digest(path, plan.old_size)
    in_place.repair(path)
    assert read_digest(path, plan.old_size) == content
    with open_image(path) as image:
        # Of a dynamic disk the size stays what it is.
        assert {notice.code for notice in image.notices} <= {"qemu-chs-size"}
    in_place.undo(path)
    assert path.read_bytes() == source.read_bytes()


@pytest.mark.corpus
@pytest.mark.parametrize("row", corpus.rows("qcow2", "vmdk", "vdi", "vhdx")[::7],
                         ids=lambda row: row["id"])  # fmt: skip
def test_other_real_images_are_left_alone(row: dict[str, str]) -> None:
    with pytest.raises(UnsupportedImageError, match="only VHDs are repaired"):
        in_place.plan_repair(corpus.unpacked() / row["local_file"])
