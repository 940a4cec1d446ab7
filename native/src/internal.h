/* Shared between the .c files of the core, and seen by tests/native; nobody else includes it. */
#ifndef VF_INTERNAL_H
#define VF_INTERNAL_H

#include <sys/types.h>

#include "vhdfast.h"

_Static_assert(sizeof(off_t) == 8, "build with _FILE_OFFSET_BITS=64");

/* Return a status after filling *reterr. */
int vf_fail(struct vf_error *reterr, enum vf_status status, int os_errno, int32_t file,
            int64_t row, uint64_t offset, uint64_t length);

/* The gate that every row passes again on this side: VF_OK or VF_BAD_ROWS. Rows end at or before
 * `end`. */
int vf_check_rows(const struct vf_source *sources, size_t source_count,
                  const struct vf_extent *rows, size_t row_count, uint64_t end,
                  struct vf_error *reterr);

/* All of [offset, offset + length) of a source, or a failure. */
int vf_source_read(const struct vf_source *sources, size_t file, uint64_t offset, uint8_t *buffer,
                   size_t length, struct vf_error *reterr);

/* At least `least` and at most `most` bytes of a source, fewer than most only at its end.
 * *ret_length is how many. */
int vf_source_read_some(const struct vf_source *sources, size_t file, uint64_t offset,
                        uint8_t *buffer, size_t least, size_t most, size_t *ret_length,
                        struct vf_error *reterr);

/* Units decoded for one call, and what of them is kept to be used again. */
struct vf_unpacker {
    const struct vf_decoder *decoder;
    uint64_t packed_offset; /* of decoder->packed in its source */
    size_t packed_length;   /* bytes in it, 0 at first */
    uint16_t packed_file;
    const struct vf_extent *unit; /* the row whose unit decoder->unit holds, NULL at first */
    uint64_t read;          /* bytes taken from sources */
};

/* Decode the first `length` bytes of the unit of rows[row] into out. Rows behind it are looked at
 * to read what lies next to it in the same go. VF_BAD_ARGUMENT where the decoder lacks room. */
int vf_unpack(struct vf_unpacker *unpacker, const struct vf_source *sources,
              const struct vf_extent *rows, size_t row_count, size_t row, uint8_t *out,
              size_t length, struct vf_error *reterr);

/* The bytes of rows[row], decoded: somewhere in decoder->unit until the next call. */
int vf_unpack_row(struct vf_unpacker *unpacker, const struct vf_source *sources,
                  const struct vf_extent *rows, size_t row_count, size_t row,
                  const uint8_t **ret_bytes, struct vf_error *reterr);

/* All of the bytes at `offset` of the target, or a failure. */
int vf_sink_write(const struct vf_sink *sink, const uint8_t *bytes, size_t length,
                  uint64_t offset, struct vf_error *reterr);

/* Make blocks for a range that is about to be written through direct_fd, or give back those of a
 * range that needed none. Both are hints: where they fail, nothing is lost but speed or space. */
void vf_sink_allocate(const struct vf_sink *sink, uint64_t offset, uint64_t length);
void vf_sink_release(const struct vf_sink *sink, uint64_t offset, uint64_t length);

/* CPU features, read once. */
enum vf_cpu_feature {
    VF_CPU_SSE2 = 1,
    VF_CPU_SSE42 = 2,
    VF_CPU_AVX2 = 4,
    VF_CPU_AVX512 = 8, /* F and BW, with the operating system saving the wide registers */
    VF_CPU_NEON = 16,
    VF_CPU_ARM_CRC = 32
};
uint32_t vf_cpu_features(void);

/* A kernel of any type, cast back to its own before it is called. */
typedef void (*vf_any_kernel)(void);

struct vf_kernel {
    const char *name;
    uint32_t needs;       /* of enum vf_cpu_feature */
    vf_any_kernel kernel; /* NULL where it is another architecture's */
};

/* The kernel of this name, or the first that this CPU runs for NULL. VF_OK or VF_KERNEL_*. */
int vf_kernel_select(const struct vf_kernel *known, size_t count, const char *name,
                     vf_any_kernel *ret_kernel);

bool vf_zero_scalar(const uint8_t *bytes, size_t length);
uint32_t vf_crc32c_scalar(uint32_t crc, const uint8_t *bytes, size_t length);
#if defined(__x86_64__) || defined(__i386__)
bool vf_zero_sse2(const uint8_t *bytes, size_t length);
bool vf_zero_avx2(const uint8_t *bytes, size_t length);
bool vf_zero_avx512(const uint8_t *bytes, size_t length);
uint32_t vf_crc32c_sse42(uint32_t crc, const uint8_t *bytes, size_t length);
#endif
#if defined(__aarch64__)
bool vf_zero_neon(const uint8_t *bytes, size_t length);
uint32_t vf_crc32c_arm64(uint32_t crc, const uint8_t *bytes, size_t length);
#endif

#endif
