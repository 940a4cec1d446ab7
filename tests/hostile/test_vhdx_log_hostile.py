"""VHDX logs that cannot be replayed, and logs made to cost time or memory."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import MIB, poke
from tests.support.build_vhdx import (
    BAT,
    HEADERS,
    LOG,
    LOG_ID,
    Data,
    Entry,
    Zero,
    bat_length,
    header,
    log_bytes,
    poke_both,
    sealed,
    write_vhdx,
)
from tests.support.vhdx_damage import (
    BODY,
    PAYLOAD,
    refusal,
    u16,
    u32,
    u64,
    with_log,
)
from vhdfast import open_image
from vhdfast.errors import (
    CorruptImageError,
    InvalidImageError,
    UnsupportedImageError,
    VhdfastError,
)


def test_a_log_version_that_is_unknown(tmp_path: Path) -> None:
    path = with_log(tmp_path / "d", Entry(1))
    poke_both(path, HEADERS, 64, u16(1))
    error = refusal(path, "log version 1", "expected 0", at=HEADERS[1] + 64)
    assert type(error) is UnsupportedImageError


def test_a_dirty_log_without_a_place(tmp_path: Path) -> None:
    path = with_log(tmp_path / "d", Entry(1))
    poke_both(path, HEADERS, 68, u32(0))
    error = refusal(path, "the log is [0x100000, 0x100000)", at=HEADERS[1] + 68)
    assert type(error) is InvalidImageError


def test_a_dirty_log_that_is_huge(tmp_path: Path) -> None:
    path = with_log(tmp_path / "d", Entry(1))
    with open(path, "r+b") as file:
        file.truncate(8 << 30)
    for place in HEADERS:
        poke(path, place, header(9, log_id=LOG_ID, log_offset=1 << 30, log_length=0xFFF00000))
    error = refusal(path, "4293918720 bytes", "at most 33554432", "Hyper-V", at=HEADERS[0] + 68)
    assert type(error) is UnsupportedImageError


def broken(change: Callable[[bytearray], None], reseal: bool = True) -> bytes:
    """A log of one entry with two changes, damaged."""
    log = log_bytes([Entry(1, [Data(BAT, bytes(4096)), Zero(BAT, 4096)])], PAYLOAD + MIB)
    entry = bytearray(log[:8192])
    change(entry)
    return (sealed(bytes(entry)) if reseal else bytes(entry)) + log[8192:]


def _put(at: int, data: bytes) -> Callable[[bytearray], None]:
    def change(entry: bytearray) -> None:
        entry[at : at + len(data)] = data

    return change


BROKEN = {
    "all zeros": bytes(MIB),
    "all ones": b"\xff" * MIB,
    "signature": broken(_put(0, b"LOGE")),
    "checksum": broken(_put(4096 + 100, b"!"), reseal=False),
    "entry length 0": broken(_put(8, u32(0))),
    "entry length odd": broken(_put(8, u32(8191))),
    "entry length beyond the log": broken(_put(8, u32(MIB + 4096))),
    "entry length all ones": broken(_put(8, u32(0xFFFFFFFF))),
    "tail odd": broken(_put(12, u32(1))),
    "tail beyond the log": broken(_put(12, u32(MIB))),
    "tail elsewhere": broken(_put(12, u32(65536))),
    "sequence 0": broken(_put(16, u64(0))),
    "sequence not the descriptors'": broken(_put(16, u64(2))),
    "descriptors one too many": broken(_put(24, u32(3))),
    "descriptors all ones": broken(_put(24, u32(0xFFFFFFFF))),
    "log id": broken(_put(32, b"!")),
    "descriptor signature": broken(_put(64, b"what")),
    "descriptor offset odd": broken(_put(64 + 16, u64(BAT + 512))),
    "descriptor sequence": broken(_put(64 + 24, u64(7))),
    "zero length odd": broken(_put(96 + 8, u64(4095))),
    "data signature": broken(_put(4096, b"DATA")),
    "data sequence high": broken(_put(4100, u32(1))),
    "data sequence low": broken(_put(8188, u32(2))),
    "data sector missing": broken(_put(96, b"desc")),
}


@pytest.mark.parametrize("log", BROKEN.values(), ids=BROKEN)
def test_a_log_that_holds_nothing_valid(tmp_path: Path, log: bytes) -> None:
    error = refusal(
        with_log(tmp_path / "d", log=log), "not closed", "no valid sequence to replay", at=LOG
    )
    assert type(error) is CorruptImageError


def test_the_undamaged_log_of_those_tests_is_replayed(tmp_path: Path) -> None:
    with open_image(with_log(tmp_path / "d", log=broken(_put(0, b"loge")))) as image:
        assert image.pread(0, MIB) == bytes(MIB)


def test_an_entry_numbered_zero_is_none(tmp_path: Path) -> None:
    assert "no valid sequence" in str(refusal(with_log(tmp_path / "d", Entry(0)), at=LOG))


def test_an_entry_that_runs_over_the_first_of_its_sequence(tmp_path: Path) -> None:
    # Its second sector is that of entry 1, which cannot be both: the sequence ends before it.
    size = PAYLOAD + MIB
    log = log_bytes([Entry(number) for number in range(1, 256)], size)
    last = Entry(256, [Zero(BAT, 4096)], padding=1).to_bytes(0, size)
    last = sealed(last[:4096] + log[:4096])
    path = with_log(tmp_path / "d", log=log[:-4096] + last[:4096])
    with open_image(path) as image:
        assert image.pread(0, MIB) == BODY


def test_a_gap_in_the_sequence_ends_it(tmp_path: Path) -> None:
    # Entry 3 is gone: 4 points at a tail that its run does not hold, 1 and 2 are older and whole.
    log = log_bytes([Entry(1), Entry(2), Entry(9), Entry(4, [Zero(BAT, 4096)])], PAYLOAD + MIB)
    with open_image(with_log(tmp_path / "d", log=log)) as image:
        assert image.pread(0, MIB) == BODY


def test_a_log_written_to_a_longer_file(tmp_path: Path) -> None:
    path = with_log(tmp_path / "d", Entry(1, flushed=6 * MIB))
    error = refusal(path, "file of 6291456 bytes", "this one has 5242880", "cut short", at=LOG)
    assert type(error) is CorruptImageError


@pytest.mark.parametrize("last", [1 << 62, (1 << 64) - 1])
def test_a_size_that_no_file_has(tmp_path: Path, last: int) -> None:
    path = with_log(tmp_path / "d", Entry(1, last=last))
    error = refusal(path, f"has {last} bytes", "expected less than", at=LOG + 56)
    assert type(error) is InvalidImageError


@pytest.mark.parametrize(
    "change",
    [
        Zero(0, (1 << 64) - 4096),
        Zero((1 << 64) - 4096, 4096),
        Data((1 << 64) - 4096, bytes(4096)),
        Zero(1 << 61, 1 << 61),
    ],
)
def test_a_change_that_no_file_can_hold(tmp_path: Path, change: Data | Zero) -> None:
    path = with_log(tmp_path / "d", Entry(1, [Zero(BAT, 0), change]))
    error = refusal(path, "a change of the log reaches", "expected less than", at=LOG + 64 + 32)
    assert type(error) is InvalidImageError


def test_too_many_changes(tmp_path: Path) -> None:
    changes = [Zero(4096 * number, 4096) for number in range(16385)]
    path = with_log(tmp_path / "d", Entry(1, changes))
    error = refusal(path, "16385 changes", "at most 16384", at=LOG)
    assert type(error) is UnsupportedImageError


def test_the_log_can_bring_a_bad_table(tmp_path: Path) -> None:
    update = u64(1 << 40 | 6).ljust(4096, b"\0")
    path = with_log(tmp_path / "d", Entry(1, [Data(BAT, update)]))
    error = refusal(path, "block 0 is said to lie at 0x10000000000", at=BAT)
    assert type(error) is CorruptImageError


def spend(path: Path) -> tuple[float, int]:
    """(CPU seconds, peak bytes) of opening a file that may be refused."""
    tracemalloc.start()
    before = time.process_time()
    try:
        with open_image(path, "vhdx") as image:
            image.extents()
    except VhdfastError:
        pass
    seconds = time.process_time() - before
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak


def large_log(path: Path, log: bytes) -> Path:
    """A disk whose log is behind everything else, with room for 32 MiB."""
    write_vhdx(path, virtual_size=3 * MIB, blocks={0: BODY})
    poke(path, 8 * MIB, log)
    for place in HEADERS:
        poke(path, place, header(9, log_id=LOG_ID, log_offset=8 * MIB, log_length=len(log)))
    return path


def entry_head(length: int, tail: int, sequence: int, descriptors: int = 0) -> bytes:
    return struct.pack(
        "<4sIIIQII16sQQ", b"loge", 0, length, tail, sequence, descriptors, 0, LOG_ID.bytes_le, 0, 0
    )


def test_entries_as_long_as_the_log_at_every_sector(tmp_path: Path) -> None:
    # Each would have the whole log checked: 8192 times 32 MiB.
    size = 32 * MIB
    log = entry_head(size, 0, 1).ljust(4096, b"\0") * (size // 4096)
    seconds, peak = spend(large_log(tmp_path / "d", log))
    assert seconds < 5
    assert peak < 160 * MIB


def test_a_long_run_without_a_tail(tmp_path: Path) -> None:
    # 2047 valid entries that point at a sector in front of them all: no run of them is complete.
    sectors = [bytes(4096)]
    for number in range(1, 2048):
        sectors.append(sealed(entry_head(4096, 0, number).ljust(4096, b"\0")))
    path = large_log(tmp_path / "d", b"".join(sectors))
    seconds, _ = spend(path)
    assert seconds < 3
    assert "no valid sequence" in str(refusal(path, at=8 * MIB))


def test_a_log_of_nothing_but_zero_descriptors(tmp_path: Path) -> None:
    count = (32 * MIB - 64) // 32
    body = struct.pack("<4sIQQQ", b"zero", 0, 4096, 0, 1) * count
    entry = (entry_head(32 * MIB, 0, 1, count) + body).ljust(32 * MIB, b"\0")
    from vhdfast import crc32c  # 32 MiB are too much for the builder's

    entry = entry[:4] + u32(crc32c(entry)) + entry[8:]
    path = large_log(tmp_path / "d", entry)
    seconds, peak = spend(path)
    assert seconds < 3
    assert peak < 200 * MIB
    assert type(refusal(path, "changes", "at most 16384", at=8 * MIB)) is UnsupportedImageError


def test_a_change_of_all_blocks_costs_no_step_for_each(tmp_path: Path) -> None:
    count = 65536
    blocks = dict.fromkeys(range(count), b"")
    everything = Zero(1 << 30, 1 << 45)
    path = write_vhdx(
        tmp_path / "d", virtual_size=count * MIB, blocks=blocks, entries=[Entry(1, [everything])]
    )
    with open_image(path, "vhdx", ask_holes=False) as image:
        before = time.process_time()
        rows = [(e.offset, e.length, e.kind.name) for w in image.windows() for e in w]
        seconds = time.process_time() - before
    # The payload begins behind the table, which takes 1 MiB at 3 MiB.
    assert rows == [(0, 1020 * MIB, "DATA"), (1020 * MIB, (count - 1020) * MIB, "ZERO")]
    assert seconds < 1


def test_changed_blocks_that_all_lie_on_one_place(tmp_path: Path) -> None:
    """So many that overlaps are not looked for, each of 256 pieces."""
    count = (1 << 22) + 1
    place = BAT + bat_length(count * MIB, MIB, 512, False)
    changes = [Zero(place + 8192 * at, 4096) for at in range(128)]
    path = write_vhdx(
        tmp_path / "d", virtual_size=count * MIB, blocks={0: BODY}, entries=[Entry(1, changes)]
    )
    poke(path, BAT, u64(place | 6) * (count + count // 4096))
    seconds, peak = spend(path)
    assert seconds < 5
    assert peak < 150 * MIB
