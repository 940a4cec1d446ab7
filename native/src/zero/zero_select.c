#include "internal.h"

#define ANY(kernel) ((vf_any_kernel)(kernel))

/* Best first. AVX-512 stands before AVX2 because scanning waits for memory: a lower clock, where
 * a CPU pays one for wide registers, costs less than half as many instructions gain. */
static const struct vf_kernel kernels[] = {
#if defined(__x86_64__) || defined(__i386__)
    { "avx512", VF_CPU_AVX512, ANY(vf_zero_avx512) },
    { "avx2", VF_CPU_AVX2, ANY(vf_zero_avx2) },
    { "sse2", VF_CPU_SSE2, ANY(vf_zero_sse2) },
#else
    { "avx512", 0, NULL },
    { "avx2", 0, NULL },
    { "sse2", 0, NULL },
#endif
#if defined(__aarch64__)
    { "neon", VF_CPU_NEON, ANY(vf_zero_neon) },
#else
    { "neon", 0, NULL },
#endif
    { "scalar", 0, ANY(vf_zero_scalar) },
};

#define KERNEL_COUNT (sizeof kernels / sizeof kernels[0])

int vf_zero_select(const char *name, vf_zero_kernel *ret_kernel)
{
    vf_any_kernel kernel;
    const int status = vf_kernel_select(kernels, KERNEL_COUNT, name, &kernel);
    if (status == VF_OK)
        *ret_kernel = (vf_zero_kernel)kernel;
    return status;
}

const char *vf_zero_name(size_t index)
{
    return index < KERNEL_COUNT ? kernels[index].name : NULL;
}
