"""vf_split_holes: rows that lie in holes of their file become ZERO, and nothing else does."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

UNALLOCATED, ZERO, DATA, COMPRESSED = 0, 1, 2, 3
BLOCK = 65536  # a multiple of every file system's block
FILE = 3


def split(native, fd, rows, *, max_rows=100, start=0):
    """[(offset, length, kind, file, file_offset)], or the error."""
    ffi = native.ffi
    out, error = ffi.new("struct vf_extent[]", max_rows), ffi.new("struct vf_error *")
    count = ffi.new("size_t *", 77)
    source = ffi.new("struct vf_source *")
    source.fd, source.size, source.start = fd, 2**63, start
    status = native.lib.vf_split_holes(
        source, FILE, native.rows(rows), len(rows), out, max_rows, count, error
    )
    if status != native.lib.VF_OK:
        assert status == error.status
        assert count[0] == 77, "results are untouched on failure"
        return error
    return [(r.offset, r.length, r.kind, r.file, r.file_offset) for r in out[0 : count[0]]]


@pytest.fixture
def sparse(target):
    """Blocks: hole, data, data, hole, data, hole."""
    os.ftruncate(target, 6 * BLOCK)
    for block in (1, 2, 4):
        os.pwrite(target, b"\x01" * BLOCK, block * BLOCK)
    os.fsync(target)
    if os.lseek(target, 0, os.SEEK_DATA) != BLOCK:
        pytest.skip("this file system keeps no account of holes")
    return target


def test_one_row_over_all_of_the_file(native, sparse):
    assert split(native, sparse, [(0, 6 * BLOCK, DATA, FILE, 0)]) == [
        (0, BLOCK, ZERO, 0, 0),
        (BLOCK, 2 * BLOCK, DATA, FILE, BLOCK),
        (3 * BLOCK, BLOCK, ZERO, 0, 0),
        (4 * BLOCK, BLOCK, DATA, FILE, 4 * BLOCK),
        (5 * BLOCK, BLOCK, ZERO, 0, 0),
    ]


def test_offsets_of_the_disk_are_not_those_of_the_file(native, sparse):
    assert split(native, sparse, [(10**15, 2 * BLOCK, DATA, FILE, 2 * BLOCK + 100)]) == [
        (10**15, BLOCK - 100, DATA, FILE, 2 * BLOCK + 100),
        (10**15 + BLOCK - 100, BLOCK, ZERO, 0, 0),
        (10**15 + 2 * BLOCK - 100, 100, DATA, FILE, 4 * BLOCK),
    ]


def test_a_slice_of_the_file(native, sparse):
    rows = [(0, 2 * BLOCK, DATA, FILE, BLOCK // 2)]
    assert split(native, sparse, rows, start=2 * BLOCK) == [
        (0, BLOCK // 2, DATA, FILE, BLOCK // 2),
        (BLOCK // 2, BLOCK, ZERO, 0, 0),
        (BLOCK // 2 + BLOCK, BLOCK // 2, DATA, FILE, 2 * BLOCK),
    ]


def test_failures_in_a_slice_speak_of_its_offsets(native, target):
    native.plan("s", os_errno=5)  # EIO
    error = split(native, target, [(0, 100, DATA, FILE, 512)], start=BLOCK)
    assert (error.status, error.offset) == (native.lib.VF_SEEK_FAILED, 512)


@pytest.mark.parametrize(("size", "offset"), [(BLOCK + 10, 10), (100, 0)])
def test_a_file_cut_within_or_before_the_slice(native, target, size, offset):
    os.ftruncate(target, size)
    error = split(native, target, [(0, 100, DATA, FILE, 5000)], start=BLOCK)
    assert (error.status, error.offset) == (native.lib.VF_READ_SHORT, offset)


def test_rows_in_no_order_of_the_file(native, sparse):
    rows = [
        (0, 100, DATA, FILE, 4 * BLOCK),
        (100, 100, DATA, FILE, 0),
        (200, 100, DATA, FILE, 4 * BLOCK + 50),
        (300, 100, DATA, FILE, 5 * BLOCK),
        (400, 100, DATA, FILE, BLOCK),
    ]
    kinds = [DATA, ZERO, DATA, ZERO, DATA]
    assert [row[2] for row in split(native, sparse, rows)] == kinds


def test_other_rows_pass_as_they_are(native, sparse):
    rows = [
        (0, BLOCK, ZERO, 0, 0),
        (BLOCK, BLOCK, DATA, FILE + 1, 0),
        (2 * BLOCK, BLOCK, UNALLOCATED, FILE, 0),
        (3 * BLOCK, BLOCK, COMPRESSED, FILE, 0),
    ]
    assert split(native, sparse, rows) == rows
    assert native.calls("s") == [], "nobody asked about the file"


def test_neighbours_cost_one_question(native, sparse):
    rows = [(at * 512, 512, DATA, FILE, BLOCK + at * 512) for at in range(64)]
    assert split(native, sparse, rows) == rows
    assert len(native.calls("s")) == 2  # where data begins, where it ends


@pytest.mark.parametrize("max_rows", [1, 2, 3, 4])
def test_a_full_answer_is_a_prefix(native, sparse, max_rows):
    row = (0, 6 * BLOCK, DATA, FILE, 0)
    assert (
        split(native, sparse, [row], max_rows=max_rows) == split(native, sparse, [row])[:max_rows]
    )


def test_no_rows(native, sparse):
    assert split(native, sparse, []) == []


def test_file_that_is_one_hole(native, target):
    os.ftruncate(target, BLOCK)
    if os.lseek(target, 0, os.SEEK_HOLE) != 0:
        pytest.skip("this file system keeps no account of holes")
    assert split(native, target, [(7, BLOCK, DATA, FILE, 0)]) == [(7, BLOCK, ZERO, 0, 0)]


@pytest.mark.parametrize("os_errno", [22, 95], ids=["EINVAL", "EOPNOTSUPP"])
def test_what_knows_no_holes_is_data(native, target, os_errno):
    native.plan("s", os_errno=os_errno)
    rows = [(0, BLOCK, DATA, FILE, 10), (BLOCK, BLOCK, DATA, FILE, BLOCK + 10)]
    assert split(native, target, rows) == rows
    assert len(native.calls("s")) == 1


@pytest.mark.parametrize("written", [0, 1000], ids=["hole", "data"])
def test_a_cut_file_does_not_pass_for_zeros(native, target, written):
    os.pwrite(target, b"\x01" * written, 0)
    os.ftruncate(target, 1000)
    error = split(native, target, [(0, BLOCK, DATA, FILE, 0)])
    assert (error.status, error.offset) == (native.lib.VF_READ_SHORT, 1000)


def test_a_row_wholly_beyond_a_cut_file(native, target):
    os.ftruncate(target, 1000)
    error = split(native, target, [(0, 10, DATA, FILE, 5000)])
    assert (error.status, error.offset) == (native.lib.VF_READ_SHORT, 1000)
    assert error.length > 0


def test_offset_that_no_file_has(native, target):
    """Not a hole, whatever the system calls it."""
    os.ftruncate(target, BLOCK)
    row = (0, 10, DATA, FILE, 2**63)
    answer = split(native, target, [row])
    assert answer == [row] or answer.status == native.lib.VF_READ_SHORT


def test_failure_says_where(native, target):
    native.plan("s", os_errno=5)  # EIO
    error = split(native, target, [(0, 100, DATA, FILE, 512)])
    assert (error.status, error.os_errno, error.offset) == (native.lib.VF_SEEK_FAILED, 5, 512)


def test_failure_of_the_second_question(native, target):
    os.pwrite(target, b"\x01" * 100, 0)
    native.plan("s", most=0)
    native.plan("s", os_errno=5)
    error = split(native, target, [(0, 100, DATA, FILE, 0)])
    assert (error.status, error.os_errno) == (native.lib.VF_SEEK_FAILED, 5)


def test_failure_to_learn_the_size(native, target):
    os.ftruncate(target, BLOCK)
    native.plan("s", os_errno=6)  # ENXIO: no data from here on
    native.plan("s", os_errno=5)
    error = split(native, target, [(0, 100, DATA, FILE, 0)])
    assert (error.status, error.os_errno) == (native.lib.VF_SEEK_FAILED, 5)


def test_closed_file(native, tmp_path):
    fd = os.open(tmp_path / "source", os.O_RDWR | os.O_CREAT)
    os.close(fd)
    error = split(native, fd, [(0, 1, DATA, FILE, 0)])
    assert (error.status, error.os_errno) == (native.lib.VF_SEEK_FAILED, 9)  # EBADF


def test_interrupted_question_is_asked_again(native, sparse):
    native.plan("s", os_errno=4)  # EINTR
    assert split(native, sparse, [(0, BLOCK, DATA, FILE, 0)]) == [(0, BLOCK, ZERO, 0, 0)]


@pytest.mark.parametrize(
    ("data", "hole"),
    [
        pytest.param(BLOCK, BLOCK, id="a hole was punched between the questions"),
        pytest.param(BLOCK, 0, id="the hole lies before the question"),
        pytest.param(0, BLOCK, id="the data lies before the question"),
        pytest.param(0, 10, id="both lie before the question"),
    ],
)
def test_answers_that_lead_nowhere_end_in_progress(native, sparse, data, hole):
    """A file that changes, or a file system in user space that is wrong: the rows still have a
    length, and are data, which reading will judge."""
    native.plan("s", most=data)
    native.plan("s", most=hole)
    rows = split(native, sparse, [(0, BLOCK, DATA, FILE, BLOCK)])
    assert rows[0] == (0, 4096, DATA, FILE, BLOCK)
    assert sum(row[1] for row in rows) == BLOCK


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(
        st.tuples(st.integers(1, 3 * BLOCK), st.integers(0, 6 * BLOCK - 1), st.booleans()),
        max_size=8,
    ),
    max_rows=st.integers(1, 30),
)
def test_any_rows(native, sparse, parts, max_rows):
    rows, at = [], 0
    for length, file_offset, ours in parts:
        length = min(length, 6 * BLOCK - file_offset)
        rows.append((at, length, DATA, FILE if ours else 0, file_offset))
        at += length
    out = split(native, sparse, rows, max_rows=max_rows)
    assert len(out) <= max_rows

    reached = 0
    whole = {row[0]: row for row in rows}
    current = None
    for offset, length, kind, file, file_offset in out:
        assert offset == reached and length > 0
        current = whole.get(offset, current)
        stored = current[4] + offset - current[0]
        assert offset + length <= current[0] + current[1], "no row crosses two that were given"
        if current[3] != FILE or kind == DATA:
            assert (kind, file, file_offset) == (DATA, current[3], stored)
        else:
            assert (kind, file, file_offset) == (ZERO, 0, 0)
        if current[3] == FILE:
            blocks = range(stored // BLOCK, (stored + length - 1) // BLOCK + 1)
            assert {block in (1, 2, 4) for block in blocks} == {kind == DATA}
        reached += length
    assert reached == at or len(out) == max_rows
