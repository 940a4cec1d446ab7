/* NEON: the last vector is loaded from the end, overlapping, so that no tail is left. */
#include "internal.h"

#if defined(__aarch64__)

#include <arm_neon.h>

static inline bool is_zero(uint8x16_t value)
{
    return vmaxvq_u32(vreinterpretq_u32_u8(value)) == 0;
}

bool vf_zero_neon(const uint8_t *bytes, size_t length)
{
    if (length < 16)
        return vf_zero_scalar(bytes, length);
    /* Most granules that hold data show it in their first bytes. */
    if (!is_zero(vld1q_u8(bytes)))
        return false;
    const uint8_t *const last = bytes + length - 16;
    const uint8_t *at = bytes;
    while ((size_t)(last - at) >= 4 * 16) {
        /* Four loads a branch: the loop is bound by memory, not by comparing. */
        const uint8x16_t low = vorrq_u8(vld1q_u8(at), vld1q_u8(at + 16));
        const uint8x16_t high = vorrq_u8(vld1q_u8(at + 32), vld1q_u8(at + 48));
        if (!is_zero(vorrq_u8(low, high)))
            return false;
        at += 4 * 16;
    }
    for (; at < last; at += 16) {
        if (!is_zero(vld1q_u8(at)))
            return false;
    }
    return is_zero(vld1q_u8(last));
}

#else
typedef int vf_no_neon; /* ISO C wants something in each file */
#endif
