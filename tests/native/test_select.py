from __future__ import annotations

import platform
from pathlib import Path

import pytest

X86 = platform.machine() in ("x86_64", "i386", "i686", "AMD64")
FOREIGN = {"zero": "neon", "crc32c": "arm64"} if X86 else {"zero": "avx2", "crc32c": "sse42"}
FAMILIES = ["zero", "crc32c"]


@pytest.mark.parametrize("family", FAMILIES)
def test_name_nobody_knows(native, family):
    assert native.select(family, "avx1024")[0] == native.lib.VF_KERNEL_UNKNOWN


@pytest.mark.parametrize("family", FAMILIES)
def test_empty_name_is_a_name_nobody_knows(native, family):
    assert native.select(family, "")[0] == native.lib.VF_KERNEL_UNKNOWN


@pytest.mark.parametrize("family", FAMILIES)
def test_kernel_of_another_architecture(native, family):
    assert native.select(family, FOREIGN[family])[0] == native.lib.VF_KERNEL_NOT_BUILT


@pytest.mark.parametrize("family", FAMILIES)
def test_refusal_leaves_the_result_alone(native, family):
    assert native.select(family, "avx1024")[1] == native.ffi.NULL


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_name_the_first_that_runs(native, family):
    first = next(iter(native.kernels(family).values()))
    assert native.select(family, None) == (native.lib.VF_OK, first)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_runs_everywhere(native, family):
    assert native.select(family, "scalar")[0] == native.lib.VF_OK


@pytest.mark.parametrize("family", FAMILIES)
def test_no_name_past_the_last(native, family):
    name_of = getattr(native.lib, f"vf_{family}_name")
    assert name_of(2**64 - 1) == native.ffi.NULL


@pytest.fixture
def table(native):
    """Two kernels: one that no CPU runs (it needs a feature bit that is never set), one that all
    do, and between them one that was not built."""
    names = [native.ffi.new("char[]", name) for name in (b"wide", b"foreign", b"plain")]
    kernels = native.ffi.new("struct vf_kernel[3]")
    code = native.ffi.cast("vf_any_kernel", native.ffi.addressof(native.lib, "vf_zero_scalar"))
    for kernel, name in zip(kernels, names, strict=True):
        kernel.name = name
    kernels[0].needs, kernels[0].kernel = 1 << 30, code
    kernels[2].kernel = code

    def select(name):
        found = native.ffi.new("vf_any_kernel *")
        wanted = native.ffi.NULL if name is None else name
        return native.lib.vf_kernel_select(kernels, 3, wanted, found), found[0]

    yield select
    del names


def test_kernel_that_this_cpu_cannot_run(native, table):
    assert table(b"wide")[0] == native.lib.VF_KERNEL_NO_CPU


def test_best_is_the_first_that_is_built_and_runs(native, table):
    assert table(None) == table(b"plain")
    assert table(None)[0] == native.lib.VF_OK


@pytest.mark.skipif(not X86, reason="reads the flags of an x86 CPU")
@pytest.mark.parametrize(
    ("flags", "bit"),
    [({"sse2"}, 1), ({"sse4_2"}, 2), ({"avx2"}, 4), ({"avx512f", "avx512bw"}, 8)],
)
def test_features_are_those_the_kernel_of_the_system_lists(native, flags, bit):
    if not Path("/proc/cpuinfo").exists():
        pytest.skip("no /proc/cpuinfo")
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    listed = next(set(line.split()) for line in lines if line.startswith("flags"))
    assert bool(native.lib.vf_cpu_features() & bit) == (flags <= listed)
