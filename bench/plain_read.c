/* What memory gives: the widest vectors this CPU has, ORed together, no branch on what is read. A
 * zero scan cannot be faster than this, and should not be much slower. Built with -march=native.
 *
 * Rounds repeat inside C, so that a buffer of the size of a cache is not timed together with the
 * call from Python. */
#include "plain_read.h"

#include <string.h>

#if defined(__AVX512F__)
#define WIDTH 64
#elif defined(__AVX2__)
#define WIDTH 32
#else
#define WIDTH 16
#endif

typedef uint64_t vector __attribute__((vector_size(WIDTH)));

static inline vector load(const uint8_t *at)
{
    vector value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* length: a multiple of 8 * WIDTH. */
static uint64_t or_all(const uint8_t *bytes, size_t length)
{
    vector sums[8] = { { 0 } };
    for (size_t at = 0; at < length; at += sizeof sums) {
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++)
            sums[i] |= load(bytes + at + i * WIDTH);
    }
    uint64_t all = 0;
    for (size_t i = 0; i < 8; i++)
        for (size_t lane = 0; lane < WIDTH / 8; lane++)
            all |= sums[i][lane];
    return all;
}

uint64_t bench_plain_read(const uint8_t *bytes, size_t length, size_t rounds)
{
    uint64_t all = 0;
    for (size_t round = 0; round < rounds; round++) {
        /* Without it the compiler reads once for all rounds. */
        __asm__ volatile("" : "+r"(bytes) : : "memory");
        all |= or_all(bytes, length);
    }
    return all;
}

size_t bench_plain_width(void)
{
    return WIDTH;
}

size_t bench_zero_bytes(vf_zero_kernel kernel, const uint8_t *bytes, size_t length, size_t rounds)
{
    size_t zeros = 0;
    for (size_t round = 0; round < rounds; round++) {
        struct vf_run runs[64];
        size_t count, next = 0;
        __asm__ volatile("" : "+r"(bytes) : : "memory");
        while (next < length) {
            if (vf_find_runs(bytes, length, 4096, next, true, kernel, runs, 64, &count, &next)
                != VF_OK)
                return 0;
            for (size_t i = 0; i < count; i++)
                zeros += runs[i].length;
        }
    }
    return zeros;
}

uint32_t bench_crc32c(vf_crc32c_kernel kernel, const uint8_t *bytes, size_t length, size_t rounds)
{
    uint32_t crc = 0;
    for (size_t round = 0; round < rounds; round++)
        crc = kernel(0, bytes, length);
    return crc;
}
