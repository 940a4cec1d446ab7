"""Recipes, running and measuring programs, and what samples come to."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import MIB
from vhdfast.benchmark.measuring import Sample, drop_cache, launch, read_through, rotated, summary
from vhdfast.benchmark.recipes import Recipe, pool, runs, scaled, write_raw
from vhdfast.errors import CopyError, ReadError, UsageError, WriteError

KIB = 1 << 10

# ---- recipes ------------------------------------------------------------------------------------


def test_a_recipe_makes_the_same_bytes_everywhere(tmp_path: Path) -> None:
    recipe = Recipe("t", 64 * MIB, 4 * MIB, 64 * KIB, zero_share=0.25)
    write_raw(recipe, tmp_path / "t.raw")
    found = hashlib.sha256((tmp_path / "t.raw").read_bytes()).hexdigest()
    assert found == "cffbb63e57a462f462ccae870bbc11a0e2d6645ab9d6b8b48c16a055d13ef552"


@given(
    size=st.integers(1, 4096),
    share=st.floats(0, 0.33),
    run=st.sampled_from([8, 64, 512]),
    even=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_runs_lie_apart_on_the_disk_and_hold_the_data(
    size: int, share: float, run: int, even: bool, seed: int
) -> None:
    data = int(size * MIB * share) // 4096 * 4096
    table = runs(Recipe("t", size * MIB, data, run * KIB, even=even, seed=seed))
    starts, lengths = table[:, 0], table[:, 1]
    assert not (table % 4096).any()
    assert (lengths > 0).all()
    assert (starts[1:] >= (starts + lengths)[:-1] + 4096).all()
    assert not len(table) or (starts[0] >= 0 and starts[-1] + lengths[-1] <= size * MIB)
    stored = int(lengths.sum())
    assert stored == data or (even and data - run * KIB < stored <= data)


def test_even_runs_are_as_many_as_the_data_has() -> None:
    table = runs(Recipe("t", 64 * MIB, MIB, 4 * KIB, even=True))
    assert len(table) == 256
    assert set(table[:, 1]) == {4096}
    assert len(set(np.diff(table[:, 0]))) == 1


def test_a_run_longer_than_the_pool_is_written_whole(tmp_path: Path) -> None:
    write_raw(Recipe("t", 64 * MIB, 48 * MIB, 48 * MIB, even=True), tmp_path / "t.raw")
    data = np.fromfile(tmp_path / "t.raw", np.uint8).reshape(-1, 4096)
    assert int(data.any(axis=1).sum()) == 48 * MIB // 4096


def test_a_share_of_zeros_is_stored_and_zero(tmp_path: Path) -> None:
    write_raw(Recipe("t", 64 * MIB, 8 * MIB, 64 * KIB, zero_share=1.0), tmp_path / "t.raw")
    assert (tmp_path / "t.raw").stat().st_blocks * 512 >= 8 * MIB
    assert not np.fromfile(tmp_path / "t.raw", np.uint8).any()


def test_what_files_hold_packs_to_less_than_half_and_has_no_zero_granule() -> None:
    data = pool("files")[: 8 * MIB]
    packed = sum(len(zlib.compress(data[i : i + 65536], 6)) for i in range(0, len(data), 65536))
    assert 2.0 < len(data) / packed < 3.5
    assert data.reshape(-1, 4096).any(axis=1).all()
    noise = pool("noise")[:MIB]
    assert len(zlib.compress(noise)) > 0.99 * MIB


def test_scaling_keeps_whole_mib_and_the_length_of_runs() -> None:
    small = scaled(Recipe("t", 1024 * MIB, 100 * MIB, 64 * KIB, zero_share=0.5), 0.01)
    assert (small.size, small.data, small.run, small.zero_share) == (
        10 * MIB, MIB, 64 * KIB, 0.5,
    )  # fmt: skip
    assert scaled(Recipe("t", MIB, 0), 0.001).size == MIB


@pytest.mark.parametrize(
    ("size", "data", "run"), [(MIB + 1, 0, 4096), (MIB, MIB, 4096), (MIB, -1, 4096), (MIB, 0, 512)]
)
def test_a_recipe_that_cannot_be_is_refused(size: int, data: int, run: int) -> None:
    with pytest.raises(UsageError):
        Recipe("t", size, data, run)


def test_a_recipe_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "t.raw").write_bytes(b"mine")
    with pytest.raises(WriteError):
        write_raw(Recipe("t", MIB, 0), tmp_path / "t.raw")
    assert (tmp_path / "t.raw").read_bytes() == b"mine"


# ---- samples ------------------------------------------------------------------------------------


def test_medians_and_ratios_by_hand() -> None:
    samples = [
        Sample("other", 0, 6.0, 3.0, 50), Sample("ours", 0, 2.0, 1.0, 100),
        Sample("ours", 1, 4.0, 2.0, 300), Sample("other", 1, 4.0, 8.0, 70),
        Sample("other", 2, 5.0, 1.0, 60), Sample("ours", 2, 10.0, 2.0, 200),
    ]  # fmt: skip
    rows = summary(samples, "ours")
    assert list(rows) == ["ours", "other"]
    assert (rows["ours"].wall_s, rows["ours"].cpu_s, rows["ours"].peak_rss) == (4.0, 2.0, 300)
    assert rows["ours"].wall_ratios == (1.0, 1.0, 1.0)
    other = rows["other"]
    assert (other.wall_s, other.cpu_s, other.peak_rss) == (5.0, 3.0, 70)
    # In rounds: 6/2, 4/4, 5/10. The ratio of the medians would be 1.25.
    assert other.wall_ratios == (3.0, 1.0, 0.5)
    assert (other.wall_ratio, other.cpu_ratio) == (1.0, 3.0)


def test_each_engine_is_the_first_one_in_turn() -> None:
    assert [rotated("abc", number) for number in range(4)] == [
        ["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"],
    ]  # fmt: skip


# ---- running ------------------------------------------------------------------------------------


def test_time_and_memory_are_the_programs_own(tmp_path: Path) -> None:
    waste = bytearray(b"x") * (200 * MIB)  # of this process, which must not be counted
    script = "import time; s = bytearray(b'x') * (64 << 20); time.sleep(0.2)"
    sample, status = launch("p", [sys.executable, "-I", "-S", "-c", script], number=3)
    del waste
    assert sample is not None and status == 0
    assert (sample.engine, sample.round) == ("p", 3)
    assert sample.wall_s >= 0.2
    assert sample.cpu_s < sample.wall_s
    assert 64 * MIB < sample.peak_rss < 150 * MIB


def test_a_failure_says_what_the_program_said() -> None:
    with pytest.raises(CopyError, match="p ended with status 3: no such thing"):
        launch("p", ["sh", "-c", "echo first; echo no such thing >&2; exit 3"])
    with pytest.raises(CopyError, match="p ended with signal 9"):
        launch("p", ["sh", "-c", "kill -9 $$"])
    assert launch("p", ["sh", "-c", "exit 1"], answers=(0, 1))[1] == 1


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="cannot be run"):
        launch("p", ["/nowhere/program"])


def test_a_program_that_takes_too_long_is_ended_and_may_clean_up(tmp_path: Path) -> None:
    left = tmp_path / "left"
    script = f"touch {left}; trap 'rm {left}; exit 1' TERM; while :; do sleep 0.05; done"
    assert launch("p", ["sh", "-c", script], limit_s=1.0) == (None, -1)
    assert not left.exists()


def test_an_exception_ends_the_program_as_well(tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 60"

    def interrupt() -> None:
        while not (tmp_path / "pid").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        launch("p", ["sh", "-c", script])
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


# ---- the page cache -----------------------------------------------------------------------------


def cached_pages(path: Path) -> int:
    done = subprocess.run(
        ["fincore", "--noheadings", "--output", "PAGES", path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.skipif(shutil.which("fincore") is None, reason="fincore is not installed")
def test_a_file_leaves_the_cache_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 4 * MIB)
    drop_cache(str(path))
    if cached_pages(path):
        pytest.skip("this file system keeps files in memory")
    read_through(str(path))
    assert cached_pages(path) == 1024


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for touch in (drop_cache, read_through):
        with pytest.raises(ReadError):
            touch(str(tmp_path / "none"))
