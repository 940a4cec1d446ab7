/* SSE2: the last vector is loaded from the end, overlapping, so that no tail is left. */
#include "internal.h"

#if defined(__x86_64__) || defined(__i386__)

#include <emmintrin.h>

__attribute__((target("sse2")))
static inline bool is_zero(__m128i value)
{
    return _mm_movemask_epi8(_mm_cmpeq_epi8(value, _mm_setzero_si128())) == 0xFFFF;
}

static inline __m128i load(const uint8_t *bytes)
{
    return _mm_loadu_si128((const __m128i *)(const void *)bytes);
}

__attribute__((target("sse2")))
bool vf_zero_sse2(const uint8_t *bytes, size_t length)
{
    if (length < 16)
        return vf_zero_scalar(bytes, length);
    /* Most granules that hold data show it in their first bytes. */
    if (!is_zero(load(bytes)))
        return false;
    const uint8_t *const last = bytes + length - 16;
    const uint8_t *at = bytes;
    while ((size_t)(last - at) >= 4 * 16) {
        /* Four loads a branch: the loop is bound by memory, not by comparing. */
        const __m128i low = _mm_or_si128(load(at), load(at + 16));
        const __m128i high = _mm_or_si128(load(at + 32), load(at + 48));
        if (!is_zero(_mm_or_si128(low, high)))
            return false;
        at += 4 * 16;
    }
    for (; at < last; at += 16) {
        if (!is_zero(load(at)))
            return false;
    }
    return is_zero(load(last));
}

#else
typedef int vf_no_sse2; /* ISO C wants something in each file */
#endif
