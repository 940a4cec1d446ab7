#include "internal.h"

struct cursor {
    const uint8_t *bytes;
    size_t length;
    size_t granule;
    vf_zero_kernel kernel;
};

/* Where the granules from `at` on stop being zero (or not zero). */
static size_t end_of_sort(const struct cursor *cursor, size_t at, bool zeros)
{
    while (at < cursor->length) {
        const size_t left = cursor->length - at;
        const size_t size = left < cursor->granule ? left : cursor->granule;
        if (cursor->kernel(cursor->bytes + at, size) != zeros)
            break;
        at += size;
    }
    return at;
}

int vf_find_runs(const uint8_t *bytes, size_t length, size_t granule, size_t from, bool zeros,
                 vf_zero_kernel kernel, struct vf_run *runs, size_t max_runs, size_t *ret_count,
                 size_t *ret_next)
{
    if (granule == 0 || max_runs == 0 || kernel == NULL || from > length
        || (from % granule != 0 && from != length))
        return VF_BAD_ARGUMENT;

    const struct cursor cursor = {
        .bytes = bytes,
        .length = length,
        .granule = granule,
        .kernel = kernel,
    };
    size_t count = 0, at = from;
    while (at < length && count < max_runs) {
        const size_t start = end_of_sort(&cursor, at, !zeros);
        at = end_of_sort(&cursor, start, zeros);
        if (at > start)
            runs[count++] = (struct vf_run){ .offset = start, .length = at - start };
    }
    *ret_count = count;
    *ret_next = at;
    return VF_OK;
}
