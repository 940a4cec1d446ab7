"""Decompressors for COMPRESSED rows: libdeflate, zlib and libzstd, one set for each thread.

The native core calls them through the address of one C function (native/codecs/); nothing here
touches data but `decode`, which is what --verify reads with.
"""

from __future__ import annotations

import mmap
import threading

from . import _native
from ._codecs import ffi, lib
from .extents import MAX_UNIT

__all__ = ["decode", "decoder"]

_local = threading.local()


class _State:
    """A set of decompressors, freed with the thread that made it."""

    def __init__(self) -> None:
        handle = lib.vfc_create()
        if handle == ffi.NULL:
            raise MemoryError("no memory for decompressors")
        self.handle = ffi.gc(handle, lib.vfc_destroy)


def _state() -> _State:
    if not hasattr(_local, "state"):
        _local.state = _State()
    state: _State = _local.state
    return state


def decoder() -> _native.Decoder:
    """This thread's decoder. Its buffers take memory only as far as units fill them."""
    if not hasattr(_local, "decoder"):
        state = _state()
        address = ffi.cast("uintptr_t", ffi.addressof(lib, "vfc_decode"))
        _local.decoder = _native.Decoder(
            int(address),
            int(ffi.cast("uintptr_t", state.handle)),
            mmap.mmap(-1, MAX_UNIT),
            mmap.mmap(-1, MAX_UNIT),
            state,
        )
    made: _native.Decoder = _local.decoder
    return made


def decode(codec: int, packed: bytes, length: int) -> bytes | None:
    """The first `length` bytes of a stream, by code that the engine does not use.

    codec: of extents.Codec. None where `packed` does not begin with a stream of so many bytes.
    """
    out = bytearray(length)
    answer = lib.vfc_decode_plain(
        _state().handle, codec, ffi.from_buffer(packed), len(packed), ffi.from_buffer(out), length
    )
    return bytes(out) if answer == 0 else None
