"""What the tests of formats share: open a built image, and check how it is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vhdfast.errors import VhdfastError
from vhdfast.image import Image, open_image

from ...support import SparseFile, reading


@pytest.fixture
def opening() -> Iterator[Callable[..., Image]]:
    """opening(path, **options of open_image): the image, closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_one(path: Path, **options: Any) -> Image:
            return stack.enter_context(open_image(path, **options))

        yield open_one


@pytest.fixture
def opened(tmp_path: Path, opening: Callable[..., Image]) -> Callable[..., Image]:
    """opened(file, name="disk.vhd", **options): the same for a file that was built."""

    def open_built(file: SparseFile, name: str = "disk.vhd", **options: Any) -> Image:
        return opening(file.write(tmp_path / name), **options)

    return open_built


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., VhdfastError]:
    """refused(kind, file, *fragments, …): open it, walk it and read it; must raise that kind.

    fragments: of the message. offset: where the error says it is. when: "opening", or "walking"
    where the image opens and the tables turn out wrong later.
    """

    def check(
        kind: type[VhdfastError],
        file: SparseFile,
        *fragments: str,
        offset: int | None = None,
        when: str = "opening",
        name: str = "disk.vhd",
        **options: Any,
    ) -> VhdfastError:
        path = file.write(tmp_path / name)
        reached = "opening"
        with pytest.raises(kind) as caught, open_image(path, **options) as image:
            reached = "walking"
            for _ in image.windows():
                pass
        error = caught.value
        assert type(error) is kind
        assert reached == when
        for fragment in fragments:
            assert fragment in str(error)
        assert error.path == str(path)
        if offset is not None:
            assert error.offset == offset
        assert error.hint is None or error.hint
        return error

    return check


@pytest.fixture
def codes() -> Callable[[Image], list[str]]:
    """The codes of an image's notices, sorted."""
    return lambda image: sorted(reading.codes(image))
