"""A moment of fuzzing: seeds, inputs that once broke something, and a few mutations of each format.

The long runs are `bash tests/fuzz/run.sh` (docs/hacking/fuzzing.md).
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

from .encoding import MAX_PACKED, Input, of_file
from .harness import Box, Broken, check, targets
from .make_seeds import C_INPUTS, make
from .mutate import FIXERS, mutate
from .run import build

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*-*"))
RUNS = 30  # mutations of each format


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    made = Box(tmp_path_factory.mktemp("box"))
    check(made, "raw", b"")  # what the first input loads is not its own
    return made


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    folder = tmp_path_factory.mktemp("seeds")
    found = {}
    for name in targets():
        make(name, folder / name, everything=False)
        found[name] = [path.read_bytes() for path in sorted((folder / name).iterdir())]
    return found


@pytest.mark.parametrize("name", sorted(targets()))
def test_seeds_are_read(name: str, box: Box, seeds: dict[str, list[bytes]]) -> None:
    """At least one of a format is an image of it: mutations begin with something."""
    assert seeds[name], f"no seeds: add {name} to tests/fuzz/make_seeds.py"
    outcomes = [check(box, name, packed).error for packed in seeds[name]]
    assert "" in outcomes


@pytest.mark.parametrize("name", sorted(targets()))
def test_mutations_break_nothing(
    name: str, box: Box, seeds: dict[str, list[bytes]], tmp_path: Path
) -> None:
    chance = random.Random(name)
    for _ in range(RUNS):
        packed = mutate(chance.choice(seeds[name] or [b""]), name, chance.getrandbits(32))
        try:
            check(box, name, packed)
        except Broken as problem:
            (tmp_path / "input").write_bytes(packed)
            pytest.fail(f"{problem}; the input is in {tmp_path / 'input'}")


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.name)
def test_what_once_broke(path: Path, box: Box) -> None:
    name = path.name.partition("-")[0]
    if name not in C_INPUTS:
        check(box, name, path.read_bytes())


@pytest.mark.parametrize("name", sorted(C_INPUTS))
def test_c_targets(name: str, tmp_path: Path) -> None:
    """Built and run over their seeds, where there is clang."""
    program = build(name)
    if program is None:
        pytest.skip("clang with libFuzzer is not installed")
    make(name, tmp_path)
    inputs = [*tmp_path.iterdir(), *(path for path in REGRESSIONS if path.name.startswith(name))]
    command = [str(program), "-runs=200", *map(str, inputs)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


# ---- the tools themselves ------------------------------------------------------------------------


def test_a_file_survives_packing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.truncate(3 << 20)
        for at, data in ((5, b"head"), (70000, b"\xff" * 5000), (1 << 20, b"a\0\0b" * 30)):
            file.seek(at)
            file.write(data)
    packed = of_file(path).pack()
    assert len(packed) < 300
    made = Input.unpack(packed)
    assert made.pack() == packed
    made.write(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    assert made.get(69990, 20) == bytes(10) + b"\xff" * 10


@pytest.mark.parametrize("cut", range(0, 40, 3))
def test_any_bytes_are_an_input(cut: int, tmp_path: Path) -> None:
    packed = bytes([0, 0, 16, 0, 0, 0, 0]) + bytes(6) + b"\x04\0\0data" + bytes(6) + b"\xff" * 20
    Input.unpack(packed[:cut]).write(tmp_path / "file")


def test_checksums_are_right_after_a_mutation(tmp_path: Path) -> None:
    """Else nothing behind them would ever be reached."""
    from tests.support import MIB, build_vhd, build_vhdx

    image = build_vhd.DynamicVhd(4 * MIB).build().write(tmp_path / "v")
    made = of_file(image)
    made.put(40, (77).to_bytes(8, "big"))
    FIXERS["vhd"][0](made)
    footer = made.get(0, 512)
    assert build_vhd.with_checksum(footer, 64) == footer

    made = of_file(build_vhdx.write_vhdx(tmp_path / "x", virtual_size=4 * MIB))
    made.put(64 * 1024 + 8, (9).to_bytes(8, "little"))
    FIXERS["vhdx"][0](made)
    header = made.get(64 * 1024, 4096)
    assert build_vhdx.sealed(header) == header


def test_mutations_differ_and_stay_small(seeds: dict[str, list[bytes]]) -> None:
    seed = seeds["vhdx"][0]
    made = {mutate(seed, "vhdx", number) for number in range(200)}
    assert len(made) > 150
    assert max(map(len, made)) <= MAX_PACKED
    assert mutate(seed, "vhdx", 7) == mutate(seed, "vhdx", 7)


def test_the_watch_sees_what_it_must() -> None:
    """In a process of its own: a hook stays for good."""
    script = """
import os, sys, tempfile
from pathlib import Path
from tests.fuzz.harness import Box, Broken
box = Box(Path(tempfile.mkdtemp()))
def strays(act):
    try:
        with box.watch():
            act()
    except Broken as problem:
        return str(problem)
assert "opened" in strays(lambda: open("/etc/hostname").close())
assert "opened" in strays(lambda: os.close(os.open("/etc/passwd", os.O_RDONLY)))
assert "opened" in strays(lambda: open(box.folder / "base.raw", "r+b").close())
assert "Popen" in strays(lambda: os.popen("true").close())
assert strays(lambda: open(box.folder / "base.raw", "rb").close()) is None
assert strays(lambda: open(box.temporary / "spool", "wb").close()) is None
print("seen")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "seen\n"
