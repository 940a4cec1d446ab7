/* AVX-512 (F and BW): the last vector is loaded from the end, overlapping, so that no tail is left. */
#include "internal.h"

#if defined(__x86_64__) || defined(__i386__)

#include <immintrin.h>

__attribute__((target("avx512f,avx512bw"))) static inline bool is_zero(__m512i value)
{
    return _mm512_test_epi64_mask(value, value) == 0;
}

__attribute__((target("avx512f,avx512bw"))) static inline __m512i load(const uint8_t *bytes)
{
    return _mm512_loadu_si512((const void *)bytes);
}

__attribute__((target("avx512f,avx512bw")))
bool vf_zero_avx512(const uint8_t *bytes, size_t length)
{
    if (length < 64)
        return vf_zero_scalar(bytes, length);
    /* Most granules that hold data show it in their first bytes. */
    if (!is_zero(load(bytes)))
        return false;
    const uint8_t *const last = bytes + length - 64;
    const uint8_t *at = bytes;
    while ((size_t)(last - at) >= 4 * 64) {
        /* Four loads a branch: the loop is bound by memory, not by comparing. */
        const __m512i low = _mm512_or_si512(load(at), load(at + 64));
        const __m512i high = _mm512_or_si512(load(at + 128), load(at + 192));
        if (!is_zero(_mm512_or_si512(low, high)))
            return false;
        at += 4 * 64;
    }
    for (; at < last; at += 64) {
        if (!is_zero(load(at)))
            return false;
    }
    return is_zero(load(last));
}

#else
typedef int vf_no_avx512; /* ISO C wants something in each file */
#endif
