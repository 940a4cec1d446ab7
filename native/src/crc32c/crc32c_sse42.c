/* One stream, so each instruction waits for the last. Three interleaved streams would be faster on
 * long buffers, but what is summed here are metadata of a few KiB, where joining the streams eats
 * the gain. */
#include "internal.h"

#if defined(__x86_64__) || defined(__i386__)

#include <nmmintrin.h>
#include <string.h>

__attribute__((target("sse4.2")))
uint32_t vf_crc32c_sse42(uint32_t crc, const uint8_t *bytes, size_t length)
{
    crc = ~crc;
#if defined(__x86_64__)
    uint64_t wide = crc;
    for (; length >= 8; bytes += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
#endif
    for (; length >= 4; bytes += 4, length -= 4) {
        uint32_t word;
        memcpy(&word, bytes, sizeof word);
        crc = _mm_crc32_u32(crc, word);
    }
    for (; length > 0; bytes++, length--)
        crc = _mm_crc32_u8(crc, *bytes);
    return ~crc;
}

#endif
