/* Where a file has data and where it has holes, asked of its file system. */
#include "internal.h"

#include <errno.h>
#include <unistd.h>

static void add_row(struct vf_extent *rows, size_t *count, uint64_t start, uint64_t end,
                    uint16_t file, enum vf_kind kind)
{
    rows[(*count)++] = (struct vf_extent){
        .offset = start,
        .length = end - start,
        .file_offset = kind == VF_DATA ? start : 0,
        .file = kind == VF_DATA ? file : 0,
        .kind = (uint8_t)kind,
    };
}

#if defined(SEEK_DATA) && defined(SEEK_HOLE)

/* The next byte of this kind at or after `offset`, `end` where there is none before it. */
static int seek(int fd, uint64_t offset, uint64_t end, int whence, uint64_t *ret_at,
                struct vf_error *reterr)
{
    off_t at;
    do {
        at = lseek(fd, (off_t)offset, whence);
    } while (at < 0 && errno == EINTR);
    if (at < 0 && errno != ENXIO)
        return vf_fail(reterr, VF_SEEK_FAILED, errno, 0, -1, offset, end - offset);
    *ret_at = at < 0 || (uint64_t)at > end ? end : (uint64_t)at;
    return VF_OK;
}

int vf_file_extents(int fd, uint64_t offset, uint64_t end, uint16_t file, struct vf_extent *rows,
                    size_t max_rows, size_t *ret_count, uint64_t *ret_end,
                    struct vf_error *reterr)
{
    size_t count = 0;
    while (offset < end && count < max_rows) {
        uint64_t data = offset, hole = offset;
        int status = seek(fd, offset, end, SEEK_DATA, &data, reterr);
        if (status != VF_OK)
            return status;
        if (data > offset) {
            add_row(rows, &count, offset, data, file, VF_ZERO);
            offset = data;
            continue;
        }
        status = seek(fd, offset, end, SEEK_HOLE, &hole, reterr);
        if (status != VF_OK)
            return status;
        /* Someone punched a hole between the two questions: ask again, but get on. */
        if (hole == offset)
            hole = end - offset > VF_GRANULE ? offset + VF_GRANULE : end;
        add_row(rows, &count, offset, hole, file, VF_DATA);
        offset = hole;
    }
    *ret_count = count;
    *ret_end = offset;
    return VF_OK;
}

#else

int vf_file_extents(int fd, uint64_t offset, uint64_t end, uint16_t file, struct vf_extent *rows,
                    size_t max_rows, size_t *ret_count, uint64_t *ret_end,
                    struct vf_error *reterr)
{
    (void)fd;
    (void)max_rows;
    (void)reterr;
    *ret_count = 0;
    add_row(rows, ret_count, offset, end, file, VF_DATA);
    *ret_end = end;
    return VF_OK;
}

#endif
