#include "internal.h"

#if defined(__aarch64__)

#include <string.h>

/* Assembly, because compilers disagree on how a single function asks for the CRC extension, and
 * one of them hides the intrinsics unless the whole file is built for it. */
static inline uint32_t step_8(uint32_t crc, uint64_t word)
{
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
    return crc;
}

static inline uint32_t step_1(uint32_t crc, uint32_t byte)
{
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"(byte));
    return crc;
}

uint32_t vf_crc32c_arm64(uint32_t crc, const uint8_t *bytes, size_t length)
{
    crc = ~crc;
    for (; length >= 8; bytes += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
#endif
        crc = step_8(crc, word);
    }
    for (; length > 0; bytes++, length--)
        crc = step_1(crc, *bytes);
    return ~crc;
}

#endif
