"""The stand-in first on PATH under the name qemu-img, called by other programs."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import MIB, pattern
from tests.support.standin import environment, install

Qemu = Callable[..., str]
TAG = "12345678-9abc-def0-1234-56789abcdef0"


@pytest.fixture
def first_on_path(qemu_img: Qemu, tmp_path: Path) -> dict[str, str]:
    """An environment in which qemu-img is the stand-in, which tells what it does."""
    install(tmp_path / "bin")
    return environment(tmp_path / "bin", VHDFAST_QEMU_IMG_VERBOSE="1")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(pattern(4, MIB) + bytes(4 * MIB) + pattern(5, 512))
    return path


def run(env: dict[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    """By a shell, as scripts do."""
    command = ["sh", "-c", 'exec qemu-img "$@"', "sh", *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, text=True)


# How image builders call qemu-img; {source} and {target} are the files.
TOOLS = {
    "azure-documentation": "convert -f raw -o subformat=fixed,force_size -O vpc {source} {target}",
    "azure-linux-image-tools": "convert -f raw -O vpc -o subformat=fixed,force_size {source} "
    "{target}",
    "bosh-stemcells": "convert -O vpc -o subformat=fixed {source} {target}",
    "coreos-assembler": "convert -f raw -O vpc -o subformat=fixed,force_size {source} {target}",
    "kiwi": "convert -f raw {source} -O vpc -o force_size -o subformat=fixed {target}",
    "nova": "convert -t none -O raw -f raw {source} {target}",
    "nova-without-direct-io": "convert -t writeback -O raw -f raw {source} {target}",
    "osbuild": "convert -O vpc -o subformat=fixed,force_size -m 8 {source} {target}",
    "packer": "convert -O raw {source} {target}",
}


@pytest.mark.parametrize("tool", TOOLS)
def test_what_builders_say_is_served(
    tool: str, first_on_path: dict[str, str], qemu_img: Qemu, disk: Path, tmp_path: Path
) -> None:
    target, theirs = tmp_path / "target", tmp_path / "theirs"
    words = TOOLS[tool].split()
    done = run(first_on_path, *(word.format(source=disk, target=target) for word in words))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("vhdfast-qemu-img: convert: served by vhdfast "), done.stderr
    qemu_img(*(word.format(source=disk, target=theirs) for word in words))
    assert target.read_bytes()[: 5 * MIB + 512] == disk.read_bytes()
    assert target.stat().st_size == theirs.stat().st_size


HANDED = {
    "diskimage-builder": "convert -c -f raw -O qcow2 {source} {target}",
    "glance": "info -f raw --output=json {source}",
    "nova": "info --force-share --output=json {source}",
    "osbuild": "convert -O qcow2 -c -o compat=1.1 {source} {target}",
    "packer": "create -f qcow2 {target} 40960M",
    "packer-resize": "resize -f raw {source} 6M",
    "virt-v2v": "convert -p -n -f raw -O raw {source} {target}",
    "vdsm": "measure --output json -O qcow2 -f raw {source}",
    "version": "--version",
    "wrong": "convert --bad",
}


@pytest.mark.parametrize("tool", HANDED)
def test_the_rest_is_answered_by_qemu_img_itself(
    tool: str, first_on_path: dict[str, str], disk: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    words = [word.format(source=disk, target=target) for word in HANDED[tool].split()]
    ours = run(first_on_path, *words)
    target.unlink(missing_ok=True)
    theirs = subprocess.run(["qemu-img", *words], capture_output=True, text=True)
    told, _, rest = ours.stderr.partition("\n")
    assert told.startswith("vhdfast-qemu-img: handed over to /"), ours.stderr
    assert (ours.returncode, ours.stdout, rest) == (
        theirs.returncode, theirs.stdout, theirs.stderr,
    )  # fmt: skip


def test_nothing_is_told_unasked(first_on_path: dict[str, str], disk: Path, tmp_path: Path) -> None:
    del first_on_path["VHDFAST_QEMU_IMG_VERBOSE"]
    done = run(first_on_path, "convert", "-O", "raw", disk, tmp_path / "target")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run(first_on_path, "--vhdfast-verbose", "info", disk)
    assert done.stderr.startswith("vhdfast-qemu-img: handed over to ")


# ---- KIWI ---------------------------------------------------------------------------------------

KIWI_CONFIG = """\
<?xml version="1.0" encoding="utf-8"?>
<image schemaversion="8.0" name="azure-test">
  <description type="system">
    <author>tests</author><contact>tests@example.com</contact><specification>-</specification>
  </description>
  <preferences>
    <version>1.0.0</version>
    <packagemanager>zypper</packagemanager>
    <type image="oem" filesystem="ext4" format="{format}" {options}/>
  </preferences>
  <repository><source path="obs://13.2/repo/oss"/></repository>
  <packages type="bootstrap"><package name="filesystem"/></packages>
</image>
"""
KIWI_RUN = """\
import sys
from kiwi.defaults import Defaults
from kiwi.storage.subformat import DiskFormat
from kiwi.xml_description import XMLDescription
from kiwi.xml_state import XMLState

Defaults.set_platform_name("x86_64")
state = XMLState(XMLDescription("config.xml").load())
with DiskFormat.new(state.build_type.get_format(), state, "root", ".") as disk_format:
    disk_format.resize_raw_disk(6 << 20)
    disk_format.create_image_format()
    print(disk_format.get_target_file_path_for_format(disk_format.image_format))
"""


def build_with_kiwi(
    env: dict[str, str], directory: Path, disk: Path, format_name: str, options: str
) -> tuple[Path, str]:
    """(the image that KIWI made of a raw disk, its log)."""
    if importlib.util.find_spec("kiwi") is None:
        pytest.skip("KIWI is not installed (pip install kiwi)")
    (directory / "config.xml").write_text(KIWI_CONFIG.format(format=format_name, options=options))
    shutil.copyfile(disk, directory / "azure-test.x86_64-1.0.0.raw")
    done = subprocess.run(
        [sys.executable, "-c", KIWI_RUN],
        cwd=directory, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return directory / done.stdout.splitlines()[-1], done.stderr


@pytest.mark.parametrize("forced", [True, False], ids=["force_size", "rounded"])
def test_kiwi_builds_its_fixed_vhd(
    forced: bool, first_on_path: dict[str, str], qemu_img: Qemu, disk: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    first_on_path["VHDFAST_TEST_LOG"] = str(log)
    script = tmp_path / "bin" / "qemu-img"
    script.rename(tmp_path / "bin" / "vhdfast-qemu-img")
    # KIWI keeps what its commands print on stderr to itself.
    script.write_text(
        '#!/bin/sh\nexec "$(dirname "$0")/vhdfast-qemu-img" "$@" 2>>"$VHDFAST_TEST_LOG"\n'
    )
    script.chmod(0o755)
    options = f'formatoptions="{"force_size," if forced else ""}--tag={TAG}"'

    image, _ = build_with_kiwi(first_on_path, tmp_path, disk, "vhd-fixed", options)

    told = log.read_text().splitlines()
    assert "handed over" in told[0], "resize"
    assert told[-1].startswith("vhdfast-qemu-img: convert: served by ")
    size = 6 * MIB if forced else 6301696  # the next size that a geometry expresses
    info = json.loads(qemu_img("info", "-f", "vpc", "--output=json", image))
    assert (info["virtual-size"], image.stat().st_size) == (size, size + 512)
    content = bytearray(disk.read_bytes().ljust(size, b"\0"))
    content[65536 : 65536 + 512] = bytes.fromhex(
        "78563412bc9af0de123456789abcdef0"
    ) + bytes(496)  # fmt: skip
    assert image.read_bytes()[:-512] == content


def test_kiwi_builds_what_is_not_served(
    first_on_path: dict[str, str], qemu_img: Qemu, disk: Path, tmp_path: Path
) -> None:
    image, _ = build_with_kiwi(first_on_path, tmp_path, disk, "vhdx", "")
    raw = tmp_path / "azure-test.x86_64-1.0.0.raw"
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "vhdx", raw, image)


# ---- finding qemu-img itself --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["link", "copy", "wrapper"])
def test_it_finds_the_real_one_past_all_forms_of_itself(
    how: str, first_on_path: dict[str, str], disk: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "qemu-img"
    other.parent.mkdir()
    script = tmp_path / "bin" / "qemu-img"
    if how == "link":
        other.symlink_to(script)
    elif how == "copy":
        shutil.copy(script, other)
    else:
        other.write_text('#!/bin/sh\nexec python -m vhdfast.qemu_img "$@"\n')
        other.chmod(0o755)
    first_on_path["PATH"] = f"{other.parent}:{first_on_path['PATH']}"
    done = run(first_on_path, "info", disk)
    assert done.returncode == 0 and "file format: raw" in done.stdout
    assert done.stderr.count("handed over to") == 1


def test_a_program_that_leads_back_ends_the_search(
    first_on_path: dict[str, str], disk: Path, tmp_path: Path
) -> None:
    loop = tmp_path / "loop"
    loop.write_text(f'#!/bin/sh\nx={tmp_path}/bin; exec "$x"/qemu-img "$@"\n')
    loop.chmod(0o755)
    done = run({**first_on_path, "VHDFAST_QEMU_IMG": str(loop)}, "info", disk)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("qemu-img: the stand-in was started in the")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [("/nowhere/qemu-img", "which is no program"), ("{bin}/qemu-img", "the stand-in itself")],
)
def test_a_wrong_choice_is_said(
    chosen: str, message: str, first_on_path: dict[str, str], disk: Path, tmp_path: Path
) -> None:
    chosen = chosen.format(bin=tmp_path / "bin")
    done = run({**first_on_path, "VHDFAST_QEMU_IMG": chosen}, "info", disk)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"qemu-img: VHDFAST_QEMU_IMG is {chosen!r}, which is {message}\n".replace(
        "which is which is", "which is"
    )


def test_the_chosen_one_is_taken(first_on_path: dict[str, str], disk: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "mine"
    chosen.write_text('#!/bin/sh\necho "$0 $@"\n')
    chosen.chmod(0o755)
    done = run({**first_on_path, "VHDFAST_QEMU_IMG": str(chosen)}, "info", "-U", disk)
    assert done.stdout == f"{chosen} info -U {disk}\n"


def test_the_real_one_starts_as_the_shell_would_start_it(
    first_on_path: dict[str, str], tmp_path: Path
) -> None:
    chosen = tmp_path / "mine"
    chosen.write_text(
        "#!/bin/sh\ngrep SigIgn /proc/self/status; umask; ulimit -n; ls -l /proc/self/fd | wc -l\n"
    )
    chosen.chmod(0o755)
    env = {**first_on_path, "VHDFAST_QEMU_IMG": str(chosen)}
    assert run(env, "info", "x").stdout == run(
        {**env, "PATH": f"{tmp_path}:{env['PATH']}"}, "info", "x"
    ).stdout  # fmt: skip
    plain = subprocess.run([chosen], env=env, capture_output=True, text=True).stdout
    assert run(env, "info", "x").stdout == plain


# ---- signals ------------------------------------------------------------------------------------


@pytest.fixture
def slow_copy(
    first_on_path: dict[str, str], tmp_path: Path
) -> Callable[[], tuple[subprocess.Popen[str], Path]]:
    """Starts a conversion that is under way and takes some seconds more."""
    source, target = tmp_path / "slow.raw", tmp_path / "slow.vhd"
    with open(source, "wb") as file:
        for index in range(64):
            file.write(pattern(index, MIB))
    # Its copy waits before each segment.
    (tmp_path / "sitecustomize.py").write_text(
        "import time\n"
        "from vhdfast.image import Image\n"
        "copy = Image.copy_rows\n"
        "def slow(*words):\n"
        "    time.sleep(1)\n"
        "    return copy(*words)\n"
        "Image.copy_rows = slow\n"
    )

    def start() -> tuple[subprocess.Popen[str], Path]:
        words = ["convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size"]
        paths = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
        process = subprocess.Popen(
            [tmp_path / "bin" / "qemu-img", *words, source, target],
            env={**first_on_path, "PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for _ in range(500):
            if list(tmp_path.glob(".slow.vhd.*")):
                return process, target
            time.sleep(0.01)
        raise AssertionError("the copy did not begin")

    return start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_and_is_died_of(
    number: signal.Signals,
    slow_copy: Callable[[], tuple[subprocess.Popen[str], Path]],
    tmp_path: Path,
) -> None:
    (tmp_path / "slow.vhd").write_bytes(b"what was there")
    process, target = slow_copy()
    process.send_signal(number)
    _, printed = process.communicate(timeout=30)
    assert (process.returncode, printed) == (-number, "")
    assert target.read_bytes() == b"what was there"
    assert not list(tmp_path.glob(".slow.vhd.*"))


def test_sigusr1_asks_for_the_progress(
    slow_copy: Callable[[], tuple[subprocess.Popen[str], Path]],
) -> None:
    process, target = slow_copy()
    process.send_signal(signal.SIGUSR1)
    _, printed = process.communicate(timeout=30)
    assert process.returncode == 0
    assert printed.splitlines()[0] == "    (0.00/100%)"
    assert target.stat().st_size == 64 * MIB + 512
