/* What this CPU can run. An instruction set counts only where the operating system saves its
 * registers too: a CPU with AVX-512 under a kernel that does not keep ZMM would corrupt them at the
 * next context switch. */
#include "internal.h"

#include <stdatomic.h>

#if defined(__x86_64__) || defined(__i386__)

#include <cpuid.h>

#define XCR0_XMM_YMM UINT64_C(0x06)
#define XCR0_OPMASK_ZMM UINT64_C(0xe0)

/* The intrinsic would need -mxsave on this whole file. */
static uint64_t read_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static uint32_t read_features(void)
{
    uint32_t eax, ebx, ecx, edx, found = 0;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx))
        return 0;
    if (edx & bit_SSE2)
        found |= VF_CPU_SSE2;
    if (ecx & bit_SSE4_2)
        found |= VF_CPU_SSE42;
    if (!(ecx & bit_OSXSAVE))
        return found;
    const uint64_t saved = read_xcr0();
    if ((saved & XCR0_XMM_YMM) != XCR0_XMM_YMM
        || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return found;
    if (ebx & bit_AVX2)
        found |= VF_CPU_AVX2;
    if ((ebx & bit_AVX512F) && (ebx & bit_AVX512BW)
        && (saved & XCR0_OPMASK_ZMM) == XCR0_OPMASK_ZMM)
        found |= VF_CPU_AVX512;
    return found;
}

#elif defined(__aarch64__)

#if defined(__linux__)
#include <sys/auxv.h>
#define HWCAP_CRC32_BIT (1UL << 7) /* Linux, Documentation/arch/arm64/elf_hwcaps.rst */
#endif

static uint32_t read_features(void)
{
    uint32_t found = VF_CPU_NEON;
#if defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_CRC32_BIT)
        found |= VF_CPU_ARM_CRC;
#elif defined(__ARM_FEATURE_CRC32)
    found |= VF_CPU_ARM_CRC;
#endif
    return found;
}

#else

static uint32_t read_features(void)
{
    return 0;
}

#endif

#define ALREADY_READ (UINT32_C(1) << 31)

uint32_t vf_cpu_features(void)
{
    /* Two threads that come first at once both read, and store the same: no lock, and relaxed
     * order is enough because nothing else is published with the word. */
    static _Atomic uint32_t known;
    uint32_t features = atomic_load_explicit(&known, memory_order_relaxed);
    if (features == 0) {
        features = read_features() | ALREADY_READ;
        atomic_store_explicit(&known, features, memory_order_relaxed);
    }
    return features & ~ALREADY_READ;
}
