#include "internal.h"

int vf_find_runs(const uint8_t *bytes, size_t length, size_t granule, size_t from, bool zeros,
                 vf_zero_kernel kernel, struct vf_run *runs, size_t max_runs, size_t *ret_count,
                 size_t *ret_next)
{
    if (granule == 0 || max_runs == 0 || kernel == NULL || from > length
        || (from % granule != 0 && from != length))
        return VF_BAD_ARGUMENT;

    size_t count = 0, at = from, size;
    bool in_run = false;
    for (; at < length; at += size) {
        const size_t left = length - at;
        size = left < granule ? left : granule;
        if (kernel(bytes + at, size) == zeros) {
            if (!in_run)
                runs[count].offset = at;
            in_run = true;
        } else if (in_run) {
            runs[count].length = at - runs[count].offset;
            in_run = false;
            if (++count == max_runs)
                break;
        }
    }
    if (in_run) {
        runs[count].length = at - runs[count].offset;
        count++;
    }
    *ret_count = count;
    *ret_next = at;
    return VF_OK;
}
