"""What vf_write_data writes, and what it leaves alone. The target is filled with 0xaa first."""

from __future__ import annotations

import os

import pytest

from .conftest import GRANULE
from .test_copy_segment import UNTOUCHED, content, fill, noise, written


@pytest.fixture
def write(native):
    """write(data, offset, fd, size, …): the status, bytes written and zeros found."""

    def call(data, offset, fd, size, *, direct_fd=-1, direct_minimum=0, allocate_ahead=0):
        sink = native.ffi.new("struct vf_sink *")
        sink.size, sink.fd, sink.direct_fd = size, fd, direct_fd
        sink.direct_minimum, sink.allocate_ahead = direct_minimum, allocate_ahead
        copied, error = native.ffi.new("struct vf_copied *"), native.ffi.new("struct vf_error *")
        # A buffer of its own, exactly as long: the address sanitizer watches its ends.
        buffer = native.ffi.gc(native.lib.tf_allocate(max(len(data), 1)), native.lib.tf_free)
        native.ffi.memmove(buffer, data, len(data))
        status = native.lib.vf_write_data(
            sink, buffer, len(data), offset, native.select("zero", None)[1], copied, error
        )
        return status, copied.written, copied.zeros, error

    return call


def test_granules_of_zeros_are_left_alone(native, target, write):
    fill(target, 7 * GRANULE)
    data = bytes(GRANULE) + noise(2 * GRANULE) + bytes(GRANULE) + noise(GRANULE)
    assert write(data, GRANULE, target, 7 * GRANULE)[:3] == (0, 3 * GRANULE, 2 * GRANULE)
    untouched = UNTOUCHED * GRANULE
    expected = untouched * 2 + noise(2 * GRANULE) + untouched + noise(GRANULE) + untouched
    assert content(target, 7 * GRANULE) == expected


def test_end_within_a_granule(native, target, write):
    fill(target, 2 * GRANULE)
    assert write(noise(GRANULE + 5), 0, target, 2 * GRANULE)[:3] == (0, GRANULE + 5, 0)
    expected = noise(GRANULE + 5) + UNTOUCHED * (GRANULE - 5)
    assert content(target, 2 * GRANULE) == expected


def test_nothing_writes_nothing(native, target, write):
    assert write(b"", 0, target, GRANULE)[:3] == (0, 0, 0)
    assert written(native) == []


def test_more_runs_than_are_looked_up_at_once(native, target, write):
    data = (noise(GRANULE) + bytes(GRANULE)) * 100
    os.ftruncate(target, len(data))
    assert write(data, 0, target, len(data))[:3] == (0, 100 * GRANULE, 100 * GRANULE)
    assert content(target, len(data)) == data


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        pytest.param(1, GRANULE, id="amid a granule"),
        pytest.param(0, 8 * GRANULE + 1, id="one byte beyond the sink"),
        pytest.param(9 * GRANULE, 0, id="behind the sink"),
        pytest.param(2**64 - GRANULE, 2 * GRANULE, id="wraps"),
    ],
)
def test_places_outside_the_sink_are_refused(native, target, write, offset, length):
    status, wrote, _, error = write(noise(length), offset, target, 8 * GRANULE)
    assert status == error.status == native.lib.VF_BAD_ARGUMENT
    assert (wrote, written(native)) == (0, [])


def test_full_disk_says_where(native, target, write):
    native.plan("w", os_errno=28)
    data = bytes(GRANULE) + noise(GRANULE)
    status, wrote, _, error = write(data, GRANULE, target, 8 * GRANULE)
    assert (status, error.os_errno) == (native.lib.VF_WRITE_FAILED, 28)
    assert (wrote, error.offset, error.length) == (0, 2 * GRANULE, GRANULE)


@pytest.fixture
def direct(target, tmp_path):
    """A second descriptor of the target; that it is not O_DIRECT makes no difference to who is
    asked to write what."""
    fd = os.open(tmp_path / "target", os.O_WRONLY)
    yield fd
    os.close(fd)


def test_long_runs_go_direct(native, target, direct, write):
    data = noise(2 * GRANULE) + bytes(GRANULE) + noise(GRANULE)
    write(data, 0, target, 8 * GRANULE, direct_fd=direct, direct_minimum=2 * GRANULE)
    assert [(call.fd == direct, call.length) for call in native.calls("w")] == [
        (True, 2 * GRANULE), (False, GRANULE),
    ]  # fmt: skip


@pytest.mark.parametrize("ahead", [0, 1])
def test_zeros_in_blocks_made_ahead_are_given_back(target, direct, write, ahead):
    os.ftruncate(target, 1024 * GRANULE)
    data = noise(GRANULE) + bytes(510 * GRANULE) + noise(GRANULE)
    options = {"direct_fd": direct, "direct_minimum": GRANULE, "allocate_ahead": ahead}
    assert write(data, 512 * GRANULE, target, 1024 * GRANULE, **options)[0] == 0
    os.fsync(target)
    assert content(target, 1024 * GRANULE) == bytes(512 * GRANULE) + data
    assert os.fstat(target).st_blocks * 512 <= 64 * GRANULE
