from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def find(native, data, granule, *, start=0, zeros=True, max_runs=100):
    """(runs, next), or the status of a refusal."""
    ffi = native.ffi
    runs = ffi.new("struct vf_run[]", max(max_runs, 1))
    count, following = ffi.new("size_t *", 77), ffi.new("size_t *", 77)
    kernel = native.select("zero", None)[1]
    status = native.lib.vf_find_runs(
        ffi.from_buffer("uint8_t[]", data), len(data), granule, start, zeros, kernel, runs,
        max_runs, count, following,
    )  # fmt: skip
    if status != native.lib.VF_OK:
        assert (count[0], following[0]) == (77, 77), "results are untouched on failure"
        return status
    return [(run.offset, run.length) for run in runs[0 : count[0]]], following[0]


def granules(picture, size=4):
    """'.' is a granule of zeros, '#' one with its last byte set, '1' a short one of one byte."""
    parts = {".": bytes(size), "#": bytes(size - 1) + b"\x01", "1": b"\x01", "0": b"\x00"}
    return b"".join(parts[letter] for letter in picture)


@pytest.mark.parametrize(
    ("picture", "zero_runs", "data_runs"),
    [
        ("", [], []),
        (".", [(0, 4)], []),
        ("#", [], [(0, 4)]),
        ("....", [(0, 16)], []),
        ("####", [], [(0, 16)]),
        (".#.#", [(0, 4), (8, 4)], [(4, 4), (12, 4)]),
        ("##..##", [(8, 8)], [(0, 8), (16, 8)]),
        ("..0", [(0, 9)], []),
        ("#.0", [(4, 5)], [(0, 4)]),
        ("..1", [(0, 8)], [(8, 1)]),
        ("##1", [], [(0, 9)]),
        ("1", [], [(0, 1)]),
    ],
)
def test_runs(native, picture, zero_runs, data_runs):
    data = granules(picture)
    assert find(native, data, 4, zeros=True) == (zero_runs, len(data))
    assert find(native, data, 4, zeros=False) == (data_runs, len(data))


def test_granule_longer_than_the_buffer(native):
    assert find(native, bytes(5), 2**64 - 1) == ([(0, 5)], 5)


def test_granule_of_one_byte(native):
    assert find(native, b"\0a\0\0b", 1) == ([(0, 1), (2, 2)], 5)


def test_full_runs_stop_at_the_end_of_the_last_one(native):
    assert find(native, granules(".#..#."), 4, max_runs=2) == ([(0, 4), (8, 8)], 16)


def test_going_on_gives_the_rest(native):
    assert find(native, granules(".#..#."), 4, start=16, max_runs=2) == ([(20, 4)], 24)


def test_full_runs_do_not_cut_a_run(native):
    assert find(native, granules("....#"), 4, max_runs=1) == ([(0, 16)], 16)


def test_last_run_at_the_end_leaves_nothing_to_do(native):
    assert find(native, granules("#."), 4, max_runs=1) == ([(4, 4)], 8)


def test_from_the_end(native):
    assert find(native, bytes(9), 4, start=9) == ([], 9)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"granule": 0}, id="granule 0"),
        pytest.param({"granule": 4, "max_runs": 0}, id="no room for a run"),
        pytest.param({"granule": 4, "start": 3}, id="from within a granule"),
        pytest.param({"granule": 4, "start": 12}, id="from beyond the end"),
    ],
)
def test_bad_argument(native, broken):
    assert find(native, bytes(8), **broken) == native.lib.VF_BAD_ARGUMENT


def test_bad_argument_does_not_fit_a_good_one(native):
    assert find(native, bytes(8), granule=4, start=4, max_runs=1) == ([(4, 4)], 8)


def naive(data, granule, zeros):
    runs = []
    for at in range(0, len(data), granule):
        part = data[at : at + granule]
        if (not any(part)) != zeros:
            continue
        if runs and runs[-1][0] + runs[-1][1] == at:
            runs[-1] = (runs[-1][0], runs[-1][1] + len(part))
        else:
            runs.append((at, len(part)))
    return runs


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(st.tuples(st.sampled_from(b"\0\x01"), st.integers(1, 90)), max_size=20),
    granule=st.integers(1, 80),
    zeros=st.booleans(),
    max_runs=st.integers(1, 4),
)
def test_any_buffer_in_any_number_of_calls(native, pieces, granule, zeros, max_runs):
    data = b"".join(bytes([value]) * length for value, length in pieces)
    found, at, calls = [], 0, 0
    while at < len(data):
        runs, at = find(native, data, granule, start=at, zeros=zeros, max_runs=max_runs)
        assert len(runs) <= max_runs
        found += runs
        calls += 1
    expected = naive(data, granule, zeros)
    assert found == expected
    assert calls <= len(expected) // max_runs + 1
