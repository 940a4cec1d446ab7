"""Real images by other products, against digests that independent readers agree on."""

from __future__ import annotations

from pathlib import Path

import pytest

import vhdfast
from tests.support import corpus
from vhdfast.errors import ImageError

ROWS = corpus.rows("vpc", "vhdx", "vdi", "parallels", "qcow2", "qcow")
REFUSED = ("c0046", "c0054", "c0096")
READABLE = [row for row in ROWS if row["id"] not in REFUSED]
pytestmark = pytest.mark.corpus


def _id(row: dict[str, str]) -> str:
    return f"{row['id']}-{Path(row['local_file']).name}"


@pytest.mark.parametrize("row", READABLE, ids=_id)
def test_content_is_what_independent_readers_read(row: dict[str, str], tmp_path: Path) -> None:
    source = corpus.unpacked() / row["local_file"]
    before = source.stat()
    target = tmp_path / "out.vhd"

    result = vhdfast.convert(source, target)

    assert result.plan.source_size == int(row["virtual_size"])
    assert result.plan.target_size % (1 << 20) == 0
    assert target.stat().st_size == result.plan.target_size + 512
    digest = corpus.digest_of_fixed_vhd(target, int(row["virtual_size"]))
    assert digest == row["nz64k_sha256"]
    after = source.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


OTHERS = corpus.rows("vmdk")


@pytest.mark.parametrize("row", OTHERS, ids=_id)
def test_other_formats_never_pass_for_a_raw_disk(row: dict[str, str]) -> None:
    with pytest.raises(ImageError):
        vhdfast.open_image(corpus.unpacked() / row["local_file"])
