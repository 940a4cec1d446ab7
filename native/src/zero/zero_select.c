/* Kernels by name, the preferred one first. */
#include "internal.h"

#include <string.h>

struct kernel {
    const char *name;
    vf_zero_kernel run; /* NULL where this build has none */
    uint32_t needs;
};

static const struct kernel kernels[] = {
#if defined(__x86_64__) || defined(__i386__)
    {"avx512", vf_zero_avx512, VF_CPU_AVX512},
    {"avx2", vf_zero_avx2, VF_CPU_AVX2},
    {"sse2", vf_zero_sse2, VF_CPU_SSE2},
    {"neon", NULL, 0},
#elif defined(__aarch64__)
    {"neon", vf_zero_neon, VF_CPU_NEON},
    {"avx512", NULL, 0},
    {"avx2", NULL, 0},
    {"sse2", NULL, 0},
#else
    {"avx512", NULL, 0},
    {"avx2", NULL, 0},
    {"sse2", NULL, 0},
    {"neon", NULL, 0},
#endif
    {"scalar", vf_zero_scalar, 0},
};

#define KERNEL_COUNT (sizeof kernels / sizeof kernels[0])

int vf_zero_select(const char *name, vf_zero_kernel *ret_kernel)
{
    const uint32_t features = vf_cpu_features();
    for (size_t i = 0; i < KERNEL_COUNT; i++) {
        const struct kernel *kernel = &kernels[i];
        const bool runs = kernel->run != NULL && (kernel->needs & ~features) == 0;
        if (name == NULL ? !runs : strcmp(name, kernel->name) != 0)
            continue;
        if (kernel->run == NULL)
            return VF_KERNEL_NOT_BUILT;
        if (!runs)
            return VF_KERNEL_NO_CPU;
        *ret_kernel = kernel->run;
        return VF_OK;
    }
    return VF_KERNEL_UNKNOWN;
}

const char *vf_zero_name(size_t index)
{
    return index < KERNEL_COUNT ? kernels[index].name : NULL;
}
