#include "internal.h"

#if defined(__x86_64__) || defined(__i386__)

#include <immintrin.h>

#define KERNEL vf_zero_avx2
#define TARGET __attribute__((target("avx2")))
#define VECTOR __m256i
#define LOAD(address) _mm256_loadu_si256((const __m256i *)(const void *)(address))
#define OR(a, b) _mm256_or_si256(a, b)
#define NON_ZERO(v) (!_mm256_testz_si256(v, v))
#include "vector_body.h"

#endif
