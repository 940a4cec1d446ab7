/* AVX2: the last vector is loaded from the end, overlapping, so that no tail is left. */
#include "internal.h"

#if defined(__x86_64__) || defined(__i386__)

#include <immintrin.h>

__attribute__((target("avx2"))) static inline bool is_zero(__m256i value)
{
    return _mm256_testz_si256(value, value) != 0;
}

__attribute__((target("avx2"))) static inline __m256i load(const uint8_t *bytes)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)bytes);
}

__attribute__((target("avx2")))
bool vf_zero_avx2(const uint8_t *bytes, size_t length)
{
    if (length < 32)
        return vf_zero_scalar(bytes, length);
    /* Most granules that hold data show it in their first bytes. */
    if (!is_zero(load(bytes)))
        return false;
    const uint8_t *const last = bytes + length - 32;
    const uint8_t *at = bytes;
    while ((size_t)(last - at) >= 4 * 32) {
        /* Four loads a branch: the loop is bound by memory, not by comparing. */
        const __m256i low = _mm256_or_si256(load(at), load(at + 32));
        const __m256i high = _mm256_or_si256(load(at + 64), load(at + 96));
        if (!is_zero(_mm256_or_si256(low, high)))
            return false;
        at += 4 * 32;
    }
    for (; at < last; at += 32) {
        if (!is_zero(load(at)))
            return false;
    }
    return is_zero(load(last));
}

#else
typedef int vf_no_avx2; /* ISO C wants something in each file */
#endif
