/* A buffer as runs of granules that are zero, or that are not. */
#include "internal.h"

int vf_find_runs(const uint8_t *bytes, size_t length, size_t granule, size_t from, bool zeros,
                 vf_zero_kernel kernel, struct vf_run *runs, size_t max_runs, size_t *ret_count,
                 size_t *ret_next)
{
    if (granule == 0 || max_runs == 0 || from > length)
        return VF_BAD_ARGUMENT;
    size_t count = 0, start = from;
    bool open = false;
    for (size_t at = from; at < length;) {
        const size_t size = length - at < granule ? length - at : granule;
        const bool wanted = kernel(bytes + at, size) == zeros;
        if (wanted && !open) {
            if (count == max_runs) {
                *ret_count = count;
                *ret_next = at;
                return VF_OK;
            }
            start = at;
        } else if (!wanted && open) {
            runs[count++] = (struct vf_run){.offset = start, .length = at - start};
        }
        open = wanted;
        at += size;
    }
    if (open)
        runs[count++] = (struct vf_run){.offset = start, .length = length - start};
    *ret_count = count;
    *ret_next = length;
    return VF_OK;
}
