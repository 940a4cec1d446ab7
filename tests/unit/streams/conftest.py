"""What the tests of streams share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import vhdfast
from vhdfast.errors import CorruptImageError, VhdfastError


@pytest.fixture(autouse=True)
def spool_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Streams are unpacked here; nothing may stay."""
    place = tmp_path / "spool"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    yield place  # type: ignore[misc]
    assert list(place.iterdir()) == []


@pytest.fixture
def content_of(tmp_path: Path) -> Callable[..., bytes]:
    """content_of(packed, name): what a raw disk in a stream of these bytes holds."""

    def read(packed: bytes, name: str) -> bytes:
        path = tmp_path / name
        path.write_bytes(packed)
        with vhdfast.open_image(path, "raw") as image:
            return image.pread(0, image.virtual_size)

    return read


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., VhdfastError]:
    """refused(packed, name, *fragments, kind=CorruptImageError, offset=None): the error."""

    def check(
        packed: bytes,
        name: str,
        *fragments: str,
        kind: type[VhdfastError] = CorruptImageError,
        offset: int | None = None,
    ) -> VhdfastError:
        path = tmp_path / name
        path.write_bytes(packed)
        with pytest.raises(kind) as caught:
            vhdfast.open_image(path, "raw")
        error = caught.value
        assert type(error) is kind
        assert error.path == str(path)
        for fragment in fragments:
            assert fragment in str(error)
        if offset is not None:
            assert error.offset == offset
        return error

    return check
