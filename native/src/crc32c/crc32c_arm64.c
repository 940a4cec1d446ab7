/* The CRC-32C instructions of ARMv8. */
#include "internal.h"

#if defined(__aarch64__)

#include <string.h>

#if defined(__clang__)
#define TARGET_CRC __attribute__((target("crc")))
#else
#define TARGET_CRC __attribute__((target("+crc")))
#endif

#include <arm_acle.h>

TARGET_CRC
uint32_t vf_crc32c_arm64(uint32_t crc, const uint8_t *bytes, size_t length)
{
    crc = ~crc;
    for (; length >= 8; bytes += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        crc = __crc32cd(crc, word);
    }
    for (; length > 0; bytes++, length--)
        crc = __crc32cb(crc, *bytes);
    return ~crc;
}

#else
typedef int vf_no_arm64; /* ISO C wants something in each file */
#endif
