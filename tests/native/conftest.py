"""The core under test as a fixture, and what tests of it share."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .build_cffi import build, build_codecs

GRANULE = 4096

# test_sanitizers.py runs this directory once more with the address sanitizer, which has to be in
# the process before Python is: hence the variable.
SANITIZERS = os.environ.get("VHDFAST_TEST_SANITIZERS", "undefined")


@dataclass(frozen=True)
class Call:
    """One system call that the core made."""

    fd: int
    offset: int
    length: int
    result: int


@dataclass(frozen=True)
class Decoding:
    """One call of the decoder: struct tc_call."""

    codec: int
    first: int
    packed_at: int
    packed_length: int
    out: int
    out_length: int


@dataclass(frozen=True)
class Answer:
    """What a function of the core returned, and what it left behind."""

    status: int
    error: Any
    read: int = 0
    written: int = 0
    zeros: int = 0


class Native:
    """lib and ffi of the test build, with the plumbing that every test needs."""

    def __init__(self, module: Any) -> None:
        self.ffi = module.ffi
        self.lib = module.lib
        self._alive: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def names(self, family: str) -> list[str]:
        name_of = getattr(self.lib, f"vf_{family}_name")
        names = []
        while (name := name_of(len(names))) != self.ffi.NULL:
            names.append(self.ffi.string(name).decode())
        return names

    def select(self, family: str, name: str | None) -> tuple[int, Any]:
        found = self.ffi.new(f"vf_{family}_kernel *")
        encoded = self.ffi.NULL if name is None else name.encode()
        status = getattr(self.lib, f"vf_{family}_select")(encoded, found)
        return status, found[0]

    def kernels(self, family: str) -> dict[str, Any]:
        """The kernels that run on this machine."""
        selected = {name: self.select(family, name) for name in self.names(family)}
        return {name: k for name, (status, k) in selected.items() if status == self.lib.VF_OK}

    def sources(self, sources: Sequence[bytes | tuple[int, ...]]) -> tuple[Any, list[Any]]:
        """struct vf_source[] from bytes or (fd, size[, start[, clone_block]]), and what must stay
        alive for it."""
        table = self.ffi.new("struct vf_source[]", max(len(sources), 1))
        alive = []
        for entry, source in zip(table, sources, strict=False):
            if isinstance(source, bytes):
                alive.append(self.ffi.from_buffer("uint8_t[]", source))
                entry.memory, entry.size, entry.fd = alive[-1], len(source), -1
            else:
                entry.fd, entry.size, entry.start, entry.clone_block = (*source, 0, 0)[:4]
        return table, alive

    def rows(self, rows: Sequence[tuple[int, ...]]) -> Any:
        """struct vf_extent[] from (offset, length, kind, file, file_offset, stored_length,
        decoded_length, skip, codec), of which the first three must be there."""
        table = self.ffi.new("struct vf_extent[]", max(len(rows), 1))
        for entry, row in zip(table, rows, strict=False):
            whole = (*row, 0, 0, 0, 0, 0, 0)[:9]
            entry.offset, entry.length, entry.kind, entry.file, entry.file_offset = whole[:5]
            entry.stored_length, entry.decoded_length, entry.skip, entry.codec = whole[5:]
        return table

    def decoder(self, *, packed: int = 64 * 1024, unit: int = 64 * 1024) -> Any:
        """struct vf_decoder of codec.c, whose buffers are exactly as long as it says."""
        decoder = self.ffi.new("struct vf_decoder *")
        buffers = [self.ffi.gc(self.lib.tf_allocate(size), self.lib.tf_free)
                   for size in (packed, unit)]  # fmt: skip
        decoder.packed, decoder.packed_size = buffers[0], packed
        decoder.unit, decoder.unit_size = buffers[1], unit
        decoder.decode, decoder.state = self.ffi.addressof(self.lib, "tc_decode"), buffers[0]
        self._alive[decoder] = buffers
        return decoder

    def decodings(self) -> list[Decoding]:
        table = self.ffi.new("struct tc_call **")
        count = self.lib.tc_calls(table)
        return [
            Decoding(c.codec, c.first, c.packed_at, c.packed_length, c.out, c.out_length)
            for c in table[0][0:count]
        ]

    def copy(
        self,
        sources: Sequence[bytes | tuple[int, ...]],
        rows: Sequence[tuple[int, ...]],
        fd: int,
        size: int,
        *,
        scratch: int = 16 * GRANULE,
        direct_fd: int = -1,
        direct_minimum: int = 0,
        decoder: Any = None,
    ) -> Answer:
        table, alive = self.sources(sources)
        sink = self.ffi.new("struct vf_sink *")
        sink.size, sink.fd, sink.direct_fd, sink.direct_minimum = (
            size, fd, direct_fd, direct_minimum,
        )  # fmt: skip
        copied, error = self.ffi.new("struct vf_copied *"), self.ffi.new("struct vf_error *")
        memory = self.ffi.gc(self.lib.tf_allocate(max(scratch, 1)), self.lib.tf_free)
        # Scratch comes back from earlier segments full of their bytes.
        self.ffi.memmove(memory, b"\xee" * scratch, scratch)
        status = self.lib.vf_copy_segment(
            table, len(sources), self.rows(rows), len(rows), sink, memory, scratch,
            self.select("zero", None)[1], decoder or self.ffi.NULL, copied, error,
        )  # fmt: skip
        del alive
        return Answer(status, error, copied.read, copied.written, copied.zeros)

    def read(
        self,
        sources: Sequence[bytes | tuple[int, ...]],
        rows: Sequence[tuple[int, ...]],
        offset: int,
        length: int,
        *,
        decoder: Any = None,
    ) -> tuple[Answer, bytes]:
        table, alive = self.sources(sources)
        error = self.ffi.new("struct vf_error *")
        buffer = self.ffi.gc(self.lib.tf_allocate(max(length, 1)), self.lib.tf_free)
        self.ffi.memmove(buffer, b"\xee" * length, length)
        status = self.lib.vf_read_segment(
            table, len(sources), self.rows(rows), len(rows), offset, buffer, length,
            decoder or self.ffi.NULL, error,
        )  # fmt: skip
        del alive
        return Answer(status, error), self.ffi.buffer(buffer, length)[:]

    def plan(self, call: str, *, os_errno: int = 0, most: int = 2**64 - 1) -> None:
        self.lib.tf_plan(call.encode(), os_errno, most)

    def calls(self, call: str) -> list[Call]:
        table = self.ffi.new("struct tf_call **")
        count = self.lib.tf_calls(call.encode(), table)
        return [Call(c.fd, c.offset, c.length, c.result) for c in table[0][0:count]]


def pytest_report_header() -> str:
    return f"native core: built with -fsanitize={SANITIZERS}"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Native:
    if sys.maxsize < 2**32:
        pytest.skip("faults.c takes off_t and off64_t for the same")
    return Native(build(tmp_path_factory.mktemp("native"), SANITIZERS))


@pytest.fixture(scope="session")
def codecs(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """native/codecs built for tests."""
    return build_codecs(tmp_path_factory.mktemp("codecs"), SANITIZERS)


@pytest.fixture
def native(built: Native) -> Iterator[Native]:
    built.lib.tf_reset()
    built.lib.tc_reset()
    yield built
    built.lib.tf_reset()
    built.lib.tc_reset()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    """An empty file to write to."""
    fd = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)
