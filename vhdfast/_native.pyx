"""The border between Python and native/: buffers in, the GIL released, statuses to exceptions.

No algorithm lives here.
"""

import errno as _errno
import os as _os

import numpy as np

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t

from . import errors as _errors
from .extents import EXTENT

GRANULE = VF_GRANULE


# ---- kernels ------------------------------------------------------------------------------------

_REASONS = {
    VF_KERNEL_UNKNOWN: "no kernel has this name",
    VF_KERNEL_NOT_BUILT: "this build has no such kernel (it is for another architecture)",
    VF_KERNEL_NO_CPU: "this machine's CPU cannot run it",
}


def _refuse(status, name):
    return _errors.UsageError(f"kernel {name!r}: {_REASONS[status]}")


cdef vf_zero_kernel _zero_kernel(name) except NULL:
    cdef vf_zero_kernel kernel = NULL
    cdef bytes encoded
    cdef const char *wanted = NULL
    if name is not None:
        encoded = name.encode()
        wanted = encoded
    cdef int status = vf_zero_select(wanted, &kernel)
    if status != VF_OK:
        raise _refuse(status, name)
    return kernel


cdef vf_crc32c_kernel _crc32c_kernel(name) except NULL:
    cdef vf_crc32c_kernel kernel = NULL
    cdef bytes encoded
    cdef const char *wanted = NULL
    if name is not None:
        encoded = name.encode()
        wanted = encoded
    cdef int status = vf_crc32c_select(wanted, &kernel)
    if status != VF_OK:
        raise _refuse(status, name)
    return kernel


def kernels():
    """{"zero": {name: None or why it cannot run}, "crc32c": ...}, preferred ones first."""
    cdef size_t index
    cdef const char *name
    cdef vf_zero_kernel zero
    cdef vf_crc32c_kernel crc
    found = {"zero": {}, "crc32c": {}}
    index = 0
    while vf_zero_name(index) != NULL:
        name = vf_zero_name(index)
        found["zero"][name.decode()] = _REASONS.get(vf_zero_select(name, &zero))
        index += 1
    index = 0
    while vf_crc32c_name(index) != NULL:
        name = vf_crc32c_name(index)
        found["crc32c"][name.decode()] = _REASONS.get(vf_crc32c_select(name, &crc))
        index += 1
    return found


def is_zero(buffer, kernel=None):
    """Whether every byte of a contiguous buffer is zero; an empty one is."""
    cdef const uint8_t[::1] view = _bytes_of(buffer)
    cdef vf_zero_kernel chosen = _zero_kernel(kernel)
    cdef bint answer
    cdef size_t length = view.shape[0]
    if length == 0:
        return True
    with nogil:
        answer = chosen(&view[0], length)
    return answer


def zero_runs(buffer, size_t block=4096, kernel=None):
    """[(offset, length), ...] of the runs of `block`-sized blocks that are all zero, in bytes."""
    return _runs(buffer, block, True, kernel)


def data_runs(buffer, size_t block=4096, kernel=None):
    """[(offset, length), ...] of the runs of blocks that are not all zero, in bytes."""
    return _runs(buffer, block, False, kernel)


cdef _runs(buffer, size_t block, bint zeros, kernel):
    cdef const uint8_t[::1] view = _bytes_of(buffer)
    cdef vf_zero_kernel chosen = _zero_kernel(kernel)
    cdef vf_run runs[256]
    cdef size_t length = view.shape[0], start = 0, count = 0, index
    cdef int status
    if block == 0:
        raise _errors.UsageError("a block has at least one byte")
    found = []
    while start < length:
        with nogil:
            status = vf_find_runs(&view[0], length, block, start, zeros, chosen, runs, 256,
                                  &count, &start)
        if status != VF_OK:
            raise _errors.InternalError(f"vf_find_runs answered {status}")
        for index in range(count):
            found.append((runs[index].offset, runs[index].length))
    return found


def crc32c(buffer, uint32_t value=0, kernel=None):
    """CRC-32C (Castagnoli) of a contiguous buffer, continuing from `value`."""
    cdef const uint8_t[::1] view = _bytes_of(buffer)
    cdef vf_crc32c_kernel chosen = _crc32c_kernel(kernel)
    cdef size_t length = view.shape[0]
    if length == 0:
        return value
    with nogil:
        value = chosen(value, &view[0], length)
    return value


def vhd_checksum(buffer, field=None):
    """One's complement of the sum of all bytes but the four at `field`.

    field: where the structure keeps the checksum itself; by default 64 for a footer (511 or 512
    bytes), 36 for a dynamic header (1024 bytes), and nowhere for any other length.
    Source: Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer Format".
    """
    cdef const uint8_t[::1] view = _bytes_of(buffer)
    cdef size_t length = view.shape[0], at, none = <size_t>-1
    if field is None:
        field = {511: 64, 512: 64, 1024: 36}.get(length, none)
    at = field
    if length == 0:
        return 0xFFFFFFFF
    return vf_vhd_checksum(&view[0], length, at)


cdef _bytes_of(buffer):
    """The buffer as contiguous bytes, without a copy; TypeError where that cannot be."""
    view = memoryview(buffer)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


# ---- the disk's bytes ---------------------------------------------------------------------------

cdef class SourceTable:
    """The open sources of an image as native code sees them; keeps them alive.

    sources: objects with `size`, `path`, `start`, `memory` (bytes or None) and `fileno()`. Rows may
    not name those that have neither memory nor a descriptor.
    clone_blocks: for each source, what clones of it are aligned to, in bytes; 0: none are made.
    """

    cdef vf_source *table
    cdef size_t count
    cdef object sources

    def __cinit__(self, sources, clone_blocks=()):
        cdef size_t index
        cdef const uint8_t[::1] view
        self.sources = list(sources)
        self.count = len(self.sources)
        self.table = <vf_source *>PyMem_Calloc(self.count + 1, sizeof(vf_source))
        if self.table == NULL:
            raise MemoryError
        for index, source in enumerate(self.sources):
            self.table[index].size = source.size
            self.table[index].start = source.start
            if source.memory is not None:
                # bytes objects do not move, and self.sources holds them.
                self.table[index].memory = <const uint8_t *><char *>(<bytes>source.memory)
                self.table[index].fd = -1
            else:
                fd = source.fileno()
                self.table[index].fd = -1 if fd is None else fd
        for index, block in enumerate(clone_blocks[: self.count]):
            self.table[index].clone_block = block

    def __dealloc__(self):
        PyMem_Free(self.table)

    def path(self, index):
        return self.sources[index].path if 0 <= index < len(self.sources) else None


cdef _raise(vf_error *error, sources, target):
    """The one table from status to exception."""
    path = sources.path(error.file) if sources is not None and error.file >= 0 else target
    reason = _os.strerror(error.os_errno) if error.os_errno else ""
    if error.status == VF_READ_FAILED or error.status == VF_SEEK_FAILED:
        raise _errors.ReadError(f"reading failed: {reason}", path=path, offset=error.offset)
    if error.status == VF_READ_SHORT:
        raise _errors.SourceChangedError(
            f"the file ends here, {error.length} more bytes were expected: it was cut while it "
            "was read",
            path=path,
            offset=error.offset,
            hint="stop what uses the image or copy a snapshot of it",
        )
    if error.status == VF_DECODE_FAILED:
        raise _errors.CorruptImageError(
            f"the compressed data here does not decode to the {error.length} bytes it stands for",
            path=path,
            offset=error.offset,
            hint="the image is damaged: copy it again and compare checksums",
        )
    if error.status == VF_WRITE_FAILED:
        if error.os_errno in (_errno.ENOSPC, _errno.EDQUOT):
            raise _errors.NoSpaceError(
                f"no room for {error.length} more bytes: {reason}",
                path=path,
                offset=error.offset,
                hint="free some space or choose another file system",
            )
        if error.os_errno == _errno.EFBIG:
            raise _errors.TargetTooLargeError(
                f"the file may not grow this far: {reason}",
                path=path,
                offset=error.offset,
                hint="choose another file system, or lift the limit on file sizes (ulimit -f)",
            )
        raise _errors.WriteError(f"writing failed: {reason}", path=path, offset=error.offset)
    raise _errors.InternalError(
        f"native status {error.status} at row {error.row} (offset {error.offset}, length "
        f"{error.length}, file {error.file})",
        path=path,
    )


cdef class Sink:
    """A target that copy_segment and write_data write to: descriptors owned by the caller."""

    cdef vf_sink sink
    cdef readonly object path

    def __cinit__(self, int fd, uint64_t size, path, int direct_fd=-1,
                  uint32_t direct_minimum=65536, bint allocate_ahead=False):
        self.sink.fd = fd
        self.sink.size = size
        self.sink.direct_fd = direct_fd
        self.sink.direct_minimum = direct_minimum
        self.sink.allocate_ahead = allocate_ahead
        self.path = path


cdef class Decoder:
    """What decodes COMPRESSED rows, with its buffers: one thread's own.

    decode, state: addresses of a function as struct vf_decoder wants it and of what it is given.
    packed, unit: buffers for stored and for decoded bytes of one unit. owner: kept alive with it.
    """

    cdef vf_decoder decoder
    cdef object kept
    cdef uint8_t[::1] packed
    cdef uint8_t[::1] unit

    def __cinit__(self, uintptr_t decode, uintptr_t state, uint8_t[::1] packed not None,
                  uint8_t[::1] unit not None, owner):
        self.packed, self.unit, self.kept = packed, unit, owner
        self.decoder.decode = <vf_decode>decode
        self.decoder.state = <void *>state
        self.decoder.packed, self.decoder.packed_size = &packed[0], packed.shape[0]
        self.decoder.unit, self.decoder.unit_size = &unit[0], unit.shape[0]


def copy_segment(SourceTable sources not None, const vf_extent[::1] rows not None,
                 Sink sink not None, uint8_t[::1] scratch not None, Decoder decoder=None,
                 kernel=None):
    """Copy DATA and COMPRESSED rows to the sink, zero granules becoming holes.

    decoder: needed where a row is COMPRESSED.
    Returns (bytes read, bytes written, bytes found zero). Raises ReadError, SourceChangedError,
    CorruptImageError, WriteError, NoSpaceError, TargetTooLargeError.
    """
    cdef const vf_decoder *unpack = NULL if decoder is None else &decoder.decoder
    cdef vf_zero_kernel chosen = _zero_kernel(kernel)
    cdef vf_copied copied
    cdef vf_error error
    cdef int status
    cdef size_t count = rows.shape[0]
    copied.read = copied.written = copied.zeros = 0
    if scratch.shape[0] == 0:
        raise _errors.InternalError("copying needs a scratch buffer")
    if count:
        with nogil:
            status = vf_copy_segment(sources.table, sources.count, &rows[0], count, &sink.sink,
                                     &scratch[0], scratch.shape[0], chosen, unpack, &copied,
                                     &error)
        if status != VF_OK:
            _raise(&error, sources, sink.path)
    return copied.read, copied.written, copied.zeros


def clone_rows(SourceTable sources not None, const vf_extent[::1] rows not None,
               Sink sink not None, uint64_t minimum):
    """Share blocks of DATA rows between their sources and the sink, where that can be done.

    minimum: the shortest clone that is made, in bytes.
    Returns (bytes cloned, the rows that are left to be copied).
    """
    cdef vf_error error
    cdef size_t given = rows.shape[0], count = 0
    cdef uint64_t cloned = 0
    cdef int status
    rest = np.empty(2 * given, dtype=EXTENT)
    cdef vf_extent[::1] view = rest
    if given:
        with nogil:
            status = vf_clone_rows(sources.table, sources.count, &rows[0], given, &sink.sink,
                                   minimum, &view[0], &count, &cloned, &error)
        if status != VF_OK:
            _raise(&error, sources, sink.path)
    return cloned, rest[:count]


def count_cloneable(SourceTable sources not None, const vf_extent[::1] rows not None,
                    uint64_t minimum):
    """The bytes that clone_rows would clone if nothing refused."""
    cdef vf_error error
    cdef size_t count = rows.shape[0]
    cdef uint64_t found = 0
    cdef int status
    if count:
        with nogil:
            status = vf_count_cloneable(sources.table, sources.count, &rows[0], count, minimum,
                                        &found, &error)
        if status != VF_OK:
            _raise(&error, sources, None)
    return found


def write_data(Sink sink not None, buffer, uint64_t offset, kernel=None):
    """Write a buffer at `offset` of the target, a multiple of GRANULE, zero granules becoming holes.

    Returns (bytes written, bytes found zero). Raises WriteError, NoSpaceError,
    TargetTooLargeError.
    """
    cdef const uint8_t[::1] view = _bytes_of(buffer)
    cdef vf_zero_kernel chosen = _zero_kernel(kernel)
    cdef vf_copied copied
    cdef vf_error error
    cdef int status
    cdef size_t length = view.shape[0]
    copied.read = copied.written = copied.zeros = 0
    if length:
        with nogil:
            status = vf_write_data(&sink.sink, &view[0], length, offset, chosen, &copied, &error)
        if status != VF_OK:
            _raise(&error, None, sink.path)
    return copied.written, copied.zeros


def read_segment(SourceTable sources not None, const vf_extent[::1] rows not None,
                 uint64_t offset, uint8_t[::1] buffer not None, Decoder decoder=None):
    """Fill buffer with the virtual disk's bytes at `offset`; zeros where no row speaks.

    decoder: needed where a row is COMPRESSED. Raises ReadError, SourceChangedError,
    CorruptImageError.
    """
    cdef const vf_decoder *unpack = NULL if decoder is None else &decoder.decoder
    cdef vf_error error
    cdef int status
    cdef size_t count = rows.shape[0], length = buffer.shape[0]
    if length == 0:
        return
    with nogil:
        status = vf_read_segment(sources.table, sources.count, &rows[0] if count else NULL,
                                 count, offset, &buffer[0], length, unpack, &error)
    if status != VF_OK:
        _raise(&error, sources, None)


def gather(source, const uint64_t[::1] offsets not None, size_t size):
    """`size` bytes at each offset of a source, as a uint8 array of shape (len(offsets), size)."""
    table = SourceTable([source])
    return _gather(table, offsets, size)


cdef _gather(SourceTable table, const uint64_t[::1] offsets, size_t size):
    cdef vf_error error
    cdef int status = VF_OK
    cdef size_t count = offsets.shape[0]
    out = np.empty((count, size), dtype=np.uint8)
    cdef uint8_t[:, ::1] view = out
    if count and size:
        with nogil:
            status = vf_gather(table.table, &offsets[0], count, size, &view[0, 0], &error)
    if status != VF_OK:
        _raise(&error, table, None)
    return out


def split_holes(source, uint16_t file, const vf_extent[::1] rows not None, size_t max_rows):
    """The rows with what lies in holes of `source`, which they call `file`, made ZERO.

    A prefix of what the rows cover, of at most max_rows rows. Raises ReadError.
    """
    cdef vf_error error
    cdef size_t count = 0, given = rows.shape[0]
    cdef int status
    cdef SourceTable table = SourceTable([source])
    out = np.zeros(max_rows, dtype=EXTENT)
    cdef vf_extent[::1] view = out
    if not given or not max_rows:
        return out[:0]
    with nogil:
        status = vf_split_holes(table.table, file, &rows[0], given, &view[0], max_rows, &count, &error)
    if status != VF_OK:
        error.file = 0
        _raise(&error, table, None)
    return out[:count]


cdef _layout():
    cdef vf_extent row
    cdef char *base = <char *>&row
    return {
        "offset": (<char *>&row.offset - base, sizeof(row.offset)),
        "length": (<char *>&row.length - base, sizeof(row.length)),
        "file_offset": (<char *>&row.file_offset - base, sizeof(row.file_offset)),
        "stored_length": (<char *>&row.stored_length - base, sizeof(row.stored_length)),
        "decoded_length": (<char *>&row.decoded_length - base, sizeof(row.decoded_length)),
        "skip": (<char *>&row.skip - base, sizeof(row.skip)),
        "file": (<char *>&row.file - base, sizeof(row.file)),
        "kind": (<char *>&row.kind - base, sizeof(row.kind)),
        "codec": (<char *>&row.codec - base, sizeof(row.codec)),
    }


def _check_layout():
    ours = {name: (at, field.itemsize) for name, (field, at) in EXTENT.fields.items()}
    if _layout() != ours or sizeof(vf_extent) != EXTENT.itemsize:
        raise ImportError(f"struct vf_extent {_layout()} is not EXTENT {ours}: rebuild vhdfast")


_check_layout()
