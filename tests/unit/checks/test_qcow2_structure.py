"""What is said of qcow2 images, and whether refcounts come out as qemu-img counts them."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import KIB, MIB, SparseFile, pattern, peek, poke
from tests.support.build_qcow2 import Qcow2, raw_deflate
from tests.support.build_vhd import DynamicVhd
from tests.support.checking import NOTE, PASS, SKIPPED, WARNING, findings, one, verdict
from vhdfast.checks import Outcome, refcounts
from vhdfast.checks.refcounts import count_references
from vhdfast.formats.qcow2 import Qcow2Image
from vhdfast.image import open_image

CLUSTER = 64 * KIB
COPIED, COMPRESSED = 1 << 63, 1 << 62
CHECKS = ("qcow2-leaks", "qcow2-refcounts", "qcow2-copied", "qcow2-corrupt")


def small(**options: int) -> Qcow2:
    """Four clusters that are stored one behind the other, and a compressed one."""
    made = Qcow2(20 * MIB, **options)
    for number in (1, 2, 3, 9):
        made.data(number, pattern(number, 512))
    made.packed(20, raw_deflate(pattern(20, made.cluster_size)))
    return made


def write(tmp_path: Path, made: Qcow2) -> Path:
    return made.build().write(tmp_path / "disk.qcow2")


def word(path: Path, offset: int) -> int:
    value: int = struct.unpack(">Q", peek(path, offset, 8))[0]
    return value


class Places:
    """Where an image has what tests damage; read by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        bits = int.from_bytes(peek(path, 20, 4), "big")
        self.cluster = 1 << bits
        self.l1 = word(path, 40)
        self.l2 = word(path, self.l1) & ~COPIED
        self.block = word(path, word(path, 48))

    def entry(self, cluster: int) -> int:
        return self.l2 + 8 * cluster

    def count(self, offset: int) -> int:
        """Of 16 bits."""
        return self.block + 2 * (offset // self.cluster)

    def data(self, cluster: int) -> int:
        return word(self.path, self.entry(cluster)) & ~COPIED


@pytest.mark.parametrize("name", CHECKS)
def test_a_sound_image_passes(tmp_path: Path, name: str) -> None:
    assert verdict(one(write(tmp_path, small()), name)) is PASS


@pytest.mark.parametrize("name", CHECKS)
def test_other_formats_are_skipped(tmp_path: Path, name: str) -> None:
    path = DynamicVhd(20 * MIB).build().write(tmp_path / "disk.vhd")
    assert verdict(one(path, name)) is SKIPPED


# ---- each kind of damage ------------------------------------------------------------------------


def test_a_leak(tmp_path: Path) -> None:
    path = write(tmp_path, small())
    places = Places(path)
    data = places.data(2)
    poke(path, places.entry(2), bytes(8))
    finding = one(path, "qcow2-leaks")
    assert verdict(finding) == NOTE
    assert finding.message.startswith("1 of ")
    (evidence,) = finding.evidence
    assert (evidence.offset, evidence.found, evidence.expected) == (data, "1", "0")
    assert finding.remedy == f"qemu-img check -r leaks {path}"
    assert verdict(one(path, "qcow2-refcounts")) is PASS


def test_a_cluster_with_too_low_a_refcount(tmp_path: Path) -> None:
    path = write(tmp_path, small())
    places = Places(path)
    data = places.data(2)
    poke(path, places.count(data), bytes(2))
    finding = one(path, "qcow2-refcounts")
    assert verdict(finding) == WARNING
    (evidence,) = finding.evidence
    assert (evidence.offset, evidence.found, evidence.expected) == (data, "0", "1")
    flag = one(path, "qcow2-copied")
    assert verdict(flag) == WARNING
    assert (flag.evidence[0].found, flag.evidence[0].expected) == ("set", "not set")


def test_a_flag_that_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path, small())
    places = Places(path)
    data = places.data(2)
    poke(path, places.entry(2), struct.pack(">Q", data))
    finding = one(path, "qcow2-copied")
    assert verdict(finding) == WARNING
    (evidence,) = finding.evidence
    assert (evidence.offset, evidence.found, evidence.expected) == (data, "not set", "set")


def test_entries_that_lead_nowhere(tmp_path: Path) -> None:
    path = write(tmp_path, small())
    places = Places(path)
    poke(path, places.entry(2), struct.pack(">Q", COPIED | 1 << 40))
    poke(path, places.entry(3), struct.pack(">Q", COPIED | 0x200))
    finding = one(path, "qcow2-refcounts")
    assert verdict(finding) == WARNING
    assert finding.message.startswith("2 entries lead outside the file")
    assert {each.found for each in finding.evidence} == {"leads to 0x10000000000", "leads to 0x200"}


def test_an_image_marked_corrupt(tmp_path: Path) -> None:
    path = write(tmp_path, small(incompatible=2))
    finding = one(path, "qcow2-corrupt")
    assert verdict(finding) == WARNING
    assert finding.evidence[0].offset == 79
    assert peek(path, 79, 1) == b"\x02"
    assert verdict(one(path, "notices")) is PASS, "it is told once"


def test_an_image_that_was_not_closed(tmp_path: Path) -> None:
    path = write(tmp_path, small(incompatible=1))
    assert verdict(one(path, "closed-cleanly")) == WARNING
    assert verdict(one(path, "notices")) is PASS, "it is told once"


# ---- bounds -------------------------------------------------------------------------------------


def test_a_file_of_too_many_clusters_is_undecided(tmp_path: Path) -> None:
    path = write(tmp_path, small())
    with open(path, "r+b") as file:
        file.truncate(6 << 40)
    for name in CHECKS[:3]:
        assert verdict(one(path, name)) is Outcome.UNKNOWN


@pytest.mark.parametrize("bound", ["MAX_TABLES", "MAX_L2", "MAX_L2_TABLES"])
def test_too_many_tables_are_undecided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(refcounts, bound, 0)
    assert verdict(one(write(tmp_path, small()), "qcow2-leaks")) is Outcome.UNKNOWN


def test_refcounts_of_no_width_there_is(tmp_path: Path) -> None:
    path = write(tmp_path, small())
    poke(path, 96, struct.pack(">I", 7))
    assert verdict(one(path, "qcow2-leaks")) is Outcome.UNKNOWN


@pytest.mark.parametrize("window", [1, 3, 7])
@pytest.mark.parametrize("step", [1, 4])
def test_windows_do_not_change_what_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int, step: int
) -> None:
    path = write(tmp_path, small())
    places = Places(path)
    for cluster in (2, 3):
        poke(path, places.count(places.data(cluster)), bytes(2))
    poke(path, places.entry(9), bytes(8))
    poke(path, places.entry(10), struct.pack(">Q", 1 << 40))
    monkeypatch.setattr(refcounts, "WINDOW", window * 4)
    monkeypatch.setattr(refcounts, "MAX_WINDOWS", 100)
    monkeypatch.setattr(refcounts, "STEP", step)
    monkeypatch.setattr(refcounts, "BATCH", 1)
    assert counts(path) == (1, 2, 2, 1)


def counts(path: Path) -> tuple[int, int, int, int]:
    """(leaks, shortages, wrong flags, misplaced entries)."""
    with open_image(path, "qcow2") as image:
        assert isinstance(image.layer, Qcow2Image)
        found = count_references(image.layer)
    kinds = (found.leaks, found.shortages, found.copied, found.misplaced)
    return tuple(kind.count for kind in kinds)  # type: ignore[return-value]


# ---- against qemu-img ---------------------------------------------------------------------------

VARIANTS = {
    "plain": "", "extended": "extended_l2=on", "one-bit": "refcount_bits=1",
    "two-bits": "refcount_bits=2", "four-bits": "refcount_bits=4", "a-byte": "refcount_bits=8",
    "64-bits": "refcount_bits=64", "small": "cluster_size=512", "large": "cluster_size=2M",
    "version-2": "compat=0.10",
}  # fmt: skip


def qemu_counts(path: Path) -> tuple[int, int]:
    """(leaks, corruptions), as `qemu-img check` has them; it exits with a status for each."""
    done = subprocess.run(
        ["qemu-img", "check", "-f", "qcow2", "--output=json", path], capture_output=True, text=True
    )
    said = json.loads(done.stdout)
    assert said["check-errors"] == 0
    return said.get("leaks", 0), said.get("corruptions", 0)


def our_counts(path: Path) -> tuple[int, int]:
    leaks, *corruptions = counts(path)
    return leaks, sum(corruptions)


def made_by_qemu(path: Path, variant: str, qemu_img: Callable[..., str]) -> Path:
    """Data, zeros and compressed clusters; snapshots and a bitmap where there can be any."""
    options = ["-o", VARIANTS[variant]] if VARIANTS[variant] else []
    qemu_img("create", "-q", "-f", "qcow2", *options, path, 40 * MIB)
    large = "64k" if variant == "small" else "1M"
    qemu_io(path, f"write -P 1 0 {large}", "write -P 2 20M 70k", f"write -z 10M {large}")
    unit = {"small": "512", "large": "2M"}.get(variant, "64k")
    qemu_io(path, f"write -c -P 3 30M {unit}")
    if variant != "one-bit":
        qemu_img("snapshot", "-c", "one", path)
        qemu_io(path, "write -P 4 32k 64k")
        qemu_img("snapshot", "-c", "two", path)
        qemu_io(path, "write -P 5 64k 64k")
    if variant not in ("version-2", "small"):
        qemu_img("bitmap", "--add", path, "bitmap")
    return path


def qemu_io(path: Path, *commands: str) -> None:
    arguments = [part for command in commands for part in ("-c", command)]
    subprocess.run(["qemu-io", "-f", "qcow2", *arguments, path], check=True, capture_output=True)


@pytest.fixture
def sound(request: pytest.FixtureRequest, tmp_path: Path, qemu_img: Callable[..., str]) -> Path:
    return made_by_qemu(tmp_path / "disk.qcow2", request.param, qemu_img)


every_variant = pytest.mark.parametrize("sound", list(VARIANTS), indirect=True)


@every_variant
def test_damage_is_counted_as_qemu_counts_it(sound: Path) -> None:
    assert qemu_counts(sound) == our_counts(sound) == (0, 0)
    image = sound.read_bytes()
    cluster = 1 << int.from_bytes(image[20:24], "big")
    bits = 1 << int.from_bytes(image[96:100], "big") if image[7] == 3 else 16
    size = 16 if image[79] & 16 and image[7] == 3 else 8
    l1, table = struct.unpack_from(">QQ", image, 40)
    (l2,) = struct.unpack_from(">Q", image, l1)
    l2 &= ~COPIED
    (entry,) = struct.unpack_from(">Q", image, l2)
    number = (entry & 0x00FFFFFFFFFFFE00) // cluster
    which, within = divmod(number, cluster * 8 // bits)
    (block,) = struct.unpack_from(">Q", image, table + 8 * which)
    place = block + within * bits // 8
    lowest = place + max(bits // 8 - 1, 0)  # the byte with the lowest bit of the count
    flipped = image[lowest] ^ (1 << within * bits % 8)
    damages = {
        "the flag of an L2 entry": (l2, struct.pack(">Q", entry ^ COPIED)),
        "the flag of an L1 entry": (l1, struct.pack(">Q", l2 if image[l1] & 0x80 else COPIED | l2)),
        "a refcount": (lowest, bytes([flipped])),
        "an entry that is gone": (l2, bytes(size)),
        "an entry that leads elsewhere": (l2, struct.pack(">Q", entry + cluster)),
    }
    for what, (offset, data) in damages.items():
        before = poke(sound, offset, data)
        theirs = qemu_counts(sound)
        assert sum(theirs) > 0, what
        assert our_counts(sound) == theirs, what
        poke(sound, offset, before)


def test_a_data_file_is_not_counted(tmp_path: Path, qemu_img: Callable[..., str]) -> None:
    path, data = tmp_path / "disk.qcow2", tmp_path / "data.raw"
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={data}", path, 40 * MIB)
    qemu_io(path, "write -P 1 0 3M")
    assert qemu_counts(path) == our_counts(path) == (0, 0)


def test_a_table_that_the_file_cuts_short_is_counted(tmp_path: Path) -> None:
    made = small()
    file: SparseFile = made.build()
    path = file.write(tmp_path / "disk.qcow2")
    places = Places(path)
    end = word(path, word(path, 48)) + 100
    with open(path, "r+b") as handle:
        handle.truncate(end)
    assert places.block + 100 == path.stat().st_size
    assert findings(path, "qcow2-leaks")
