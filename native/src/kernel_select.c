/* One way to choose among kernels for all that have several. */
#include "internal.h"

#include <string.h>

int vf_kernel_select(const struct vf_kernel *known, size_t count, const char *name,
                     vf_any_kernel *ret_kernel)
{
    const uint32_t cpu = vf_cpu_features();
    for (size_t i = 0; i < count; i++) {
        const bool built = known[i].kernel != NULL;
        const bool runs = built && (known[i].needs & ~cpu) == 0;
        if (name != NULL && strcmp(name, known[i].name) != 0)
            continue;
        if (runs) {
            *ret_kernel = known[i].kernel;
            return VF_OK;
        }
        if (name != NULL)
            return built ? VF_KERNEL_NO_CPU : VF_KERNEL_NOT_BUILT;
    }
    return VF_KERNEL_UNKNOWN;
}
