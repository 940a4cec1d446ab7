from __future__ import annotations

import pytest

# The footer of `qemu-img create -f vpc -o subformat=fixed,force_size x.vhd 64M`.
FOOTER = bytes.fromhex(
    "636f6e65637469780000000200010000ffffffffffffffff329820b171656d32"
    "000500035769326b00000000040000000000000004000000ffff10ff00000002"
    "ffffe5d4d2032b69601941a8867680aa9243c0c1"
).ljust(512, b"\0")
FOOTER_CHECKSUM = 0xFFFFE5D4


def test_footer_made_by_qemu(native):
    assert native.lib.vf_vhd_checksum(FOOTER, 512, 64) == FOOTER_CHECKSUM


def test_what_the_field_holds_does_not_count(native):
    other = FOOTER[:64] + b"\xff\xff\xff\xff" + FOOTER[68:]
    assert native.lib.vf_vhd_checksum(other, 512, 64) == FOOTER_CHECKSUM


@pytest.mark.parametrize(
    ("data", "field", "expected"),
    [
        pytest.param(b"", 2**64 - 1, 0xFFFFFFFF, id="nothing"),
        pytest.param(b"\x01\x02\x03", 0, 0xFFFFFFFF - 6, id="shorter than the field"),
        pytest.param(b"\x01\x02\x03\x04", 0, 0xFFFFFFFF, id="the field alone"),
        pytest.param(b"\x01\x02\x03\x04\x05", 1, 0xFFFFFFFF - 1, id="field at the end"),
        pytest.param(b"\x01\x02\x03\x04\x05", 2, 0xFFFFFFFF - 15, id="field one byte beyond"),
        pytest.param(b"\x01\x02\x03\x04\x05", 2**64 - 1, 0xFFFFFFFF - 15, id="field + 4 wraps"),
        pytest.param(b"\x01\x02\x03\x04\x05", 2**64 - 4, 0xFFFFFFFF - 15, id="field + 4 is 0"),
        pytest.param(b"\xff" * 1024, 36, 0xFFFFFFFF - 1020 * 255, id="dynamic header"),
    ],
)
def test_checksum(native, data, field, expected):
    assert native.lib.vf_vhd_checksum(data, len(data), field) == expected
