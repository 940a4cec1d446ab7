"""native/codecs: what both decoders take for a stream, and what they refuse alike.

Streams are made by Python's zlib or, for zstd, by hand: frames of raw and run-length blocks
need no compressor (RFC 8878, section 3.1.1).
"""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .build_cffi import CODECS, LANGUAGE, WARNINGS

DEFLATE, ZLIB, ZSTD = 1, 2, 3
CODECS_OF = {"deflate": DEFLATE, "zlib": ZLIB, "zstd": ZSTD}
TEXT = b"".join(b"line %d of some text\n" % at for at in range(3000))


class Decoders:
    """Both functions over one state each, with buffers that end where they say."""

    def __init__(self, module):
        self.ffi, self.lib = module.ffi, module.lib
        self.state = self.ffi.gc(self.lib.vfc_create(), self.lib.vfc_destroy)

    def one(self, name, codec, packed, length):
        # Memory of its own for each: the address sanitizer sees a byte too many.
        source = self.ffi.new("uint8_t[]", packed or b"\0")
        out = self.ffi.new("uint8_t[]", max(length, 1))
        function = getattr(self.lib, name)
        answer = function(self.state, codec, source, len(packed), out, length)
        return self.ffi.buffer(out, length)[:] if answer == 0 else None

    def both(self, codec, packed, length):
        quick = self.one("vfc_decode", codec, packed, length)
        plain = self.one("vfc_decode_plain", codec, packed, length)
        # libdeflate takes some streams that RFC 1951 forbids (length codes 286 and 287).
        assert quick == plain or (plain is None and codec in (DEFLATE, ZLIB))
        return plain


@pytest.fixture
def decoders(codecs):
    return Decoders(codecs)


def deflated(data, *, level=6, final=True):
    stream = zlib.compressobj(level, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush(zlib.Z_FINISH if final else zlib.Z_SYNC_FLUSH)


def zstd_frame(*blocks, size=None, checksum=b""):
    """Blocks: bytes stored as they are, or (length, byte)."""
    flags = (0x80 if size is not None else 0) | (0x04 if checksum else 0)
    frame = struct.pack("<IBB", 0xFD2FB528, flags, 0x58)  # window of 2 MiB
    if size is not None:
        frame += struct.pack("<I", size)
    for at, block in enumerate(blocks):
        last = at == len(blocks) - 1
        length = len(block) if isinstance(block, bytes) else block[0]
        kind = 0 if isinstance(block, bytes) else 1
        frame += (length << 3 | kind << 1 | last).to_bytes(3, "little")
        frame += block if isinstance(block, bytes) else bytes([block[1]])
    return frame + checksum


def streams(name):
    if name == "deflate":
        return deflated(TEXT)
    if name == "zlib":
        return zlib.compress(TEXT)
    return zstd_frame(TEXT[:40000], TEXT[40000:], size=len(TEXT))


every = pytest.mark.parametrize("name", CODECS_OF)


@every
def test_a_whole_stream(decoders, name):
    assert decoders.both(CODECS_OF[name], streams(name), len(TEXT)) == TEXT


@every
@pytest.mark.parametrize("slack", [b"\0" * 511, b"\xff" * 511, b"\x78\x9c" * 20, b"\x28"])
def test_slack_behind_the_stream(decoders, name, slack):
    assert decoders.both(CODECS_OF[name], streams(name) + slack, len(TEXT)) == TEXT


@every
@pytest.mark.parametrize("length", [1, 1000, len(TEXT) - 1])
def test_more_than_is_wanted(decoders, name, length):
    assert decoders.both(CODECS_OF[name], streams(name), length) == TEXT[:length]


@every
def test_less_than_is_wanted(decoders, name):
    assert decoders.both(CODECS_OF[name], streams(name), len(TEXT) + 1) is None


@every
@pytest.mark.parametrize("kept", [0, 1, 2, 10, 0.5, 0.9])
def test_a_stream_cut_short(decoders, name, kept):
    stream = streams(name)
    kept = int(kept * len(stream)) if isinstance(kept, float) else kept
    assert decoders.both(CODECS_OF[name], stream[:kept], len(TEXT)) is None


@every
def test_the_wrong_codec(decoders, name):
    for other in CODECS_OF.values():
        if other != CODECS_OF[name]:
            assert decoders.both(other, streams(name), len(TEXT)) is None


@pytest.mark.parametrize("codec", [0, 4, 2**32 - 1])
def test_a_codec_that_is_none(decoders, codec):
    assert decoders.both(codec, streams("zlib"), len(TEXT)) is None


def test_failures_leave_no_trace(decoders):
    """One state serves a thread for all of its units."""
    for _ in range(3):
        for name, codec in CODECS_OF.items():
            assert decoders.both(codec, streams(name)[:100], len(TEXT)) is None
            assert decoders.both(codec, streams(name), len(TEXT)) == TEXT


# ---- deflate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1, 9])
def test_every_sort_of_block(decoders, level):
    data = TEXT + random.Random(1).randbytes(70000)
    assert decoders.both(DEFLATE, deflated(data, level=level), len(data)) == data


@pytest.mark.parametrize(
    "slack", [b"", b"\0" * 500, b"\xff" * 500, b"\x55" * 500], ids=["none", "00", "ff", "55"]
)
def test_no_final_block(decoders, slack):
    """What lies behind is then no block, and neither decoder minds."""
    assert decoders.both(DEFLATE, deflated(TEXT, final=False) + slack, len(TEXT)) == TEXT


def test_no_final_block_and_too_short(decoders):
    stream = deflated(TEXT, final=False)
    for slack in (b"", b"\0" * 500, b"\xff" * 500):
        assert decoders.both(DEFLATE, stream + slack, len(TEXT) + 1) is None


def test_distance_before_the_beginning(decoders):
    """Fixed codes, final: a literal, 3 bytes from 2 back, the end of the block."""
    bits = "1" + "10" + "00110000" + "0000001" + "00001" + "0000000"
    data = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    assert decoders.both(DEFLATE, data, 4) is None


# ---- zlib ----------------------------------------------------------------------------------------


def broken_checksum():
    stream = zlib.compress(TEXT)
    return stream[:-1] + bytes([stream[-1] ^ 1])


def test_wrong_checksum(decoders):
    assert decoders.both(ZLIB, broken_checksum(), len(TEXT)) is None
    assert decoders.both(ZLIB, broken_checksum() + bytes(100), len(TEXT)) is None


@pytest.mark.parametrize("excess", [1, 4095, 4096, 70_000, 4 << 20])
def test_checksum_of_more_than_is_wanted_counts(decoders, excess):
    packed = zlib.compress(TEXT + bytes(excess))
    assert decoders.both(ZLIB, packed, len(TEXT)) == TEXT
    damaged = packed[:-1] + bytes([packed[-1] ^ 1])
    assert decoders.both(ZLIB, damaged, len(TEXT)) is None


def test_much_more_than_is_wanted_is_no_padding(decoders):
    packed = zlib.compress(TEXT + bytes(5 << 20))
    assert decoders.both(ZLIB, packed, len(TEXT)) is None


def test_checksum_that_is_cut_off(decoders):
    assert decoders.both(ZLIB, zlib.compress(TEXT)[:-2], len(TEXT)) == TEXT


def test_preset_dictionary(decoders):
    stream = zlib.compressobj(zdict=b"line of some text")
    packed = stream.compress(TEXT) + stream.flush()
    assert decoders.both(ZLIB, packed, len(TEXT)) is None


# ---- zstd ----------------------------------------------------------------------------------------


def test_several_frames(decoders):
    packed = zstd_frame(b"one, ") + zstd_frame(b"two, ", size=5) + zstd_frame((7, 0x2E))
    assert decoders.both(ZSTD, packed, 17) == b"one, two, ......."
    assert decoders.both(ZSTD, packed + b"slack", 17) == b"one, two, ......."
    assert decoders.both(ZSTD, packed, 12) == b"one, two, .."
    assert decoders.both(ZSTD, packed, 18) is None


def test_slack_that_is_wanted_but_is_no_frame(decoders):
    assert decoders.both(ZSTD, zstd_frame(b"one") + bytes(100), 4) is None


def test_skippable_and_empty_frames(decoders):
    skippable = struct.pack("<II", 0x184D2A53, 5) + b"12345"
    packed = skippable + zstd_frame(b"") + zstd_frame(b"one") + skippable + zstd_frame(b"two")
    assert decoders.both(ZSTD, packed, 6) == b"onetwo"


def test_a_million_empty_frames_end(decoders):
    assert decoders.both(ZSTD, zstd_frame(b"") * 100_000, 1) is None


def test_frame_that_lies_about_its_size(decoders):
    assert decoders.both(ZSTD, zstd_frame(b"one", size=100), 100) is None
    assert decoders.both(ZSTD, zstd_frame(b"one" * 100, size=10), 300) is None


def test_wrong_content_checksum(decoders):
    """The right one of an empty frame is the low half of XXH64 of nothing: 99 e9 d8 51."""
    assert decoders.both(ZSTD, zstd_frame(b"one", checksum=b"\x99\xe9\xd8\x51"), 3) is None


def test_no_last_block(decoders):
    frame = bytearray(zstd_frame(b"one", b"two"))
    frame[6 + 3 + 3] &= 0xFE
    assert decoders.both(ZSTD, bytes(frame), 6) == b"onetwo"


@pytest.mark.parametrize("last", range(0x1E, 0x28))
def test_frames_of_old_versions_are_none(decoders, last):
    """0xFD2FB522 to 0xFD2FB527, and 0xFD2FB51E: before the format was settled."""
    frame = zstd_frame(b"one")
    assert decoders.both(ZSTD, bytes([last]) + frame[1:], 3) is None


# ---- anything ------------------------------------------------------------------------------------


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(codec=st.integers(0, 4), packed=st.binary(max_size=300), length=st.integers(0, 5000))
def test_garbage(decoders, codec, packed, length):
    decoders.both(codec, packed, length)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(list(CODECS_OF)),
    flips=st.lists(st.tuples(st.integers(0, 2**20), st.integers(1, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 50),
)
def test_damage(decoders, name, flips, cut):
    packed = bytearray(streams(name))
    for at, mask in flips:
        packed[at % len(packed)] ^= mask
    decoders.both(CODECS_OF[name], bytes(packed[: len(packed) - cut]), len(TEXT))


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_warning(tmp_path, compiler):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    command = [compiler, *LANGUAGE, *WARNINGS, "-O3", "-c", str(CODECS / "codecs.c")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
