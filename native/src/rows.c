/* Rows are checked again on this side: they are ours, and they come from hostile files. */
#include "internal.h"

int vf_check_rows(const struct vf_source *sources, size_t source_count,
                  const struct vf_extent *rows, size_t row_count, uint64_t end,
                  struct vf_error *reterr)
{
    uint64_t previous_end = 0;
    for (size_t i = 0; i < row_count; i++) {
        const struct vf_extent *row = &rows[i];
        bool good = row->length > 0 && row->offset >= previous_end && row->offset <= end
                    && row->length <= end - row->offset;
        if (good && row->kind == VF_DATA) {
            good = row->file < source_count && row->file_offset <= sources[row->file].size
                   && row->length <= sources[row->file].size - row->file_offset;
        } else if (good && row->kind == VF_COMPRESSED) {
            /* The stored unit may reach beyond the end: what is read is short then. */
            good = row->file < source_count && row->file_offset < sources[row->file].size
                   && row->stored_length > 0 && row->skip <= row->decoded_length
                   && row->length <= row->decoded_length - row->skip;
        } else if (good) {
            good = row->kind == VF_ZERO;
        }
        if (good && row->kind != VF_ZERO)
            good = sources[row->file].memory != NULL || sources[row->file].fd >= 0;
        if (!good)
            return vf_fail(reterr, VF_BAD_ROWS, 0, row->file, (int64_t)i, row->offset,
                           row->length);
        previous_end = row->offset + row->length;
    }
    return VF_OK;
}
