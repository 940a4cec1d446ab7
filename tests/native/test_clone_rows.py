"""What vf_clone_rows shares and what it leaves to be copied.

faults.c plays the file system: a clone copies the bytes and refuses what is not aligned.
"""

from __future__ import annotations

import errno
import os
import random
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .build_cffi import INCLUDES, LANGUAGE, ROOT, WARNINGS, compiler
from .conftest import GRANULE
from .test_copy_segment import UNTOUCHED, content, fill, noise

ZERO, DATA, COMPRESSED = 1, 2, 3
BLOCK = 4096


@pytest.fixture
def source(tmp_path):
    """make(bytes): a descriptor of a file that holds them."""
    opened = []

    def make(data, name="source"):
        (tmp_path / name).write_bytes(data)
        opened.append(os.open(tmp_path / name, os.O_RDONLY))
        return opened[-1]

    yield make
    for fd in opened:
        os.close(fd)


@pytest.fixture
def clone(native):
    """clone(sources, rows, fd, size): (status, cloned, rest as tuples, error)."""

    def call(sources, rows, fd, size, minimum=0):
        table, alive = native.sources(sources)
        sink = native.ffi.new("struct vf_sink *")
        sink.size, sink.fd, sink.direct_fd = size, fd, -1
        # Exactly as long as the contract says: the address sanitizer watches its end.
        room = 40 * 2 * len(rows)
        memory = native.ffi.gc(native.lib.tf_allocate(max(room, 1)), native.lib.tf_free)
        rest = native.ffi.cast("struct vf_extent *", memory)
        count, cloned = native.ffi.new("size_t *"), native.ffi.new("uint64_t *")
        error = native.ffi.new("struct vf_error *")
        status = native.lib.vf_clone_rows(
            table, len(sources), native.rows(rows), len(rows), sink, minimum, rest, count, cloned,
            error,
        )  # fmt: skip
        left = [(r.offset, r.length, r.kind, r.file, r.file_offset) for r in rest[0 : count[0]]]
        del alive, memory
        return status, cloned[0], left, error

    return call


@pytest.fixture
def cloneable(native):
    def call(sources, rows, minimum=0):
        table, alive = native.sources(sources)
        found, error = native.ffi.new("uint64_t *"), native.ffi.new("struct vf_error *")
        status = native.lib.vf_count_cloneable(
            table, len(sources), native.rows(rows), len(rows), minimum, found, error
        )
        del alive
        return status, found[0]

    return call


def made(native):
    return [(call.offset, call.length) for call in native.calls("c")]


def test_aligned_row_is_cloned_whole(native, target, source, clone):
    data = noise(3 * BLOCK)
    os.ftruncate(target, 4 * BLOCK)
    rows = [(BLOCK, 2 * BLOCK, DATA, 0, BLOCK)]
    answer = clone([(source(data), len(data), 0, BLOCK)], rows, target, 4 * BLOCK)
    assert answer[:3] == (0, 2 * BLOCK, [])
    assert content(target, 4 * BLOCK) == bytes(BLOCK) + data[BLOCK:] + bytes(BLOCK)
    assert native.calls("w") == []


def test_ends_within_a_block_are_left(native, target, source, clone):
    data = noise(8 * BLOCK)
    fill(target, 8 * BLOCK)
    rows = [(BLOCK - 512, 3 * BLOCK, DATA, 0, 2 * BLOCK - 512)]
    status, cloned, rest, _ = clone([(source(data), len(data), 0, BLOCK)], rows, target, 8 * BLOCK)
    assert (status, cloned) == (0, 2 * BLOCK)
    assert rest == [
        (BLOCK - 512, 512, DATA, 0, 2 * BLOCK - 512),
        (3 * BLOCK, BLOCK - 512, DATA, 0, 4 * BLOCK),
    ]
    expected = UNTOUCHED * BLOCK + data[2 * BLOCK : 4 * BLOCK] + UNTOUCHED * 5 * BLOCK
    assert content(target, 8 * BLOCK) == expected


def test_row_within_one_block_is_left(native, target, source, clone):
    row = (512, BLOCK, DATA, 0, 512)
    answer = clone([(source(noise(2 * BLOCK)), 2 * BLOCK, 0, BLOCK)], [row], target, 2 * BLOCK)
    assert answer[:3] == (0, 0, [row])
    assert made(native) == []


@pytest.mark.parametrize(("start", "file_offset"), [(0, 512), (512, 0), (512, BLOCK)])
def test_source_at_no_border_of_a_block_is_left(native, target, source, clone, start, file_offset):
    row = (0, 2 * BLOCK, DATA, 0, file_offset)
    fd = source(noise(5 * BLOCK))
    answer = clone([(fd, 4 * BLOCK, start, BLOCK)], [row], target, 2 * BLOCK)
    assert answer[:3] == (0, 0, [row])
    assert made(native) == []


def test_slice_counts_from_its_start(target, source, clone):
    data = noise(4 * BLOCK)
    row = (0, BLOCK, DATA, 0, BLOCK - 512)
    answer = clone([(source(data), 3 * BLOCK, 512, BLOCK)], [row], target, BLOCK)
    assert answer[:3] == (0, BLOCK, [])
    assert content(target, BLOCK) == data[BLOCK : 2 * BLOCK]


def test_blocks_smaller_than_a_granule(native, target, source, clone):
    """What is beside a clone is written in whole granules, so the clone ends at their borders."""
    native.lib.tf_clone_block = 512
    data = noise(4 * GRANULE)
    rows = [(512, 2 * GRANULE, DATA, 0, 1024)]
    answer = clone([(source(data), len(data), 0, 512)], rows, target, 3 * GRANULE)
    assert answer[:3] == (
        0, GRANULE,
        [(512, GRANULE - 512, DATA, 0, 1024), (2 * GRANULE, 512, DATA, 0, 2 * GRANULE + 512)],
    )  # fmt: skip
    assert made(native) == [(GRANULE, GRANULE)]


def test_blocks_larger_than_a_granule(native, target, source, clone):
    native.lib.tf_clone_block = 4 * GRANULE
    data = noise(16 * GRANULE)
    rows = [(GRANULE, 8 * GRANULE, DATA, 0, 5 * GRANULE), (9 * GRANULE, GRANULE, DATA, 0, 0)]
    answer = clone([(source(data), len(data), 0, 4 * GRANULE)], rows, target, 16 * GRANULE)
    assert answer[:2] == (0, 4 * GRANULE)
    assert made(native) == [(4 * GRANULE, 4 * GRANULE)]
    assert [row[:2] for row in answer[2]] == [
        (GRANULE, 3 * GRANULE), (8 * GRANULE, GRANULE), (9 * GRANULE, GRANULE),
    ]  # fmt: skip


@pytest.mark.parametrize(("minimum", "cloned"), [(2 * BLOCK, 2 * BLOCK), (2 * BLOCK + 1, 0)])
def test_short_clones_are_not_made(target, source, clone, minimum, cloned):
    row = (0, 2 * BLOCK, DATA, 0, 0)
    table = [(source(noise(2 * BLOCK)), 2 * BLOCK, 0, BLOCK)]
    assert clone(table, [row], target, 2 * BLOCK, minimum)[:3] == (
        0, cloned, [] if cloned else [row],
    )  # fmt: skip


@pytest.mark.parametrize("block", [0, 3 * BLOCK])
def test_source_that_cannot_be_cloned(native, target, source, clone, block):
    row = (0, 3 * BLOCK, DATA, 0, 0)
    answer = clone([(source(noise(3 * BLOCK)), 3 * BLOCK, 0, block)], [row], target, 3 * BLOCK)
    assert answer[:3] == (0, 0, [row])
    assert made(native) == []


def test_memory_and_compressed_rows_are_left(native, target, source, clone):
    memory, fd = noise(BLOCK), source(noise(BLOCK))
    rows = [
        (0, BLOCK, DATA, 0, 0),
        (BLOCK, BLOCK, ZERO, 0, 0),
        (2 * BLOCK, BLOCK, COMPRESSED, 1, 0, 100, BLOCK, 0, 1),
    ]
    status, cloned, rest, _ = clone([memory, (fd, BLOCK, 0, BLOCK)], rows, target, 3 * BLOCK)
    assert (status, cloned, rest) == (0, 0, [row[:5] for row in rows])
    assert made(native) == []


@pytest.mark.parametrize(
    "number",
    [errno.EINVAL, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTTY, errno.EPERM, errno.ETXTBSY,
     errno.ENOSPC, errno.EINTR],
    ids=errno.errorcode.get,
)  # fmt: skip
def test_refused_row_is_left_and_the_others_are_cloned(native, target, source, clone, number):
    data = noise(3 * BLOCK)
    rows = [(at * BLOCK, BLOCK, DATA, 0, (2 - at) * BLOCK) for at in range(3)]
    fill(target, 3 * BLOCK)
    native.plan("c")
    native.plan("c", os_errno=number)
    answer = clone([(source(data), len(data), 0, BLOCK)], rows, target, 3 * BLOCK)
    assert answer[:3] == (0, 2 * BLOCK, [rows[1]])
    assert content(target, 3 * BLOCK) == data[2 * BLOCK :] + UNTOUCHED * BLOCK + data[:BLOCK]


def test_clone_that_breaks_off_is_copied_over(native, target, source, clone):
    """Of what was cloned before a file system ran out of room, nothing can be wrong afterwards."""
    data = noise(BLOCK) + bytes(BLOCK) + noise(2 * BLOCK, seed=2)
    row = (0, 4 * BLOCK, DATA, 0, 0)
    os.ftruncate(target, 4 * BLOCK)
    native.plan("c", most=3 * BLOCK)
    table = [(source(data), len(data), 0, BLOCK)]
    status, cloned, rest, _ = clone(table, [row], target, 4 * BLOCK)
    assert (status, cloned, rest) == (0, 0, [row])
    assert native.copy(table, rest, target, 4 * BLOCK).status == 0
    assert content(target, 4 * BLOCK) == data


@pytest.mark.parametrize(
    "row",
    [
        pytest.param((0, 5 * BLOCK, DATA, 0, 0), id="beyond the source"),
        pytest.param((8 * BLOCK, BLOCK, DATA, 0, 0), id="beyond the target"),
        pytest.param((0, BLOCK, DATA, 1, 0), id="no such source"),
        pytest.param((0, 0, DATA, 0, 0), id="empty"),
        pytest.param((2**64 - BLOCK, BLOCK, DATA, 0, 0), id="at the end of all numbers"),
    ],
)
def test_bad_rows_are_refused_before_anything_is_cloned(native, target, source, clone, row):
    good = (0, BLOCK, DATA, 0, 0)
    rows = [good, row] if row[0] else [row]
    table = [(source(noise(4 * BLOCK)), 4 * BLOCK, 0, BLOCK)]
    status, _, _, error = clone(table, rows, target, 8 * BLOCK)
    assert status == error.status == native.lib.VF_BAD_ROWS
    assert made(native) == []


def test_bad_rows_are_not_counted(native, cloneable):
    status, _ = cloneable([(0, BLOCK, 0, BLOCK)], [(0, 2 * BLOCK, DATA, 0, 0)])
    assert status == native.lib.VF_BAD_ROWS


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 60), st.integers(0, 8)),
        min_size=1, max_size=8,
    ),
    st.sampled_from([512, 1024, 4096, 8192]),
    st.integers(0, 3),
    st.sampled_from([0, 4096, 16384]),
    st.integers(0, 255),
)  # fmt: skip
def test_cloned_and_copied_is_the_whole(
    native, target, source, clone, cloneable, pieces, block, start, minimum, refused
):
    """Rows anywhere, in sectors: what is cloned and then copied is what a plain copy makes."""
    native.lib.tf_reset()
    native.lib.tf_clone_block = block
    data = random.Random(7).randbytes(80 * 1024)
    size, at, rows = 512 * 1024, 0, []
    for gap, length, place in pieces:
        at += gap * 512
        rows.append((at, length * 512, DATA, 0, place * 512))
        at += length * 512
    expected = bytearray(size)
    fd = source(data)
    for offset, length, _, _, file_offset in rows:
        low = start * 512 + file_offset
        expected[offset : offset + length] = data[low : low + length]
    os.ftruncate(target, 0)
    os.ftruncate(target, size)
    table = [(fd, len(data) - start * 512, start * 512, block)]
    for bit in range(8):
        native.plan("c", os_errno=errno.EINVAL if refused >> bit & 1 else 0)
    status, cloned, rest, _ = clone(table, rows, target, size, minimum)
    assert status == 0
    assert native.copy(table, rest, target, size, scratch=4 * GRANULE).status == 0
    assert content(target, size) == bytes(expected)
    assert sum(row[1] for row in rest) + cloned == sum(row[1] for row in rows)
    if not refused:
        assert cloneable(table, rows, minimum) == (0, cloned)
        assert all(call.result == 0 for call in native.calls("c"))


def test_it_compiles_where_the_system_knows_no_clones(tmp_path):
    """The headers of manylinux2014, and those of a musl system without the kernel's, lack them."""
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux/fs.h").write_text("")
    source = ROOT / "native/src/clone.c"
    command = [compiler(), *LANGUAGE, *WARNINGS, f"-I{tmp_path}", *INCLUDES, "-fsyntax-only"]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
