#include "internal.h"

#if defined(__x86_64__) || defined(__i386__)

#include <emmintrin.h>

#define KERNEL vf_zero_sse2
#define TARGET __attribute__((target("sse2")))
#define VECTOR __m128i
#define LOAD(address) _mm_loadu_si128((const __m128i *)(const void *)(address))
#define OR(a, b) _mm_or_si128(a, b)
#define NON_ZERO(v) (_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_setzero_si128())) != 0xffff)
#include "vector_body.h"

#endif
