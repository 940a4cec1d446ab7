"""Checks of real images: what converts with its digest must not be called an obstacle."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.interop.test_corpus import CONTAINERS, RAW, READABLE
from tests.support import corpus
from vhdfast import api
from vhdfast.checks import CheckOptions, Outcome, Selection
from vhdfast.checks.refcounts import count_references
from vhdfast.formats.qcow2 import Qcow2Image
from vhdfast.image import open_image

pytestmark = pytest.mark.corpus

# What is no defect of the image: small and large samples, and tables for other sectors.
NOT_OF_THE_IMAGE = ("size-limits", "os-disk-size", "sector-size")
# First sectors of disks, without the partitions that their tables name; and kernels whose boot
# sector reads as an MBR (the index says so).
CUT = {"c0271", "c0272", "c0274", "c0410", "c0659", "c0661"}


def _id(row: dict[str, str]) -> str:
    return f"{row['id']}-{Path(row['local_file']).name}"


def obstacles(row: dict[str, str]) -> dict[str, str]:
    """{check: what it says} of what Azure would refuse, once converted."""
    checked = api.check(
        corpus.unpacked() / row["local_file"],
        from_format="raw" if row["format"] == "raw" else None,
        options=CheckOptions(as_is=False),
        selection=Selection(ignore=NOT_OF_THE_IMAGE),
    )
    found = [*checked.obstacles, *checked.undecided]
    return {finding.check: finding.message for finding in found}


@pytest.mark.parametrize("row", [*READABLE, *RAW], ids=_id)
def test_what_converts_has_no_obstacle(row: dict[str, str]) -> None:
    found = obstacles(row)
    if row["id"] in CUT:
        assert set(found) == {"partitions-fit"}
    else:
        assert found == {}


# The files that these name are not in the collection, or they are encrypted.
ALONE = {"c0043", "c0046", "c0054"}
QCOW2 = [row for row in CONTAINERS if row["format"] == "qcow2" and row["id"] not in ALONE]


@pytest.mark.parametrize("row", QCOW2, ids=_id)
def test_refcounts_are_those_that_qemu_counts(row: dict[str, str], qemu_img: object) -> None:
    path = corpus.unpacked() / row["local_file"]
    if row["qemu_img_check"] != "clean":  # its snapshot table ends behind the file
        (finding,) = api.check(path, selection=Selection(["qcow2-leaks"])).findings
        assert finding.outcome is Outcome.UNKNOWN
        return
    done = subprocess.run(
        ["qemu-img", "check", "-f", "qcow2", "--output=json", path], capture_output=True, text=True
    )
    said = json.loads(done.stdout)
    with open_image(path, "qcow2") as image:
        assert isinstance(image.layer, Qcow2Image)
        counts = count_references(image.layer)
    assert counts.leaks.count == said.get("leaks", 0)
    corruptions = counts.shortages.count + counts.copied.count + counts.misplaced.count
    assert corruptions == said.get("corruptions", 0)
