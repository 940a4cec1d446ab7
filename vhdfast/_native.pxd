from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "vhdfast.h" nogil:
    ctypedef bint c_bool "bool"

    size_t VF_GRANULE

    enum:
        VF_OK
        VF_BAD_ROWS
        VF_READ_FAILED
        VF_READ_SHORT
        VF_WRITE_FAILED
        VF_SEEK_FAILED
        VF_BAD_ARGUMENT
        VF_KERNEL_UNKNOWN
        VF_KERNEL_NOT_BUILT
        VF_KERNEL_NO_CPU
        VF_DECODE_FAILED

    cdef struct vf_extent:
        uint64_t offset
        uint64_t length
        uint64_t file_offset
        uint32_t stored_length
        uint32_t decoded_length
        uint32_t skip
        uint16_t file
        uint8_t kind
        uint8_t codec

    cdef struct vf_source:
        const uint8_t *memory
        uint64_t size
        uint64_t start
        int32_t fd
        uint32_t clone_block

    cdef struct vf_sink:
        uint64_t size
        int32_t fd
        int32_t direct_fd
        uint32_t direct_minimum
        uint32_t allocate_ahead

    ctypedef int (*vf_decode)(void *, uint32_t, const uint8_t *, size_t, uint8_t *, size_t) noexcept

    cdef struct vf_decoder:
        vf_decode decode
        void *state
        uint8_t *packed
        size_t packed_size
        uint8_t *unit
        size_t unit_size

    cdef struct vf_copied:
        uint64_t read
        uint64_t written
        uint64_t zeros

    cdef struct vf_error:
        int32_t status
        int32_t os_errno
        int32_t file
        int32_t row
        uint64_t offset
        uint64_t length

    cdef struct vf_run:
        uint64_t offset
        uint64_t length

    ctypedef c_bool (*vf_zero_kernel)(const uint8_t *, size_t)
    ctypedef uint32_t (*vf_crc32c_kernel)(uint32_t, const uint8_t *, size_t)

    int vf_zero_select(const char *name, vf_zero_kernel *ret_kernel)
    const char *vf_zero_name(size_t index)
    int vf_crc32c_select(const char *name, vf_crc32c_kernel *ret_kernel)
    const char *vf_crc32c_name(size_t index)
    int vf_find_runs(const uint8_t *data, size_t length, size_t granule, size_t start,
                     c_bool zeros, vf_zero_kernel kernel, vf_run *runs, size_t max_runs,
                     size_t *ret_count, size_t *ret_next)
    uint32_t vf_vhd_checksum(const uint8_t *data, size_t length, size_t field)

    int vf_copy_segment(const vf_source *sources, size_t source_count, const vf_extent *rows,
                        size_t row_count, const vf_sink *sink, uint8_t *scratch,
                        size_t scratch_size, vf_zero_kernel kernel, const vf_decoder *decoder,
                        vf_copied *copied, vf_error *reterr)
    int vf_clone_rows(const vf_source *sources, size_t source_count, const vf_extent *rows,
                      size_t row_count, const vf_sink *sink, uint64_t minimum, vf_extent *rest,
                      size_t *ret_count, uint64_t *ret_cloned, vf_error *reterr)
    int vf_count_cloneable(const vf_source *sources, size_t source_count, const vf_extent *rows,
                           size_t row_count, uint64_t minimum, uint64_t *ret_bytes,
                           vf_error *reterr)
    int vf_write_data(const vf_sink *sink, const uint8_t *data, size_t length, uint64_t offset,
                      vf_zero_kernel kernel, vf_copied *copied, vf_error *reterr)
    int vf_read_segment(const vf_source *sources, size_t source_count, const vf_extent *rows,
                        size_t row_count, uint64_t offset, uint8_t *buffer, size_t length,
                        const vf_decoder *decoder, vf_error *reterr)
    int vf_gather(const vf_source *source, const uint64_t *offsets, size_t count, size_t size,
                  uint8_t *buffer, vf_error *reterr)
    int vf_split_holes(const vf_source *source, uint16_t file, const vf_extent *rows, size_t row_count,
                       vf_extent *out, size_t max_rows, size_t *ret_count, vf_error *reterr)
