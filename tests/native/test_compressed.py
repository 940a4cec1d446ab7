"""COMPRESSED rows: what is read, how often it is decoded, and where the bytes end up.

The decoder is codec.c: it undoes what `hidden` and `runs` here do, and remembers what it was asked.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import GRANULE
from .test_copy_segment import UNTOUCHED, content, fill, noise, written

ZERO, DATA, COMPRESSED = 1, 2, 3
XOR, RUNS = 1, 2
MAX_GAP = 16384  # between units that are read in one go


def hidden(data):
    return bytes(byte ^ 0x55 for byte in data)


def runs(data):
    out = bytearray()
    while data:
        length = min(len(data) - len(data.lstrip(data[:1])), 256)
        out += bytes([length - 1, data[0]])
        data = data[length:]
    return bytes(out)


def unit(offset, data, file_offset, *, skip=0, length=None, file=0, stored=None, codec=XOR):
    """A row of a unit that decodes to `data` and is stored at `file_offset`."""
    length = len(data) - skip if length is None else length
    stored = len(data) if stored is None else stored
    return (offset, length, COMPRESSED, file, file_offset, stored, len(data), skip, codec)


@pytest.fixture
def stored(tmp_path):
    """stored(bytes) -> (fd, size) of a file that holds them."""
    opened = []

    def make(data, size=None):
        path = tmp_path / f"stored{len(opened)}"
        path.write_bytes(data)
        opened.append(os.open(path, os.O_RDONLY))
        return opened[-1], len(data) if size is None else size

    yield make
    for fd in opened:
        os.close(fd)


def reads(native):
    return [(call.offset, call.length) for call in native.calls("r")]


# ---- copy ----------------------------------------------------------------------------------------


def test_a_whole_unit_is_decoded_where_it_is_written_from(native, target):
    data, decoder = noise(2 * GRANULE), native.decoder()
    answer = native.copy([hidden(data)], [unit(0, data, 0)], target, 2 * GRANULE, decoder=decoder)
    assert (answer.status, answer.read, answer.written, answer.zeros) == (
        0, 2 * GRANULE, 2 * GRANULE, 0,
    )  # fmt: skip
    assert content(target, 3 * GRANULE) == data
    (call,) = native.decodings()
    assert (call.codec, call.packed_length, call.out_length) == (XOR, len(data), len(data))
    assert call.out != int(native.ffi.cast("uintptr_t", decoder.unit)), "no copy on the way"


@pytest.mark.parametrize(
    ("skip", "length"), [(0, GRANULE), (GRANULE, GRANULE), (100, 3000), (8191, 1), (0, 1)]
)
def test_a_part_of_a_unit(native, target, skip, length):
    data = noise(2 * GRANULE)
    answer = native.copy(
        [hidden(data)], [unit(GRANULE, data, 0, skip=skip, length=length)], target, 4 * GRANULE,
        decoder=native.decoder(),
    )  # fmt: skip
    assert answer.status == 0
    end = GRANULE + -(-length // GRANULE) * GRANULE
    assert content(target, 4 * GRANULE) == bytes(GRANULE) + data[skip : skip + length].ljust(
        end - GRANULE, b"\0"
    )


def test_rows_of_one_unit_decode_it_once(native, target):
    """An overlay covers its middle."""
    data, top = noise(3 * GRANULE), b"\x07" * GRANULE
    rows = [
        unit(0, data, 0, length=GRANULE),
        (GRANULE, GRANULE, DATA, 1, 0),
        unit(2 * GRANULE, data, 0, skip=2 * GRANULE),
    ]
    answer = native.copy([hidden(data), top], rows, target, 3 * GRANULE, decoder=native.decoder())
    assert answer.status == 0
    assert content(target, 3 * GRANULE) == data[:GRANULE] + top + data[2 * GRANULE :]
    assert len(native.decodings()) == 1
    assert answer.read == len(data) + GRANULE


@pytest.mark.parametrize("field", ["file", "file_offset", "stored", "decoded", "codec"])
def test_units_that_differ_are_decoded_each(native, target, field):
    data = noise(2 * GRANULE)
    packed = {XOR: hidden(data), RUNS: runs(b"\x05" * 2 * GRANULE)}
    source = packed[XOR] + b"\0" * 10
    first = list(unit(0, data, 0, length=GRANULE))
    other = list(unit(GRANULE, data, 0, skip=GRANULE))
    expected = data
    if field == "file":
        other[3], expected = 1, data[:GRANULE] + b"\x55" * GRANULE
    elif field == "file_offset":
        other[4], expected = 1, data[:GRANULE] + (data + b"\x55")[GRANULE + 1 :]
    elif field == "stored":
        other[5] += 1
    elif field == "decoded":
        other[6] -= 1
        other[1] -= 1
        expected = data[:-1] + b"\0"
    else:
        other[8], expected = RUNS, None
    sources = [source, bytes(len(source))]
    answer = native.copy(
        sources, [tuple(first), tuple(other)], target, 2 * GRANULE, decoder=native.decoder()
    )
    assert len(native.decodings()) == 2
    if expected is not None:
        assert answer.status == 0
        assert content(target, 2 * GRANULE) == expected


def test_unit_larger_than_scratch(native, target):
    data, decoder = noise(8 * GRANULE), native.decoder()
    answer = native.copy(
        [hidden(data)], [unit(GRANULE, data, 0)], target, 9 * GRANULE,
        scratch=2 * GRANULE, decoder=decoder,
    )  # fmt: skip
    assert (answer.status, answer.written) == (0, 8 * GRANULE)
    assert content(target, 9 * GRANULE) == bytes(GRANULE) + data
    assert [call.out for call in native.decodings()] == [
        int(native.ffi.cast("uintptr_t", decoder.unit))
    ]


def test_unit_that_does_not_fit_behind_the_open_stretch(native, target):
    """Two granules of scratch are left, the unit has three."""
    data = noise(5 * GRANULE)
    rows = [unit(0, data[: 2 * GRANULE], 0), unit(2 * GRANULE, data[2 * GRANULE :], 2 * GRANULE)]
    answer = native.copy(
        [hidden(data)], rows, target, 5 * GRANULE, scratch=4 * GRANULE, decoder=native.decoder()
    )
    assert (answer.status, answer.written) == (0, 5 * GRANULE)
    assert content(target, 5 * GRANULE) == data


def test_many_units_in_one_granule_cost_one_write(native, target):
    data = noise(GRANULE)
    rows = [unit(at, data[at : at + 512], at) for at in range(0, GRANULE, 512)]
    answer = native.copy([hidden(data)], rows, target, GRANULE, decoder=native.decoder())
    assert answer.status == 0
    assert written(native) == [(0, GRANULE)]
    assert content(target, GRANULE) == data
    assert len(native.decodings()) == 8


def test_units_of_zeros_become_holes(native, target):
    data = bytes(GRANULE) + noise(GRANULE) + bytes(2 * GRANULE)
    fill(target, len(data))
    answer = native.copy(
        [runs(data)], [unit(0, data, 0, stored=len(runs(data)), codec=RUNS)], target, len(data),
        decoder=native.decoder(),
    )  # fmt: skip
    assert (answer.written, answer.zeros) == (GRANULE, 3 * GRANULE)
    expected = UNTOUCHED * GRANULE + data[GRANULE : 2 * GRANULE] + UNTOUCHED * 2 * GRANULE
    assert content(target, len(data)) == expected


def test_row_that_the_end_of_the_disk_clips(native, target):
    data, end = noise(2 * GRANULE), GRANULE + 512
    answer = native.copy(
        [hidden(data)], [unit(0, data, 0, length=end)], target, end, decoder=native.decoder()
    )
    assert answer.status == 0
    assert content(target, 3 * GRANULE) == data[:end]


def test_whole_unit_that_ends_with_the_disk_within_a_granule(native, target):
    data = noise(GRANULE + 512)
    answer = native.copy(
        [hidden(data)], [unit(0, data, 0)], target, len(data), decoder=native.decoder()
    )
    assert answer.status == 0
    assert content(target, 3 * GRANULE) == data


def test_mixture_with_rows_of_data(native, target):
    plain, packed = b"\x01" * GRANULE, noise(GRANULE)
    rows = [
        (0, 100, DATA, 0, 0),
        unit(200, packed, 0, file=1, length=300),
        (500, 12, ZERO),
        unit(600, packed, 0, file=1, skip=1000, length=3000),
        (3600, 496, DATA, 0, 0),
        unit(GRANULE, packed, 0, file=1),
        (2 * GRANULE, GRANULE, DATA, 0, 0),
    ]
    answer = native.copy(
        [plain, hidden(packed)], rows, target, 3 * GRANULE, decoder=native.decoder()
    )
    assert answer.status == 0
    first = plain[:100] + bytes(100) + packed[:300] + bytes(100) + packed[1000:4000] + plain[:496]
    assert content(target, 3 * GRANULE) == first + packed + plain
    assert written(native) == [(0, 3 * GRANULE)]


# ---- what is read --------------------------------------------------------------------------------


def test_neighbouring_units_are_read_in_one_go(native, target, stored):
    data = noise(4 * GRANULE)
    rows = [unit(at, data[at : at + GRANULE], at) for at in range(0, 4 * GRANULE, GRANULE)]
    answer = native.copy([stored(hidden(data))], rows, target, len(data), decoder=native.decoder())
    assert (answer.status, answer.read) == (0, 4 * GRANULE)
    assert reads(native) == [(0, 4 * GRANULE)]
    assert content(target, len(data)) == data
    assert [call.packed_at for call in native.decodings()] == [0, 4096, 8192, 12288]


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (MAX_GAP, [(0, 2 * 512 + MAX_GAP)]),
        (MAX_GAP + 1, [(0, 512), (512 + MAX_GAP + 1, 512)]),
    ],
)
def test_a_gap_between_units(native, target, stored, gap, expected):
    data = noise(1024)
    source = hidden(data[:512]) + b"\xee" * gap + hidden(data[512:])
    rows = [unit(0, data[:512], 0), unit(512, data[512:], 512 + gap)]
    answer = native.copy([stored(source)], rows, target, 1024, decoder=native.decoder())
    assert answer.status == 0
    assert reads(native) == expected
    assert answer.read == sum(length for _, length in expected)
    assert content(target, 1024) == data


def test_units_in_another_order_than_the_disk(native, target, stored):
    """Those behind the first are read with it; one before it is a read of its own."""
    data = noise(1024)
    rows = [unit(0, data[512:], 512), unit(512, data[:512], 0)]
    answer = native.copy([stored(hidden(data))], rows, target, 1024, decoder=native.decoder())
    assert answer.status == 0
    assert reads(native) == [(512, 512), (0, 512)]
    assert content(target, 1024) == data[512:] + data[:512]


def test_a_unit_within_the_stored_bytes_of_another(native, target, stored):
    """qcow2 gives lengths in sectors: units overlap in the one that they share."""
    data = noise(700)
    rows = [unit(0, data[:300], 0, stored=512), unit(300, data[300:], 300, stored=1024 - 300)]
    answer = native.copy(
        [stored(hidden(data).ljust(1024, b"\xee"))], rows, target, 700, decoder=native.decoder()
    )
    assert answer.status == 0
    assert reads(native) == [(0, 1024)]
    assert content(target, 700) == data


def test_rows_of_data_between_do_not_end_reading_ahead(native, target, stored):
    data = noise(1024)
    rows = [unit(0, data[:512], 0), (512, 512, DATA, 1), unit(1024, data[512:], 512)]
    sources = [stored(hidden(data)), b"\x01" * 512]
    assert native.copy(sources, rows, target, 1536, decoder=native.decoder()).status == 0
    assert reads(native) == [(0, 1024)]


def test_another_file_ends_reading_ahead(native, target, stored):
    data = noise(512)
    source = hidden(data)
    rows = [unit(0, data, 0), unit(512, data, 0, file=1)]
    sources = [stored(source), stored(source)]
    assert native.copy(sources, rows, target, 1024, decoder=native.decoder()).status == 0
    assert reads(native) == [(0, 512), (0, 512)]
    assert content(target, 1024) == data + data


def test_reading_ahead_ends_where_the_buffer_does(native, target, stored):
    data = noise(5 * 512)
    rows = [unit(at, data[at : at + 512], at) for at in range(0, 5 * 512, 512)]
    decoder = native.decoder(packed=1100)
    assert native.copy(
        [stored(hidden(data))], rows, target, len(data), decoder=decoder
    ).status == 0  # fmt: skip
    assert reads(native) == [(0, 1024), (1024, 1024), (2048, 512)]
    assert content(target, len(data)) == data


def test_buffer_that_just_holds_a_unit(native, target, stored):
    data = noise(512)
    decoder = native.decoder(packed=512, unit=512)
    source = stored(hidden(data))
    rows = [unit(0, data, 0), unit(600, data, 0, skip=1)]
    assert native.copy([source], rows, target, 2048, decoder=decoder).status == 0
    assert content(target, 2048) == data.ljust(600, b"\0") + data[1:] + bytes(2048 - 600 - 511)


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_stored_bytes_may_end_before_the_row_says(native, target, stored, kind):
    """qcow2 rounds lengths up to sectors, and the file ends with the stream."""
    data = noise(500)
    source = stored(hidden(data)) if kind == "file" else hidden(data)
    answer = native.copy(
        [source], [unit(0, data, 0, stored=4096)], target, 500, decoder=native.decoder()
    )
    assert (answer.status, answer.read) == (0, 500)
    assert [call.packed_length for call in native.decodings()] == [500]
    assert content(target, 500) == data


def test_stored_bytes_end_with_the_slice_wherever_the_file_goes_on(native, target, stored):
    data = noise(500)
    fd, _ = stored(b"\xee" * 1000 + hidden(data) + b"\xdd" * 5000)
    answer = native.copy(
        [(fd, 500, 1000)], [unit(0, data, 0, stored=4096)], target, 500, decoder=native.decoder()
    )
    assert (answer.status, answer.read) == (0, 500)
    assert [call.packed_length for call in native.decodings()] == [500]
    assert content(target, 500) == data


def test_file_that_was_cut_before_the_unit(native, target, stored):
    answer = native.copy(
        [stored(b"\x01" * 100, size=5000)], [unit(0, noise(512), 100)], target, 512,
        decoder=native.decoder(),
    )  # fmt: skip
    error = answer.error
    assert answer.status == native.lib.VF_READ_SHORT
    assert (error.file, error.offset, error.length) == (0, 100, 1)


def test_failing_read(native, target, stored):
    data = noise(1024)
    source = stored(hidden(data))
    native.plan("r", os_errno=5)  # EIO
    answer = native.copy(
        [bytes(1), source], [unit(0, data, 0, file=1)], target, 1024, decoder=native.decoder()
    )
    assert answer.status == native.lib.VF_READ_FAILED
    assert (answer.error.file, answer.error.os_errno, answer.error.offset) == (1, 5, 0)
    assert native.decodings() == []


def test_short_and_interrupted_reads_are_continued(native, target, stored):
    data = noise(1024)
    source = stored(hidden(data))
    native.plan("r", os_errno=4)  # EINTR
    native.plan("r", most=100)
    answer = native.copy([source], [unit(0, data, 0)], target, 1024, decoder=native.decoder())
    assert answer.status == 0
    assert reads(native) == [(0, 1024), (0, 1024), (100, 924)]
    assert content(target, 1024) == data


def test_a_failed_read_leaves_nothing_behind_that_a_later_row_takes_for_its_own(native, stored):
    """read_segment stops at the first failure; the next call begins anew."""
    data = noise(1024)
    source, decoder = stored(hidden(data)), native.decoder()
    native.plan("r", most=600)
    native.plan("r", os_errno=5)
    rows = [unit(0, data, 0)]
    assert native.read([source], rows, 0, 1024, decoder=decoder)[0].status != 0
    answer, got = native.read([source], rows, 0, 1024, decoder=decoder)
    assert (answer.status, got) == (0, data)


# ---- what fails ----------------------------------------------------------------------------------


def test_unit_that_does_not_decode(native, target):
    data = noise(1024)
    rows = [unit(0, data[:512], 0), unit(512, data[512:], 512, skip=12)]
    native.lib.tc_plan(1)
    answer = native.copy([hidden(data)], rows, target, 1024, decoder=native.decoder())
    error = answer.error
    assert answer.status == error.status == native.lib.VF_DECODE_FAILED
    assert (error.file, error.row, error.offset, error.length) == (0, 1, 512, 512)
    assert answer.read == 1024, "what was read counts, on failure too"


def test_a_unit_that_did_not_decode_is_not_kept(native, target):
    """Both rows of it fail: the second does not get what the first left in the buffer."""
    data = noise(1024)
    rows = [unit(0, data, 0, length=10)]
    decoder = native.decoder()
    native.lib.tc_plan(0)
    assert native.copy([hidden(data)], rows, target, 1024, decoder=decoder).status != 0
    assert native.copy([hidden(data)], rows, target, 1024, decoder=decoder).status == 0
    assert content(target, 10) == data[:10]
    assert len(native.decodings()) == 2


def test_stream_that_is_too_short(native, target):
    answer = native.copy(
        [hidden(noise(500))], [unit(0, bytes(512), 0)], target, 512, decoder=native.decoder()
    )
    assert answer.status == native.lib.VF_DECODE_FAILED
    assert (answer.error.offset, answer.error.length) == (0, 512)


def test_no_decoder(native, target):
    data = noise(512)
    for answer in (
        native.copy([hidden(data)], [unit(0, data, 0)], target, 512),
        native.copy([hidden(data)], [unit(0, data, 0, skip=1)], target, 512),
        native.read([hidden(data)], [unit(0, data, 0)], 0, 512)[0],
        native.read([hidden(data)], [unit(0, data, 0)], 0, 10)[0],
    ):
        assert answer.status == native.lib.VF_BAD_ARGUMENT


def test_decoder_without_room_for_the_stored_bytes(native, target):
    data = noise(512)
    decoder = native.decoder(packed=511)
    answer = native.copy([hidden(data)], [unit(0, data, 0)], target, 512, decoder=decoder)
    assert answer.status == native.lib.VF_BAD_ARGUMENT


def test_decoder_without_room_for_the_decoded_bytes(native, target):
    data = noise(512)
    decoder = native.decoder(unit=511)
    answer = native.copy([hidden(data)], [unit(0, data, 0, skip=1)], target, 511, decoder=decoder)
    assert answer.status == native.lib.VF_BAD_ARGUMENT
    assert native.decodings() == []


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        pytest.param({}, True, id="as it should be"),
        pytest.param({1: 513}, False, id="longer than its unit"),
        pytest.param({7: 1}, False, id="skip and length beyond the unit"),
        pytest.param({1: 1, 7: 511}, True, id="its last byte"),
        pytest.param({1: 1, 7: 512}, False, id="skip at the end of the unit"),
        pytest.param({7: 2**32 - 1}, False, id="skip + length wraps"),
        pytest.param({4: 1023}, True, id="begins with the file's last byte"),
        pytest.param({4: 1024}, False, id="begins at the end of the file"),
        pytest.param({4: 2**64 - 1}, False, id="offset + stored length wraps"),
        pytest.param({5: 0}, False, id="nothing stored"),
        pytest.param({5: 2**32 - 1}, True, id="stored length beyond the file"),
        pytest.param({3: 1}, False, id="no such source"),
        pytest.param({1: 0}, False, id="empty"),
        pytest.param({6: 0}, False, id="unit of no bytes"),
        pytest.param({0: 1}, False, id="beyond the disk"),
    ],
)
def test_gate(native, changes, good):
    row = list(unit(0, bytes(512), 0))
    for column, value in changes.items():
        row[column] = value
    table, alive = native.sources([bytes(1024)])
    error = native.ffi.new("struct vf_error *")
    status = native.lib.vf_check_rows(table, 1, native.rows([tuple(row)]), 1, 512, error)
    assert status == (native.lib.VF_OK if good else native.lib.VF_BAD_ROWS)
    if not good:
        assert error.row == 0
    del alive


def test_gate_refuses_a_source_that_nobody_can_read(native):
    table, alive = native.sources([(-1, 1024)])
    error = native.ffi.new("struct vf_error *")
    rows = native.rows([unit(0, bytes(512), 0)])
    assert native.lib.vf_check_rows(table, 1, rows, 1, 512, error) == native.lib.VF_BAD_ROWS
    del alive


# ---- read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "length", "units"),
    [
        pytest.param(0, 3000, 3, id="all"),
        pytest.param(1000, 1000, 1, id="one unit"),
        pytest.param(1001, 998, 1, id="within a unit"),
        pytest.param(999, 2, 2, id="over a border"),
        pytest.param(2999, 100, 1, id="over the end"),
        pytest.param(3000, 100, 0, id="behind"),
    ],
)
def test_read(native, offset, length, units):
    data = noise(3000)
    rows = [unit(at, data[at : at + 1000], at) for at in range(0, 3000, 1000)]
    answer, got = native.read([hidden(data)], rows, offset, length, decoder=native.decoder())
    assert (answer.status, got) == (0, data[offset : offset + length].ljust(length, b"\0"))
    assert len(native.decodings()) == units, "only what was asked for is decoded"


def test_read_of_rows_that_share_a_unit(native):
    data = noise(3000)
    rows = [
        unit(0, data, 0, length=1000), (1000, 1000, ZERO), unit(2000, data, 0, skip=2000),
    ]  # fmt: skip
    answer, got = native.read([hidden(data)], rows, 500, 2000, decoder=native.decoder())
    assert (answer.status, got) == (0, data[500:1000] + bytes(1000) + data[2000:2500])
    assert len(native.decodings()) == 1


def test_read_of_a_unit_that_does_not_decode(native):
    data = noise(1000)
    native.lib.tc_plan(0)
    answer, _ = native.read([hidden(data)], [unit(0, data, 0)], 10, 10, decoder=native.decoder())
    assert answer.status == native.lib.VF_DECODE_FAILED
    assert (answer.error.offset, answer.error.length) == (0, 1000)


# ---- anything ------------------------------------------------------------------------------------

POOL = [noise(512, 1), b"\0" * 700, noise(3 * GRANULE, 2), b"\x03" * 5000, noise(100, 3)]
PIECES = st.lists(
    st.tuples(
        st.integers(0, 5000),  # gap before it
        st.sampled_from([DATA, ZERO, COMPRESSED]),
        st.integers(0, len(POOL) - 1),
        st.sampled_from([XOR, RUNS]),
        st.integers(0, 2**16),  # where in the unit
        st.integers(1, 2**16),  # how much of it
    ),
    max_size=10,
)


def laid_out():
    """The pool as it is stored, and {(unit, codec): (file_offset, stored_length)}."""
    source, places = bytearray(), {}
    for index, data in enumerate(POOL):
        for codec, packed in ((XOR, hidden(data)), (RUNS, runs(data))):
            places[index, codec] = len(source), len(packed)
            source += packed + b"\xee" * (index * 7)
    return bytes(source), places


SOURCE, PLACES = laid_out()
ALIGNED = st.sampled_from([2 * GRANULE, 3 * GRANULE, 16 * GRANULE])


def disk_of(pieces):
    """(rows, the bytes that they stand for)."""
    rows, disk = [], bytearray()
    for gap, kind, index, codec, at, length in pieces:
        disk += bytes(gap)
        data = POOL[index]
        at %= len(data)
        part = data[at : at + length]
        if kind == DATA:
            rows.append((len(disk), len(part), DATA, 1 + index, at))
        elif kind == ZERO:
            part = bytes(len(part))
            rows.append((len(disk), len(part), ZERO))
        else:
            place, stored = PLACES[index, codec]
            rows.append(
                unit(len(disk), data, place, skip=at, length=len(part), stored=stored, codec=codec)
            )
        disk += part
    return rows, bytes(disk)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=PIECES, scratch=ALIGNED, packed=st.sampled_from([25000, 40000]), in_file=st.booleans()
)
def test_any_rows_copied(native, tmp_path, pieces, scratch, packed, in_file):
    rows, disk = disk_of(pieces)
    target = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    (tmp_path / "source").write_bytes(b"\xcc" * 100 + SOURCE + b"\xcc" * 100)
    source = os.open(tmp_path / "source", os.O_RDONLY)
    first = (source, len(SOURCE), 100) if in_file else SOURCE
    try:
        answer = native.copy(
            [first, *POOL], rows, target, len(disk), scratch=scratch,
            decoder=native.decoder(packed=packed, unit=3 * GRANULE),
        )  # fmt: skip
        assert answer.status == 0
        assert content(target, len(disk) + 1).ljust(len(disk), b"\0") == disk
    finally:
        os.close(target)
        os.close(source)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=PIECES, offset=st.integers(0, 30000), length=st.integers(0, 30000))
def test_any_rows_read(native, pieces, offset, length):
    rows, disk = disk_of(pieces)
    decoder = native.decoder(packed=25000, unit=3 * GRANULE)
    answer, got = native.read([SOURCE, *POOL], rows, offset, length, decoder=decoder)
    assert answer.status == 0
    assert got == disk[offset : offset + length].ljust(length, b"\0")
