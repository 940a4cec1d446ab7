from __future__ import annotations

import os

import pytest

ZERO, DATA = 1, 2
BLOCK = 65536  # a multiple of every file system's block
SEEK_DATA, SEEK_HOLE = os.SEEK_DATA, os.SEEK_HOLE


def extents(native, fd, offset, end, *, file=3, max_rows=100):
    """([(offset, length, kind, file, file_offset)], end reached), or the error."""
    ffi = native.ffi
    rows, error = ffi.new("struct vf_extent[]", max(max_rows, 1)), ffi.new("struct vf_error *")
    count, reached = ffi.new("size_t *"), ffi.new("uint64_t *")
    status = native.lib.vf_file_extents(
        fd, offset, end, file, rows, max_rows, count, reached, error
    )
    if status != native.lib.VF_OK:
        assert status == error.status
        return error
    found = [(r.offset, r.length, r.kind, r.file, r.file_offset) for r in rows[0 : count[0]]]
    return found, reached[0]


@pytest.fixture
def sparse(target):
    """Blocks: hole, data, data, hole, data, hole."""
    os.ftruncate(target, 6 * BLOCK)
    for block in (1, 2, 4):
        os.pwrite(target, b"\x01" * BLOCK, block * BLOCK)
    os.fsync(target)
    if os.lseek(target, 0, SEEK_DATA) != BLOCK:
        pytest.skip("this file system keeps no account of holes")
    return target


def test_data_and_holes(native, sparse):
    assert extents(native, sparse, 0, 6 * BLOCK) == (
        [
            (0, BLOCK, ZERO, 0, 0),
            (BLOCK, 2 * BLOCK, DATA, 3, BLOCK),
            (3 * BLOCK, BLOCK, ZERO, 0, 0),
            (4 * BLOCK, BLOCK, DATA, 3, 4 * BLOCK),
            (5 * BLOCK, BLOCK, ZERO, 0, 0),
        ],
        6 * BLOCK,
    )


def test_part_of_a_file(native, sparse):
    assert extents(native, sparse, BLOCK + 10, 3 * BLOCK + 10) == (
        [(BLOCK + 10, 2 * BLOCK - 10, DATA, 3, BLOCK + 10), (3 * BLOCK, 10, ZERO, 0, 0)],
        3 * BLOCK + 10,
    )


def test_as_many_rows_as_there_is_room_for(native, sparse):
    rows, reached = extents(native, sparse, 0, 6 * BLOCK, max_rows=2)
    assert [row[:3] for row in rows] == [(0, BLOCK, ZERO), (BLOCK, 2 * BLOCK, DATA)]
    assert reached == 3 * BLOCK


def test_nothing_of_a_file(native, sparse):
    assert extents(native, sparse, BLOCK, BLOCK) == ([], BLOCK)


def test_file_that_is_one_hole(native, target):
    os.ftruncate(target, BLOCK)
    assert extents(native, target, 0, BLOCK) == ([(0, BLOCK, ZERO, 0, 0)], BLOCK)


@pytest.mark.parametrize("os_errno", [22, 95], ids=["EINVAL", "EOPNOTSUPP"])
def test_what_knows_no_holes_is_data(native, target, os_errno):
    native.plan("s", os_errno=os_errno)
    native.plan("s", os_errno=os_errno)
    assert extents(native, target, 10, BLOCK) == ([(10, BLOCK - 10, DATA, 3, 10)], BLOCK)


def test_cut_file_is_not_a_hole(native, target):
    os.ftruncate(target, 1000)
    error = extents(native, target, 0, BLOCK)
    assert error.status == native.lib.VF_READ_SHORT
    assert (error.offset, error.length) == (1000, BLOCK - 1000)


def test_failure_says_where(native, target):
    native.plan("s", os_errno=5)
    error = extents(native, target, 512, BLOCK)
    assert (error.status, error.os_errno, error.offset) == (native.lib.VF_SEEK_FAILED, 5, 512)


def test_closed_file(native, tmp_path):
    (tmp_path / "source").write_bytes(b"1")
    fd = os.open(tmp_path / "source", os.O_RDONLY)
    os.close(fd)
    error = extents(native, fd, 0, 1)
    assert (error.status, error.os_errno) == (native.lib.VF_SEEK_FAILED, 9)  # EBADF


def test_interrupted_question_is_asked_again(native, sparse):
    native.plan("s", os_errno=4)  # EINTR
    assert extents(native, sparse, 0, BLOCK) == ([(0, BLOCK, ZERO, 0, 0)], BLOCK)


def test_hole_punched_between_two_questions_ends_in_progress(native, sparse):
    native.plan("s", most=BLOCK)  # data begins here ...
    native.plan("s", most=BLOCK)  # ... and ends here
    rows, reached = extents(native, sparse, BLOCK, 2 * BLOCK, max_rows=1)
    assert (rows, reached) == ([(BLOCK, 4096, DATA, 3, BLOCK)], BLOCK + 4096)


@pytest.mark.parametrize(
    ("offset", "end", "max_rows"),
    [
        pytest.param(0, 10, 0, id="no room"),
        pytest.param(11, 10, 1, id="ends before it begins"),
        pytest.param(0, 2**63, 1, id="no offset of a file"),
    ],
)
def test_bad_argument(native, target, offset, end, max_rows):
    error = extents(native, target, offset, end, max_rows=max_rows)
    assert error.status == native.lib.VF_BAD_ARGUMENT
