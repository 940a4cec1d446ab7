"""Sources that are a part of a file: struct vf_source.start."""

from __future__ import annotations

import os

import pytest

DATA = 2
STORED = bytes(range(1, 251))
START, SIZE = 100, 50


@pytest.fixture
def piece(tmp_path):
    (tmp_path / "source").write_bytes(STORED)
    fd = os.open(tmp_path / "source", os.O_RDONLY)
    yield fd, SIZE, START
    os.close(fd)


def test_bytes_count_from_the_start(native, target, piece):
    answer = native.copy([piece], [(0, 20, DATA, 0, 30)], target, 20)
    assert (answer.status, os.pread(target, 100, 0)) == (0, STORED[130:150])
    assert [(call.offset, call.length) for call in native.calls("r")] == [(130, 20)]


def test_nothing_beyond_the_slice_is_read(native, piece):
    answer, _ = native.read([piece], [(0, 51, DATA)], 0, 51)
    assert answer.status == native.lib.VF_BAD_ROWS
    answer, data = native.read([piece], [(0, 50, DATA)], 0, 60)
    assert (answer.status, data) == (0, STORED[100:150] + bytes(10))


def test_gather(native, piece):
    table, alive = native.sources([piece])
    error, buffer = native.ffi.new("struct vf_error *"), native.ffi.new("uint8_t[4]")
    assert native.lib.vf_gather(table, [48, 0], 2, 2, buffer, error) == native.lib.VF_OK
    assert bytes(buffer) == STORED[148:150] + STORED[100:102]
    assert native.lib.vf_gather(table, [49], 1, 2, buffer, error) == native.lib.VF_READ_SHORT
    assert (error.offset, error.length) == (50, 1)
    del alive


def test_errors_speak_of_offsets_in_the_slice(native, piece):
    native.plan("r", os_errno=5)  # EIO
    answer, _ = native.read([piece], [(0, 50, DATA)], 10, 5)
    assert (answer.status, answer.error.offset) == (native.lib.VF_READ_FAILED, 10)


def test_file_that_was_cut_within_the_slice(native, piece, tmp_path):
    os.truncate(tmp_path / "source", START + 20)
    answer, _ = native.read([piece], [(0, 50, DATA)], 0, 50)
    assert answer.status == native.lib.VF_READ_SHORT
    assert (answer.error.offset, answer.error.length) == (20, 30)
