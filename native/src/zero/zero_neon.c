#include "internal.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define KERNEL vf_zero_neon
#define TARGET
#define VECTOR uint8x16_t
#define LOAD(address) vld1q_u8(address)
#define OR(a, b) vorrq_u8(a, b)
#define NON_ZERO(v) (vmaxvq_u32(vreinterpretq_u32_u8(v)) != 0)
#include "vector_body.h"

#endif
