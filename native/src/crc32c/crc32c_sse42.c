/* The CPU's own CRC-32C instruction. */
#include "internal.h"

#if defined(__x86_64__)

#include <nmmintrin.h>
#include <string.h>

__attribute__((target("sse4.2")))
uint32_t vf_crc32c_sse42(uint32_t crc, const uint8_t *bytes, size_t length)
{
    uint64_t state = ~crc;
    for (; length >= 8; bytes += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        state = _mm_crc32_u64(state, word);
    }
    uint32_t rest = (uint32_t)state;
    for (; length > 0; bytes++, length--)
        rest = _mm_crc32_u8(rest, *bytes);
    return ~rest;
}

#else
typedef int vf_no_sse42; /* ISO C wants something in each file */
#endif
