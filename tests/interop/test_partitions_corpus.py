"""Partition tables of real images, against what blkid said of them."""

from __future__ import annotations

import re

import pytest

import vhdfast
from tests.support import corpus
from vhdfast.guest.partitions import read_partitions

PARTS = re.compile(r"PTTYPE=(dos|gpt) \| parts ([^|]+?)(?: \||$)")
ROWS = [(row, found) for row in corpus.rows("raw") if (found := PARTS.search(row["feature"]))]
pytestmark = pytest.mark.corpus

BSD = "0xa5"  # blkid numbers what a BSD label in it holds; those are no partitions of the table


@pytest.mark.parametrize(
    ("row", "found"), ROWS, ids=lambda v: v["id"] if isinstance(v, dict) else ""
)
def test_partitions_are_those_that_blkid_sees(row: dict[str, str], found: re.Match[str]) -> None:
    listed = (part.split() for part in found[2].split(";"))
    said = [part for part in listed if len(part) == 4]  # the index cuts a long line
    if any(part[3] == BSD for part in said):
        said = [part for part in said if int(part[0]) <= 4]
    with vhdfast.open_image(corpus.unpacked() / row["local_file"], "raw") as image:
        table = read_partitions(image.pread, image.virtual_size, image.sector_size)
    assert table is not None
    assert table.scheme == {"dos": "mbr", "gpt": "gpt"}[found[1]]
    assert [
        (p.number, p.offset // 512, int(p.type, 16) if table.scheme == "mbr" else p.type)
        for p in table.partitions[: len(said)]
    ] == [
        (int(n), int(start), int(kind, 16) if table.scheme == "mbr" else kind)
        for n, start, _, kind in said
    ]
    # blkid gives an extended partition two sectors, as Linux does.
    assert [p.length // 512 for p in table.partitions[: len(said)] if not p.is_extended] == [
        int(count)
        for p, (_, _, count, _) in zip(table.partitions, said, strict=False)
        if not p.is_extended
    ]
