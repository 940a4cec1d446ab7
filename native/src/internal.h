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
