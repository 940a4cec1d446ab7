"""VHDX: a log that is not empty is replayed in memory ([MS-VHDX] 2.3.3)."""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.support import MIB, pattern, peek, poke
from tests.support.build_vhdx import BAT, LOG, METADATA, Data, Entry, Zero, log_bytes, write_vhdx
from tests.support.reading import codes, opened, the_map

from .test_vhdx import PAYLOAD, D, Z


def bat_sector(entries: dict[int, int]) -> bytes:
    """The first 4096 bytes of a BAT with these blocks' entries."""
    sector = bytearray(4096)
    for block, entry in entries.items():
        sector[8 * block : 8 * block + 8] = entry.to_bytes(8, "little")
    return bytes(sector)


def dirty(path: Path, *entries: Entry) -> Path:
    """A disk of 4 MiB whose first two blocks have a payload, with these log entries."""
    blocks = {0: pattern(0, MIB), 1: pattern(1, MIB)}
    return write_vhdx(path, virtual_size=4 * MIB, blocks=blocks, entries=entries)


def test_the_log_is_replayed_in_memory(tmp_path: Path) -> None:
    # The table's update never reached its place: blocks 0 and 1 change places.
    update = bat_sector({0: PAYLOAD + MIB | 6, 1: PAYLOAD | 6})
    path = dirty(tmp_path / "d.vhdx", Entry(1, [Data(BAT, update)]))
    before = path.read_bytes()
    with opened(path) as image:
        assert the_map(image) == [
            (0, MIB, D, PAYLOAD + MIB),
            (MIB, MIB, D, PAYLOAD),
            (2 * MIB, 2 * MIB, Z, None),
        ]
        assert image.pread(0, 2 * MIB) == pattern(1, MIB) + pattern(0, MIB)
        assert codes(image) == ["log-replayed"]
        assert image.notices[0].offset == LOG
        assert image.info().details["log"] == "dirty, replayed in memory"
    assert path.read_bytes() == before


def test_the_first_and_last_bytes_of_a_sector_come_from_its_descriptor(tmp_path: Path) -> None:
    # Block 0 is stored in the first 8 bytes of the sector and block 511 in the last 8.
    update = bat_sector({0: PAYLOAD | 6, 511: PAYLOAD + MIB | 6})
    path = write_vhdx(
        tmp_path / "d.vhdx",
        virtual_size=512 * MIB,
        blocks={1: pattern(1, MIB), 2: pattern(2, MIB)},
        entries=[Entry(1, [Data(BAT, update)])],
    )
    with opened(path) as image:
        assert the_map(image) == [
            (0, MIB, D, PAYLOAD),
            (MIB, 510 * MIB, Z, None),
            (511 * MIB, MIB, D, PAYLOAD + MIB),
        ]


def test_later_changes_win(tmp_path: Path) -> None:
    path = dirty(
        tmp_path / "d.vhdx",
        Entry(5, [Data(BAT, bat_sector({3: PAYLOAD | 6})), Zero(BAT, 4096)]),
        Entry(6, [Data(BAT, bat_sector({2: PAYLOAD | 6}))]),
    )
    with opened(path) as image:
        assert the_map(image) == [
            (0, 2 * MIB, Z, None),
            (2 * MIB, MIB, D, PAYLOAD),
            (3 * MIB, MIB, Z, None),
        ]


def test_a_zero_descriptor_clears_the_table(tmp_path: Path) -> None:
    with opened(dirty(tmp_path / "d.vhdx", Entry(1, [Zero(BAT, MIB)]))) as image:
        assert the_map(image) == [(0, 4 * MIB, Z, None)]


def test_changes_inside_a_payload_block_split_its_row(tmp_path: Path) -> None:
    sector = b"replayed".ljust(4096, b"#")
    path = dirty(
        tmp_path / "d.vhdx",
        Entry(1, [Data(PAYLOAD + 8192, sector), Zero(PAYLOAD + MIB - 4096, 8192)]),
    )
    with opened(path) as image:
        rows = [
            (extent.offset, extent.length, extent.kind, extent.file, extent.file_offset)
            for extent in image.extents(0, 2 * MIB)
        ]
        assert rows == [
            (0, 8192, D, 0, PAYLOAD),
            (8192, 4096, D, 1, 0),
            (12288, MIB - 16384, D, 0, PAYLOAD + 12288),
            (MIB - 4096, 8192, Z, None, None),
            (MIB + 4096, MIB - 4096, D, 0, PAYLOAD + MIB + 4096),
        ]
        content = bytearray(pattern(0, MIB) + pattern(1, MIB))
        content[8192:12288] = sector
        content[MIB - 4096 : MIB + 4096] = bytes(8192)
        assert image.pread(0, 2 * MIB) == bytes(content)


def test_a_window_inside_a_replayed_sector(tmp_path: Path) -> None:
    sector = pattern(9, 4096)
    path = dirty(tmp_path / "d.vhdx", Entry(1, [Data(PAYLOAD, sector)]))
    with opened(path) as image:
        assert image.pread(1000, 2000) == sector[1000:3000]


def test_an_entry_without_changes_is_replayed_as_nothing(tmp_path: Path) -> None:
    with opened(dirty(tmp_path / "d.vhdx", Entry(1))) as image:
        assert image.pread(0, 2 * MIB) == pattern(0, MIB) + pattern(1, MIB)
        assert codes(image) == ["log-replayed"]


def test_only_what_the_tail_names_is_replayed(tmp_path: Path) -> None:
    # Entry 1 was brought to its place long ago and is overwritten since: entry 2 is the oldest.
    stale = Entry(1, [Data(BAT, bat_sector({}))], tail=0)
    path = dirty(tmp_path / "d.vhdx", stale, Entry(2, tail=8192), Entry(3, tail=8192))
    with opened(path) as image:
        assert image.pread(0, 2 * MIB) == pattern(0, MIB) + pattern(1, MIB)


def test_the_newest_sequence_wins(tmp_path: Path) -> None:
    size = PAYLOAD + MIB
    old = log_bytes([Entry(5, [Zero(BAT, 4096)])], size)
    new = log_bytes([Entry(9, [Data(BAT, bat_sector({3: PAYLOAD | 6}))])], size, start=65536)
    merged = bytes(one | other for one, other in zip(old, new, strict=True))
    path = write_vhdx(
        tmp_path / "d.vhdx", virtual_size=4 * MIB, blocks={0: pattern(0, MIB)}, log=merged
    )
    with opened(path) as image:
        assert the_map(image) == [(0, 3 * MIB, Z, None), (3 * MIB, MIB, D, PAYLOAD)]


def test_entries_of_another_session_are_not_replayed(tmp_path: Path) -> None:
    path = dirty(
        tmp_path / "d.vhdx",
        Entry(1, [Zero(BAT, 4096)], tail=0),
        Entry(2, [Zero(BAT, 4096)], log_id=uuid.UUID(int=5), tail=0),
    )
    with opened(path) as image:
        assert image.pread(0, MIB) == bytes(MIB)  # entry 1 alone: valid, and 2 does not extend it


def test_a_sequence_may_run_over_the_logs_end(tmp_path: Path) -> None:
    size = PAYLOAD + MIB
    update = bat_sector({1: PAYLOAD | 6})
    entries = [Entry(1), Entry(2, [Data(BAT, update), Zero(PAYLOAD, 4096)]), Entry(3)]
    path = write_vhdx(
        tmp_path / "d.vhdx",
        virtual_size=4 * MIB,
        blocks={0: pattern(0, MIB)},
        log=log_bytes(entries, size, start=MIB - 8192),
    )
    with opened(path) as image:
        expected = bytes(MIB) + bytes(4096) + pattern(0, MIB)[4096:]
        assert image.pread(0, 2 * MIB) == expected


def test_a_full_log_of_one_sequence(tmp_path: Path) -> None:
    # 256 entries fill the log to the last sector; the oldest lies in its middle.
    size = PAYLOAD + MIB
    entries = [Entry(number) for number in range(1, 256)]
    entries.append(Entry(256, [Zero(BAT, 4096)]))
    log = log_bytes(entries, size, start=128 * 4096)
    path = write_vhdx(tmp_path / "d.vhdx", virtual_size=MIB, blocks={0: pattern(0, MIB)}, log=log)
    with opened(path) as image:
        assert the_map(image) == [(0, MIB, Z, None)]


def test_a_file_that_shrank_while_it_was_open(tmp_path: Path) -> None:
    path = dirty(tmp_path / "d.vhdx", Entry(1, flushed=100 * MIB), Entry(2))
    with opened(path) as image:
        assert image.pread(0, MIB) == pattern(0, MIB)


def test_what_the_file_never_got_reads_as_zeros(tmp_path: Path) -> None:
    # The table's change names a block that the file was to grow for.
    place = PAYLOAD + 2 * MIB
    update = bat_sector({0: PAYLOAD | 6, 1: place | 6})
    path = dirty(tmp_path / "d.vhdx", Entry(1, [Data(BAT, update)], last=place + MIB))
    with opened(path) as image:
        assert the_map(image) == [(0, MIB, D, PAYLOAD), (MIB, 3 * MIB, Z, None)]
        assert codes(image) == ["log-replayed", "short-block"]


def test_a_change_behind_the_files_end_lengthens_it(tmp_path: Path) -> None:
    place = PAYLOAD + 2 * MIB
    sector = pattern(7, 4096)
    update = bat_sector({1: place | 6})
    path = dirty(tmp_path / "d.vhdx", Entry(1, [Data(BAT, update), Data(place, sector)]))
    with opened(path) as image:
        assert image.pread(MIB, 8192) == sector + bytes(4096)


def test_the_metadata_may_be_in_the_log(tmp_path: Path) -> None:
    path = write_vhdx(tmp_path / "d.vhdx", virtual_size=2 * MIB)
    head = peek(path, METADATA, 4096)
    path = write_vhdx(path, virtual_size=2 * MIB, entries=[Entry(1, [Data(METADATA, head)])])
    poke(path, METADATA, b"\xff" * 4096)
    with opened(path) as image:
        assert image.virtual_size == 2 * MIB
