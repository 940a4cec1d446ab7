"""Real images in streams, against the digests that independent readers agree on for them bare."""

from __future__ import annotations

from pathlib import Path

import pytest

import vhdfast
from tests.support import corpus
from tests.support.build_streams import PACKERS, SUFFIXES

ROWS = [
    row
    for row in corpus.rows("vpc", "vhdx")
    if row["subformat"] != "differencing" and int(row["file_size"]) < 16 << 20
][:8]
CASES = [(row, kind) for index, row in enumerate(ROWS) for kind in sorted(PACKERS)[index % 2 :: 2]]
pytestmark = pytest.mark.corpus


@pytest.mark.parametrize(("row", "kind"), CASES, ids=lambda v: v if isinstance(v, str) else v["id"])
def test_content_is_what_independent_readers_read(
    row: dict[str, str], kind: str, tmp_path: Path
) -> None:
    bare = corpus.unpacked() / row["local_file"]
    source = tmp_path / (bare.name + SUFFIXES[kind])
    source.write_bytes(PACKERS[kind](bare.read_bytes()))
    target = tmp_path / "out.vhd"

    result = vhdfast.convert(source, target)

    assert (result.plan.stream, result.plan.source_size) == (kind, int(row["virtual_size"]))
    digest = corpus.digest_of_fixed_vhd(target, int(row["virtual_size"]))
    assert digest == row["nz64k_sha256"]
    assert sorted(tmp_path.iterdir()) == sorted([source, target])
