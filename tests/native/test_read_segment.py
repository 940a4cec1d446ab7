from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ZERO, DATA = 1, 2
STORED = bytes(range(1, 251))


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        pytest.param(100, 3, b"\x01\x02\x03", id="beginning of a row"),
        pytest.param(105, 3, b"\x06\x07\x08", id="within a row"),
        pytest.param(98, 4, b"\0\0\x01\x02", id="before a row and into it"),
        pytest.param(108, 5, b"\x09\x0a\0\0\0", id="out of a row"),
        pytest.param(109, 13, b"\x0a" + bytes(10) + b"\x65\x66", id="over a gap"),
        pytest.param(122, 10, b"\x67\x68\x69" + bytes(7), id="over a row of zeros"),
        pytest.param(0, 5, bytes(5), id="before all rows"),
        pytest.param(500, 5, bytes(5), id="behind all rows"),
        pytest.param(100, 0, b"", id="nothing"),
    ],
)
def test_read(native, offset, length, expected):
    rows = [(100, 10, DATA, 0, 0), (120, 5, DATA, 0, 100), (125, 20, ZERO)]
    answer, data = native.read([STORED], rows, offset, length)
    assert (answer.status, data) == (0, expected)


def test_only_what_was_asked_for_is_read(native, tmp_path):
    (tmp_path / "source").write_bytes(STORED)
    with open(tmp_path / "source", "rb") as source:
        rows = [(0, 100, DATA, 0, 0), (100, 100, DATA, 0, 100)]
        native.read([(source.fileno(), 250)], rows, 90, 20)
    assert [(c.offset, c.length) for c in native.calls("r")] == [(90, 10), (100, 10)]


def test_no_buffer_for_no_bytes(native):
    error = native.ffi.new("struct vf_error *")
    null = native.ffi.NULL
    status = native.lib.vf_read_segment(null, 0, null, 0, 5, null, 0, null, error)
    assert status == native.lib.VF_OK


def test_end_of_the_disk_wraps(native):
    answer, _ = native.read([STORED], [], 2**64 - 4, 5)
    assert answer.status == native.lib.VF_BAD_ARGUMENT


def test_last_bytes_that_do_not_wrap(native):
    answer, data = native.read([STORED], [], 2**64 - 5, 4)
    assert (answer.status, data) == (0, bytes(4))


def test_bad_row_outside_of_what_is_asked_for(native):
    answer, _ = native.read([STORED], [(0, 10, DATA), (900, 251, DATA)], 0, 10)
    assert answer.status == native.lib.VF_BAD_ROWS
    assert answer.error.row == 1


def test_source_cut_short(native, tmp_path):
    (tmp_path / "source").write_bytes(STORED)
    with open(tmp_path / "source", "rb") as source:
        answer, _ = native.read([(source.fileno(), 300)], [(0, 300, DATA)], 240, 60)
    error = answer.error
    assert answer.status == native.lib.VF_READ_SHORT
    assert (error.file, error.offset, error.length) == (0, 250, 50)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(
        st.tuples(
            st.integers(0, 9),
            st.integers(1, 40),
            st.sampled_from([DATA, ZERO]),
            st.integers(0, 200),
        ),
        max_size=8,
    ),
    offset=st.integers(0, 300),
    length=st.integers(0, 300),
)
def test_any_rows(native, parts, offset, length):
    rows, disk = [], bytearray()
    for gap, size, kind, file_offset in parts:
        disk += bytes(gap)
        rows.append((len(disk), size, kind, 0, file_offset))
        disk += STORED[file_offset : file_offset + size] if kind == DATA else bytes(size)
    answer, data = native.read([STORED], rows, offset, length)
    assert answer.status == 0
    assert data == bytes(disk[offset : offset + length]).ljust(length, b"\0")


# ---- vf_source_read: the last check, behind that of the rows


@pytest.mark.parametrize(
    ("offset", "length", "where", "missing"),
    [
        pytest.param(249, 2, 250, 1, id="one byte beyond"),
        pytest.param(250, 1, 250, 1, id="at the end"),
        pytest.param(2**64 - 1, 2, 2**64 - 1, 2, id="offset + length wraps"),
    ],
)
def test_memory_that_ends_before(native, offset, length, where, missing):
    table, alive = native.sources([STORED])
    error, buffer = native.ffi.new("struct vf_error *"), native.ffi.new("uint8_t[8]")
    status = native.lib.vf_source_read(table, 0, offset, buffer, length, error)
    assert status == error.status == native.lib.VF_READ_SHORT
    assert (error.offset, error.length) == (where, missing)
    assert bytes(buffer) == bytes(8)
    del alive


def test_last_byte_of_memory(native):
    table, alive = native.sources([STORED])
    error, buffer = native.ffi.new("struct vf_error *"), native.ffi.new("uint8_t[1]")
    assert native.lib.vf_source_read(table, 0, 249, buffer, 1, error) == native.lib.VF_OK
    assert buffer[0] == 250
    del alive


# ---- vf_gather -----------------------------------------------------------------------------------


def gather(native, source, offsets, size):
    table, alive = native.sources([source])
    error = native.ffi.new("struct vf_error *")
    buffer = native.ffi.new("uint8_t[]", max(len(offsets) * size, 1))
    status = native.lib.vf_gather(table, offsets, len(offsets), size, buffer, error)
    del alive
    return status, native.ffi.buffer(buffer, len(offsets) * size)[:], error


def test_gather_in_the_order_asked_for(native):
    status, data, _ = gather(native, STORED, [200, 0, 248], 2)
    assert (status, data) == (0, b"\xc9\xca\x01\x02\xf9\xfa")


def test_gather_from_a_file(native, tmp_path):
    (tmp_path / "source").write_bytes(STORED)
    fd = os.open(tmp_path / "source", os.O_RDONLY)
    status, data, _ = gather(native, (fd, 250), [9, 3], 2)
    os.close(fd)
    assert (status, data) == (0, b"\x0a\x0b\x04\x05")


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize(
    ("offset", "where", "missing"),
    [
        pytest.param(249, 250, 1, id="half of it is there"),
        pytest.param(250, 250, 2, id="at the end"),
        pytest.param(1000, 1000, 2, id="beyond the end"),
        pytest.param(2**63, 2**63, 2, id="no offset of a file"),
        pytest.param(2**64 - 1, 2**64 - 1, 2, id="offset + size wraps"),
    ],
)
def test_gather_beyond_the_end(native, tmp_path, kind, offset, where, missing):
    (tmp_path / "source").write_bytes(STORED)
    with open(tmp_path / "source", "rb") as file:
        source = STORED if kind == "memory" else (file.fileno(), 250)
        status, _, error = gather(native, source, [0, offset], 2)
    assert status == error.status == native.lib.VF_READ_SHORT
    assert (error.offset, error.length) == (where, missing)


def test_gather_from_a_closed_file(native, tmp_path):
    (tmp_path / "source").write_bytes(STORED)
    fd = os.open(tmp_path / "source", os.O_RDONLY)
    os.close(fd)
    status, _, error = gather(native, (fd, 250), [8], 2)
    assert (status, error.os_errno, error.offset) == (native.lib.VF_READ_FAILED, 9, 8)  # EBADF
