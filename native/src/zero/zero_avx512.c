#include "internal.h"

#if defined(__x86_64__) || defined(__i386__)

#include <immintrin.h>

#define KERNEL vf_zero_avx512
#define TARGET __attribute__((target("avx512f,avx512bw")))
#define VECTOR __m512i
#define LOAD(address) _mm512_loadu_si512(address)
#define OR(a, b) _mm512_or_si512(a, b)
#define NON_ZERO(v) (_mm512_test_epi32_mask(v, v) != 0)
#include "vector_body.h"

#endif
