#include "internal.h"

#define ANY(kernel) ((vf_any_kernel)(kernel))

/* Best first. */
static const struct vf_kernel kernels[] = {
#if defined(__x86_64__) || defined(__i386__)
    { "sse42", VF_CPU_SSE42, ANY(vf_crc32c_sse42) },
#else
    { "sse42", 0, NULL },
#endif
#if defined(__aarch64__)
    { "arm64", VF_CPU_ARM_CRC, ANY(vf_crc32c_arm64) },
#else
    { "arm64", 0, NULL },
#endif
    { "scalar", 0, ANY(vf_crc32c_scalar) },
};

#define KERNEL_COUNT (sizeof kernels / sizeof kernels[0])

int vf_crc32c_select(const char *name, vf_crc32c_kernel *ret_kernel)
{
    vf_any_kernel kernel;
    const int status = vf_kernel_select(kernels, KERNEL_COUNT, name, &kernel);
    if (status == VF_OK)
        *ret_kernel = (vf_crc32c_kernel)kernel;
    return status;
}

const char *vf_crc32c_name(size_t index)
{
    return index < KERNEL_COUNT ? kernels[index].name : NULL;
}
