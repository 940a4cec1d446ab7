/* Rows to blocks that the target shares with their source, where the file system can do that. */
#include "internal.h"

/* Headers of kernels before 4.5 lack what clones take, and some systems to build on have none. */
#if defined(__linux__) && defined(__has_include)
#if __has_include(<linux/fs.h>)
#include <linux/fs.h>
#endif
#endif

#if defined(FICLONERANGE)

#include <sys/ioctl.h>

/* Whatever the reason of a refusal, the caller copies: a partly cloned range holds bytes of the
 * source, which are then written once more. */
static bool clone_range(const struct vf_source *source, uint64_t file_offset, uint64_t length,
                        const struct vf_sink *sink, uint64_t offset)
{
    struct file_clone_range range = {
        .src_fd = source->fd,
        .src_offset = source->start + file_offset,
        .src_length = length,
        .dest_offset = offset,
    };
    return ioctl(sink->fd, FICLONERANGE, &range) == 0;
}

#else

static bool clone_range(const struct vf_source *source, uint64_t file_offset, uint64_t length,
                        const struct vf_sink *sink, uint64_t offset)
{
    (void)source;
    (void)file_offset;
    (void)length;
    (void)sink;
    (void)offset;
    return false;
}

#endif

/* Bytes of the row that can be cloned, `*ret_skip` bytes after its start; 0 where none can.
 *
 * They begin and end on a block of the file system, as FICLONERANGE demands, and on a granule, since
 * what stands beside them is written in whole granules. A file's last, partial block could be cloned
 * where the target ends too, which is not worth a rule of its own. */
static uint64_t cloneable(const struct vf_source *sources, const struct vf_extent *row,
                          uint64_t minimum, uint64_t *ret_skip)
{
    if (row->kind != VF_DATA)
        return 0;
    const struct vf_source *source = &sources[row->file];
    const uint64_t block = source->clone_block;
    if (block == 0 || (block & (block - 1)) != 0 || source->memory != NULL)
        return 0;
    const uint64_t step = block > VF_GRANULE ? block : VF_GRANULE;
    const uint64_t skip = (step - (row->offset & (step - 1))) & (step - 1);
    if (skip >= row->length || ((source->start + row->file_offset + skip) & (block - 1)) != 0)
        return 0;
    const uint64_t length = (row->length - skip) & ~(step - 1);
    *ret_skip = skip;
    return length >= minimum ? length : 0;
}

/* The part [from, end) of a row, in bytes from its start. */
static struct vf_extent part_of(const struct vf_extent *row, uint64_t from, uint64_t end)
{
    struct vf_extent part = *row;
    part.offset += from;
    part.file_offset += from;
    part.length = end - from;
    return part;
}

int vf_count_cloneable(const struct vf_source *sources, size_t source_count,
                       const struct vf_extent *rows, size_t row_count, uint64_t minimum,
                       uint64_t *ret_bytes, struct vf_error *reterr)
{
    const int status =
        vf_check_rows(sources, source_count, rows, row_count, UINT64_MAX, reterr);
    if (status != VF_OK)
        return status;
    uint64_t skip, bytes = 0;
    for (size_t i = 0; i < row_count; i++)
        bytes += cloneable(sources, &rows[i], minimum, &skip);
    *ret_bytes = bytes;
    return VF_OK;
}

int vf_clone_rows(const struct vf_source *sources, size_t source_count,
                  const struct vf_extent *rows, size_t row_count, const struct vf_sink *sink,
                  uint64_t minimum, struct vf_extent *rest, size_t *ret_count,
                  uint64_t *ret_cloned, struct vf_error *reterr)
{
    const int status =
        vf_check_rows(sources, source_count, rows, row_count, sink->size, reterr);
    if (status != VF_OK)
        return status;
    uint64_t cloned = 0;
    size_t count = 0;
    for (size_t i = 0; i < row_count; i++) {
        const struct vf_extent *row = &rows[i];
        uint64_t skip = 0;
        const uint64_t length = cloneable(sources, row, minimum, &skip);
        if (length == 0
            || !clone_range(&sources[row->file], row->file_offset + skip, length, sink,
                            row->offset + skip)) {
            rest[count++] = *row;
            continue;
        }
        cloned += length;
        if (skip > 0)
            rest[count++] = part_of(row, 0, skip);
        if (skip + length < row->length)
            rest[count++] = part_of(row, skip + length, row->length);
    }
    *ret_count = count;
    *ret_cloned = cloned;
    return VF_OK;
}
