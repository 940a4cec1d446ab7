/* What this CPU can run, with the operating system's consent. */
#include "internal.h"

#include <stdatomic.h>

#if defined(__x86_64__) || defined(__i386__)

#include <cpuid.h>

static uint64_t enabled_states(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static uint32_t detect(void)
{
    const uint64_t ymm = 0x06, zmm = 0xE6; /* XCR0: SSE and AVX; those and the three of AVX-512 */
    uint32_t features = 0, a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    if (d & bit_SSE2)
        features |= VF_CPU_SSE2;
    if (c & bit_SSE4_2)
        features |= VF_CPU_SSE42;
    const uint64_t states = (c & bit_OSXSAVE) ? enabled_states() : 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return features;
    if ((b & bit_AVX2) && (states & ymm) == ymm)
        features |= VF_CPU_AVX2;
    if ((b & bit_AVX512F) && (b & bit_AVX512BW) && (states & zmm) == zmm)
        features |= VF_CPU_AVX512;
    return features;
}

#elif defined(__aarch64__) && defined(__linux__)

#include <sys/auxv.h>

static uint32_t detect(void)
{
    const unsigned long crc32 = 1UL << 7; /* HWCAP_CRC32 */
    return VF_CPU_NEON | ((getauxval(AT_HWCAP) & crc32) ? VF_CPU_ARM_CRC : 0);
}

#elif defined(__aarch64__)

static uint32_t detect(void) { return VF_CPU_NEON; }

#else

static uint32_t detect(void) { return 0; }

#endif

uint32_t vf_cpu_features(void)
{
    /* Two threads that both find it unread store the same value. The top bit marks it as read. */
    static _Atomic uint32_t known;
    const uint32_t read_mark = UINT32_C(1) << 31;
    uint32_t features = atomic_load_explicit(&known, memory_order_relaxed);
    if (!(features & read_mark)) {
        features = detect() | read_mark;
        atomic_store_explicit(&known, features, memory_order_relaxed);
    }
    return features & ~read_mark;
}
