/* Kernels by name, the preferred one first. */
#include "internal.h"

#include <string.h>

struct kernel {
    const char *name;
    vf_crc32c_kernel run; /* NULL where this build has none */
    uint32_t needs;
};

static const struct kernel kernels[] = {
#if defined(__x86_64__)
    {"sse42", vf_crc32c_sse42, VF_CPU_SSE42},
#else
    {"sse42", NULL, 0},
#endif
#if defined(__aarch64__)
    {"arm64", vf_crc32c_arm64, VF_CPU_ARM_CRC},
#else
    {"arm64", NULL, 0},
#endif
    {"scalar", vf_crc32c_scalar, 0},
};

#define KERNEL_COUNT (sizeof kernels / sizeof kernels[0])

int vf_crc32c_select(const char *name, vf_crc32c_kernel *ret_kernel)
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

const char *vf_crc32c_name(size_t index)
{
    return index < KERNEL_COUNT ? kernels[index].name : NULL;
}
