"""Any list of blocks, built into an image, comes back as that list and those bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from vhdfast.image import open_image

from ...support import SparseFile, pattern, rows_of
from ...support.build_vhd import DynamicVhd

# Where each block is stored, in the order of the disk: None, or its turn in the file.
blocks = st.lists(st.one_of(st.none(), st.integers(0, 99)), min_size=1, max_size=12)
windows = st.integers(1, 5)


def in_file_order(places: list[int | None]) -> list[int]:
    stored = [block for block, turn in enumerate(places) if turn is not None]
    return sorted(stored, key=lambda block: (places[block], block))


def flat(rows: list[tuple[object, ...]], step: int) -> list[object]:
    """For each `step` bytes of the disk the place in the file that holds them, or None."""
    out: list[object] = []
    for offset, length, kind, _, place in rows:
        assert offset == len(out) * step
        assert length % step == 0
        out += [None if kind == "ZERO" else place + i * step for i in range(length // step)]
    return out


def check(file: SparseFile, max_rows: int, step: int, places: list[object], data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = file.write(Path(folder) / "disk")
        with open_image(path, ask_holes=False) as image:
            assert flat(rows_of(image.windows(max_rows=max_rows)), step) == places
            assert image.pread(0, len(data) + 1) == data


@settings(max_examples=150, deadline=None)
@given(blocks, st.data(), windows)
def test_vhd(places, data, max_rows):
    vhd = DynamicVhd(4096 * len(places), 4096)
    want: list[object] = [None] * (8 * len(places))
    content = bytearray(4096 * len(places))
    for block in in_file_order(places):
        bits = data.draw(st.one_of(st.just(255), st.integers(0, 255)), label=f"bitmap {block}")
        at = vhd.store(block, pattern(block, 4096), bitmap=bytes([bits]))
        for sector in range(8):
            if bits & 128 >> sector:
                want[8 * block + sector] = at + 512 * sector
                start = 512 * sector
                here = 4096 * block + start
                content[here : here + 512] = pattern(block, 4096)[start : start + 512]
    check(vhd.build(), max_rows, 512, want, bytes(content))
