"""Real images by other products, against digests that independent readers agree on."""

from __future__ import annotations

from pathlib import Path

import pytest

import vhdfast
from tests.support import corpus
from vhdfast.errors import (
    ImageError,
    InvalidImageError,
    MissingReferenceError,
    UnknownFormatError,
    UnsupportedImageError,
)

pytestmark = pytest.mark.corpus

CONTAINERS = corpus.rows("vpc", "vhdx", "qcow2", "qcow", "vmdk", "vdi", "parallels")

# What the index says must be refused: the error, and what its message names.
REFUSED: dict[str, tuple[type[ImageError], str]] = {
    "c0046": (UnsupportedImageError, "encrypted"),
    "c0054": (MissingReferenceError, "cirros.raw"),
    "c0096": (MissingReferenceError, "parent"),
    "c0123": (MissingReferenceError, "extent"),
    "c0128": (InvalidImageError, "the capacity is 2233785398448881665 sectors"),
    "c0140": (UnsupportedImageError, "fullDevice"),
    "c0147": (InvalidImageError, "the grain size is 1025"),
    "c0152": (InvalidImageError, "there is no descriptor here"),
}
READABLE = [row for row in CONTAINERS if row["id"] not in REFUSED]


def _id(row: dict[str, str]) -> str:
    return f"{row['id']}-{Path(row['local_file']).name}"


@pytest.mark.parametrize("row", READABLE, ids=_id)
def test_content_is_what_independent_readers_read(row: dict[str, str], tmp_path: Path) -> None:
    source = corpus.unpacked() / row["local_file"]
    before = source.stat()
    target = tmp_path / "out.vhd"

    result = vhdfast.convert(source, target, verify_copy=True)

    # The index leaves the size out where only one reader reads the image; the digest holds it.
    size = int(row["virtual_size"] or result.plan.source_size)
    assert result.plan.source_size == size
    assert result.plan.target_size % (1 << 20) == 0
    assert target.stat().st_size == result.plan.target_size + 512
    digest = corpus.digest_of_fixed_vhd(target, size)
    assert digest == row["nz64k_sha256"]
    after = source.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


@pytest.mark.parametrize(
    "row", [row for row in CONTAINERS if row["id"] in REFUSED], ids=_id
)
def test_what_must_be_refused_is_refused_for_its_reason(
    row: dict[str, str], tmp_path: Path
) -> None:
    kind, fragment = REFUSED[row["id"]]
    with pytest.raises(kind, match=fragment) as caught:
        vhdfast.convert(corpus.unpacked() / row["local_file"], tmp_path / "out.vhd")
    assert type(caught.value) is kind
    assert caught.value.path is not None
    assert list(tmp_path.iterdir()) == []


RAW = corpus.rows("raw")


@pytest.mark.parametrize("row", RAW, ids=_id)
def test_raw_disks_are_raw_or_asked_about(row: dict[str, str]) -> None:
    """None of them passes for another format; what shows nothing of a disk is not guessed at."""
    path = corpus.unpacked() / row["local_file"]
    try:
        with vhdfast.open_image(path) as image:
            found = image.info().format
    except UnknownFormatError as error:
        assert error.hint is not None and "--from raw" in error.hint
        return
    except UnsupportedImageError as error:
        assert (row["id"], "bochs" in error.message) == ("c0231", True)
        return
    assert found == "raw"
