"""What vf_copy_segment writes, and what it leaves alone.

The target is filled with 0xaa first, although the contract says zeros: so what was written can be
told from what was left as a hole.
"""

from __future__ import annotations

import os
import random
import resource

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import GRANULE

ZERO, DATA = 1, 2
UNTOUCHED = b"\xaa"


def noise(length, seed=1):
    return bytes(byte | 1 for byte in random.Random(seed).randbytes(length))


def content(fd, size):
    return os.pread(fd, size, 0)


def written(native):
    return [(call.offset, call.length) for call in native.calls("w")]


def fill(fd, size):
    os.pwrite(fd, UNTOUCHED * size, 0)


def test_rows_from_memory(native, target):
    data = noise(2 * GRANULE)
    fill(target, 4 * GRANULE)
    answer = native.copy([data], [(GRANULE, 2 * GRANULE, DATA)], target, 4 * GRANULE)
    assert (answer.status, answer.read, answer.written, answer.zeros) == (
        0, 2 * GRANULE, 2 * GRANULE, 0,
    )  # fmt: skip
    assert content(target, 5 * GRANULE) == UNTOUCHED * GRANULE + data + UNTOUCHED * GRANULE


def test_rows_from_a_file(native, target, tmp_path):
    data = noise(3 * GRANULE)
    (tmp_path / "source").write_bytes(data)
    with open(tmp_path / "source", "rb") as source:
        rows = [(0, GRANULE, DATA, 0, 2 * GRANULE), (GRANULE, GRANULE, DATA, 0, 0)]
        answer = native.copy([(source.fileno(), len(data))], rows, target, 2 * GRANULE)
    assert (answer.status, answer.read) == (0, 2 * GRANULE)
    assert content(target, 3 * GRANULE) == data[2 * GRANULE :] + data[:GRANULE]


def test_rows_from_several_sources(native, target):
    sources = [b"\x01" * GRANULE, b"\x02" * GRANULE]
    rows = [(0, GRANULE, DATA, 1), (GRANULE, GRANULE, DATA, 0)]
    assert native.copy(sources, rows, target, 2 * GRANULE).status == 0
    assert content(target, 2 * GRANULE) == b"\x02" * GRANULE + b"\x01" * GRANULE


def test_rows_side_by_side_cost_one_write(native, target):
    rows = [(at * 512, 512, DATA, 0, (31 - at) * 512) for at in range(32)]
    native.copy([noise(32 * 512)], rows, target, 4 * GRANULE)
    assert written(native) == [(0, 4 * GRANULE)]


def test_gap_within_a_granule_reads_as_zeros(native, target):
    rows = [(0, 100, DATA), (200, 100, DATA)]
    answer = native.copy([b"\x01" * 100], rows, target, GRANULE)
    expected = b"\x01" * 100 + bytes(100) + b"\x01" * 100 + bytes(GRANULE - 300)
    assert content(target, GRANULE) == expected
    assert (answer.read, answer.written) == (200, GRANULE)


def test_gap_across_the_border_of_two_granules_costs_one_write(native, target):
    rows = [(0, 100, DATA), (GRANULE + 200, 100, DATA)]
    native.copy([b"\x01" * 100], rows, target, 2 * GRANULE)
    assert written(native) == [(0, 2 * GRANULE)]
    expected = (b"\x01" * 100).ljust(GRANULE + 200, b"\0") + b"\x01" * 100
    assert content(target, 2 * GRANULE) == expected.ljust(2 * GRANULE, b"\0")


def test_gap_up_to_the_next_granule_costs_one_write(native, target):
    rows = [(0, 100, DATA), (GRANULE, 100, DATA)]
    native.copy([b"\x01" * 100], rows, target, 2 * GRANULE)
    assert written(native) == [(0, 2 * GRANULE)]


def test_gap_of_a_granule_is_not_written(native, target):
    fill(target, 3 * GRANULE)
    rows = [(0, GRANULE, DATA), (2 * GRANULE, GRANULE, DATA)]
    answer = native.copy([b"\x01" * GRANULE], rows, target, 3 * GRANULE)
    one = b"\x01" * GRANULE
    assert content(target, 3 * GRANULE) == one + UNTOUCHED * GRANULE + one
    assert (answer.written, answer.zeros) == (2 * GRANULE, 0)


def test_gap_of_more_than_scratch_is_not_written(native, target):
    rows = [(5, 10, DATA), (100 * GRANULE + 7, 10, DATA)]
    native.copy([b"\x01" * 10], rows, target, 101 * GRANULE, scratch=2 * GRANULE)
    assert written(native) == [(0, GRANULE), (100 * GRANULE, GRANULE)]


def test_row_at_no_border_of_a_granule(native, target):
    data = noise(2 * GRANULE)
    native.copy([data], [(1000, 2 * GRANULE, DATA)], target, 3 * GRANULE)
    assert content(target, 3 * GRANULE) == bytes(1000) + data + bytes(GRANULE - 1000)


def test_scratch_smaller_than_a_row(native, target):
    data = noise(7 * GRANULE)
    answer = native.copy(
        [data], [(1000, len(data), DATA)], target, 8 * GRANULE, scratch=2 * GRANULE
    )
    assert content(target, 8 * GRANULE) == bytes(1000) + data + bytes(GRANULE - 1000)
    assert (answer.read, answer.written) == (7 * GRANULE, 8 * GRANULE)


def test_granule_is_written_once_though_scratch_ends_amid_rows(native, target):
    rows = [(at * 3000, 3000, DATA) for at in range(20)]
    native.copy([noise(3000)], rows, target, 15 * GRANULE, scratch=GRANULE)
    assert written(native) == [(at * GRANULE, GRANULE) for at in range(15)]


def test_target_that_ends_within_a_granule(native, target):
    size = GRANULE + 512
    native.copy([noise(size)], [(0, size, DATA)], target, size)
    assert content(target, 2 * GRANULE) == noise(size)


def test_nothing_is_written_beyond_a_target_that_ends_after_a_short_row(native, target):
    size = GRANULE + 512
    native.copy([b"\x01" * 100], [(GRANULE, 100, DATA)], target, size)
    assert written(native) == [(GRANULE, 512)]


def test_zero_granules_are_not_written(native, target):
    fill(target, 5 * GRANULE)
    one, none = b"\x01" * GRANULE, bytes(GRANULE)
    data = one + none + one + none + none
    answer = native.copy([data], [(0, len(data), DATA)], target, 5 * GRANULE)
    left = UNTOUCHED * GRANULE
    assert content(target, 5 * GRANULE) == one + left + one + left + left
    assert (answer.read, answer.written, answer.zeros) == (5 * GRANULE, 2 * GRANULE, 3 * GRANULE)


def test_zero_granules_occupy_nothing(native, target):
    os.ftruncate(target, 256 * GRANULE)
    data = bytes(128 * GRANULE) + b"\x01" * GRANULE + bytes(127 * GRANULE)
    native.copy([data], [(0, len(data), DATA)], target, 256 * GRANULE)
    os.fsync(target)
    assert os.fstat(target).st_blocks * 512 <= 16 * GRANULE
    assert os.lseek(target, 0, os.SEEK_DATA) >= 112 * GRANULE
    assert content(target, 256 * GRANULE) == data


def test_more_runs_than_are_looked_up_at_once(native, target):
    data = (b"\x01" * GRANULE + bytes(GRANULE)) * 100
    fill(target, len(data))
    answer = native.copy([data], [(0, len(data), DATA)], target, len(data), scratch=256 * GRANULE)
    assert content(target, len(data)) == (b"\x01" * GRANULE + UNTOUCHED * GRANULE) * 100
    assert (answer.written, answer.zeros) == (100 * GRANULE, 100 * GRANULE)


def test_zero_rows_are_neither_read_nor_written(native, target):
    fill(target, 3 * GRANULE)
    rows = [(0, GRANULE, DATA), (GRANULE, 2 * GRANULE, ZERO)]
    answer = native.copy([b"\x01" * GRANULE], rows, target, 3 * GRANULE)
    assert content(target, 3 * GRANULE) == b"\x01" * GRANULE + UNTOUCHED * 2 * GRANULE
    assert (answer.read, answer.written, answer.zeros) == (GRANULE, GRANULE, 0)


def test_no_rows_write_nothing(native, target):
    answer = native.copy([], [], target, GRANULE)
    assert (answer.status, written(native)) == (0, [])


@st.composite
def segments(draw):
    """Rows of one file of 24 granules, some of them of zeros, and the size of scratch."""
    rows, at = [], draw(st.integers(0, 5000))
    for gap, length, zeros, kind in draw(
        st.lists(
            st.tuples(
                st.sampled_from([0, 0, 1, 511, 512, 4095, 4096, 9000]),
                st.sampled_from([1, 100, 512, 4095, 4096, 4097, 12288, 20000]),
                st.booleans(),
                st.sampled_from([DATA, DATA, DATA, ZERO]),
            ),
            max_size=12,
        )
    ):
        at += gap
        rows.append((at, length, kind, 0, 30000 if zeros else draw(st.integers(0, 9999))))
        at += length
    return rows, at + draw(st.integers(0, 5000)), draw(st.sampled_from([1, 2, 5]))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(segment=segments())
def test_any_rows(native, target, segment):
    rows, size, scratch = segment
    stored = noise(30000) + bytes(20000)
    expected = bytearray(size)
    for offset, length, kind, _file, file_offset in rows:
        if kind == DATA:
            expected[offset : offset + length] = stored[file_offset : file_offset + length]
    os.ftruncate(target, 0)
    os.ftruncate(target, size)
    native.lib.tf_reset()
    answer = native.copy([stored], rows, target, size, scratch=scratch * GRANULE)
    assert answer.status == 0
    assert content(target, size + 1) == bytes(expected)
    touched = [
        at for start, length in written(native) for at in range(start, start + length, GRANULE)
    ]
    assert touched == [at for at in range(0, size, GRANULE) if any(expected[at : at + GRANULE])], (
        "each granule that is not zero is written, once, and no other"
    )
    assert answer.read == sum(row[1] for row in rows if row[2] == DATA)


# ---- rows that break the rules -------------------------------------------------------------------

GOOD = (0, GRANULE, DATA)
MOST = 2**64 - 1


@pytest.mark.parametrize(
    ("row", "rows"),
    [
        pytest.param(0, [(0, 0, DATA)], id="no length"),
        pytest.param(0, [(0, GRANULE, 0)], id="unallocated"),
        pytest.param(0, [(0, GRANULE, 3)], id="compressed"),
        pytest.param(0, [(0, GRANULE, 255)], id="kind that does not exist"),
        pytest.param(0, [(0, GRANULE, DATA, 1)], id="file that does not exist"),
        pytest.param(0, [(0, GRANULE, DATA, 65535)], id="last file index"),
        pytest.param(0, [(0, GRANULE, DATA, 0, GRANULE + 1)], id="one byte beyond the source"),
        pytest.param(0, [(0, 1, DATA, 0, 2 * GRANULE)], id="at the end of the source"),
        pytest.param(0, [(0, 2, DATA, 0, MOST)], id="file offset + length wraps"),
        pytest.param(0, [(7 * GRANULE + 1, GRANULE, DATA)], id="one byte beyond the sink"),
        pytest.param(0, [(8 * GRANULE, 1, ZERO)], id="at the end of the sink"),
        pytest.param(0, [(GRANULE, MOST, DATA)], id="offset + length wraps"),
        pytest.param(0, [(MOST, 1, ZERO)], id="last offset"),
        pytest.param(0, [(GRANULE, MOST, ZERO)], id="zeros that wrap"),
        pytest.param(1, [GOOD, (GRANULE - 1, 1, DATA)], id="overlap"),
        pytest.param(1, [GOOD, GOOD], id="twice"),
        pytest.param(2, [GOOD, (2 * GRANULE, 1, ZERO), (GRANULE, 1, DATA)], id="descending"),
    ],
)
def test_bad_row(native, target, row, rows):
    answer = native.copy([b"\x01" * 2 * GRANULE], rows, target, 8 * GRANULE)
    assert answer.status == answer.error.status == native.lib.VF_BAD_ROWS
    assert (answer.error.row, answer.error.offset, answer.error.length) == (row, *rows[row][:2])
    assert written(native) == [], "rows are checked before the first byte moves"


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([(0, 2 * GRANULE, DATA)], id="all of the source"),
        pytest.param([(0, 1, DATA, 0, 2 * GRANULE - 1)], id="last byte of the source"),
        pytest.param([(7 * GRANULE, GRANULE, DATA)], id="up to the end of the sink"),
        pytest.param([(0, 8 * GRANULE, ZERO)], id="all of the sink"),
        pytest.param([(0, 1, ZERO, 9, MOST)], id="zeros, whatever their file says"),
        pytest.param([GOOD, (GRANULE, 1, DATA)], id="touching"),
    ],
)
def test_row_that_is_just_good(native, target, rows):
    answer = native.copy([b"\x01" * 2 * GRANULE], rows, target, 8 * GRANULE)
    assert answer.status == native.lib.VF_OK


@pytest.mark.parametrize("scratch", [0, GRANULE - 1, GRANULE + 512])
def test_scratch_that_is_no_multiple_of_a_granule(native, target, scratch):
    answer = native.copy([b"\x01"], [(0, 1, DATA)], target, GRANULE, scratch=scratch)
    assert answer.status == native.lib.VF_BAD_ARGUMENT


# ---- sources that fail ---------------------------------------------------------------------------


def test_source_cut_short(native, target, tmp_path):
    (tmp_path / "source").write_bytes(b"\x01" * 5000)
    with open(tmp_path / "source", "rb") as source:
        rows = [(0, GRANULE, DATA, 0), (GRANULE, GRANULE, DATA, 1, 2048)]
        sources = [b"\x01" * GRANULE, (source.fileno(), 2 * GRANULE)]
        answer = native.copy(sources, rows, target, 2 * GRANULE)
    error = answer.error
    assert answer.status == error.status == native.lib.VF_READ_SHORT
    assert (error.file, error.offset, error.length) == (1, 5000, 2048 + GRANULE - 5000)
    assert answer.read == GRANULE, "what was read before counts"


def test_closed_source(native, target, tmp_path):
    (tmp_path / "source").write_bytes(b"\x01" * GRANULE)
    fd = os.open(tmp_path / "source", os.O_RDONLY)
    os.close(fd)
    answer = native.copy([(fd, GRANULE)], [(0, 100, DATA, 0, 7)], target, GRANULE)
    error = answer.error
    assert answer.status == error.status == native.lib.VF_READ_FAILED
    assert (error.os_errno, error.file, error.offset) == (9, 0, 7)  # EBADF
    assert written(native) == []


def test_interrupted_and_short_reads_are_continued(native, target, tmp_path):
    (tmp_path / "source").write_bytes(noise(GRANULE))
    native.plan("r", os_errno=4)  # EINTR
    native.plan("r", most=100)
    native.plan("r", os_errno=4)
    with open(tmp_path / "source", "rb") as source:
        answer = native.copy([(source.fileno(), GRANULE)], [(0, GRANULE, DATA)], target, GRANULE)
    assert (answer.status, answer.read) == (0, GRANULE)
    assert content(target, GRANULE) == noise(GRANULE)
    assert [(c.offset, c.length) for c in native.calls("r")] == [
        (0, GRANULE), (0, GRANULE), (100, GRANULE - 100), (100, GRANULE - 100),
    ]  # fmt: skip


def test_read_error_after_some_bytes_says_where(native, target, tmp_path):
    (tmp_path / "source").write_bytes(noise(GRANULE))
    native.plan("r", most=512)
    native.plan("r", os_errno=5)  # EIO
    with open(tmp_path / "source", "rb") as source:
        answer = native.copy([(source.fileno(), GRANULE)], [(0, GRANULE, DATA)], target, GRANULE)
    assert answer.status == native.lib.VF_READ_FAILED
    assert (answer.error.os_errno, answer.error.offset) == (5, 512)


# ---- targets that fail ---------------------------------------------------------------------------


def one_granule(native, fd, **options):
    return native.copy([b"\x01" * GRANULE], [(0, GRANULE, DATA)], fd, GRANULE, **options)


def test_target_opened_for_reading(native, tmp_path):
    (tmp_path / "target").write_bytes(b"")
    with open(tmp_path / "target", "rb") as target:
        answer = one_granule(native, target.fileno())
    error = answer.error
    assert answer.status == error.status == native.lib.VF_WRITE_FAILED
    assert (error.os_errno, error.file, error.offset) == (9, -1, 0)  # EBADF
    assert (answer.read, answer.written) == (GRANULE, 0)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_target(native):
    with open("/dev/full", "wb", buffering=0) as target:
        answer = one_granule(native, target.fileno())
    assert (answer.status, answer.error.os_errno) == (native.lib.VF_WRITE_FAILED, 28)  # ENOSPC


def test_limit_on_the_size_of_files(native, target):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))  # Python ignores SIGXFSZ
    try:
        answer = one_granule(native, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    error = answer.error
    assert (answer.status, error.os_errno) == (native.lib.VF_WRITE_FAILED, 27)  # EFBIG
    assert (error.offset, error.length) == (512, GRANULE - 512), "where the first byte failed"


def test_interrupted_and_short_writes_are_continued(native, target):
    native.plan("w", os_errno=4)  # EINTR
    native.plan("w", most=1000)
    assert one_granule(native, target).status == 0
    assert content(target, 2 * GRANULE) == b"\x01" * GRANULE
    assert written(native) == [(0, GRANULE), (0, GRANULE), (1000, GRANULE - 1000)]


def test_target_that_takes_nothing_is_an_error_and_no_loop(native, target):
    native.plan("w", most=0)
    answer = one_granule(native, target)
    assert (answer.status, answer.error.os_errno) == (native.lib.VF_WRITE_FAILED, 5)  # EIO


def test_counts_before_a_failed_write_stand(native, target):
    data = b"\x01" * GRANULE + bytes(GRANULE) + b"\x01" * GRANULE
    native.plan("w")
    native.plan("w", os_errno=28)
    answer = native.copy([data], [(0, len(data), DATA)], target, len(data))
    assert answer.status == native.lib.VF_WRITE_FAILED
    assert (answer.read, answer.written, answer.error.offset) == (
        3 * GRANULE, GRANULE, 2 * GRANULE,
    )  # fmt: skip


# ---- direct writes -------------------------------------------------------------------------------


@pytest.fixture
def direct(target, tmp_path):
    """A second descriptor of the target; that it is not O_DIRECT makes no difference to who is
    asked to write what."""
    fd = os.open(tmp_path / "target", os.O_WRONLY)
    yield fd
    os.close(fd)


def writers(native, direct):
    return [
        ("direct" if call.fd == direct else "buffered", call.offset, call.length)
        for call in native.calls("w")
    ]


def test_long_runs_go_direct_and_short_ones_do_not(native, target, direct):
    data = b"\x01" * 2 * GRANULE + bytes(GRANULE) + b"\x01" * GRANULE
    native.copy(
        [data], [(0, len(data), DATA)], target, len(data),
        direct_fd=direct, direct_minimum=2 * GRANULE,
    )  # fmt: skip
    assert writers(native, direct) == [
        ("direct", 0, 2 * GRANULE), ("buffered", 3 * GRANULE, GRANULE),
    ]  # fmt: skip


def test_end_within_a_granule_does_not_go_direct(native, target, direct):
    native.copy([b"\x01" * 600], [(0, 600, DATA)], target, 600, direct_fd=direct)
    assert writers(native, direct) == [("buffered", 0, 600)]


def test_refused_direct_write_goes_through_the_cache(native, target, direct):
    native.plan("w", os_errno=22)  # EINVAL
    assert one_granule(native, target, direct_fd=direct).status == 0
    assert writers(native, direct) == [("direct", 0, GRANULE), ("buffered", 0, GRANULE)]
    assert content(target, GRANULE) == b"\x01" * GRANULE


def test_refused_buffered_write_is_an_error(native, target):
    native.plan("w", os_errno=22)
    answer = one_granule(native, target)
    assert (answer.status, answer.error.os_errno) == (native.lib.VF_WRITE_FAILED, 22)


def test_full_disk_is_not_asked_twice(native, target, direct):
    native.plan("w", os_errno=28)
    answer = one_granule(native, target, direct_fd=direct)
    assert (answer.status, answer.error.os_errno) == (native.lib.VF_WRITE_FAILED, 28)
    assert writers(native, direct) == [("direct", 0, GRANULE)]


def test_direct_write_that_stops_within_a_granule_goes_on_through_the_cache(native, target, direct):
    native.plan("w", most=512)
    assert one_granule(native, target, direct_fd=direct).status == 0
    assert writers(native, direct) == [("direct", 0, GRANULE), ("buffered", 512, GRANULE - 512)]


def test_direct_write_that_stops_between_granules_goes_on_directly(native, target, direct):
    native.plan("w", most=GRANULE)
    data = b"\x01" * 3 * GRANULE
    native.copy([data], [(0, len(data), DATA)], target, len(data), direct_fd=direct)
    assert writers(native, direct) == [
        ("direct", 0, 3 * GRANULE), ("direct", GRANULE, 2 * GRANULE),
    ]  # fmt: skip


def test_real_direct_descriptor(native, target, tmp_path):
    try:
        direct = os.open(tmp_path / "target", os.O_WRONLY | os.O_DIRECT)
    except OSError as error:
        pytest.skip(f"this file system has no O_DIRECT: {error}")
    try:
        data = noise(8 * GRANULE)
        answer = native.copy([data], [(0, len(data), DATA)], target, len(data), direct_fd=direct)
    finally:
        os.close(direct)
    assert answer.status == 0
    assert content(target, 9 * GRANULE) == data
