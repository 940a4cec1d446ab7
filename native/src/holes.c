/* Where the file system has holes in a source, asked for the ranges that rows read. */
#include "internal.h"

#include <errno.h>
#include <unistd.h>

#if defined(SEEK_DATA) && defined(SEEK_HOLE)

/* Where the next byte of this sort is: at or after `offset`, or `end` where there is none before
 * it. *ret_known is false where nobody keeps track of holes. */
static int seek(int fd, uint64_t offset, uint64_t end, int whence, uint64_t *ret_at,
                bool *ret_known, struct vf_error *reterr)
{
    off_t at;
    do {
        at = lseek(fd, (off_t)offset, whence);
    } while (at < 0 && errno == EINTR);
    /* Block devices and some file systems know no holes and say so in one of these ways. */
    *ret_known = at >= 0 || (errno != EINVAL && errno != EOPNOTSUPP);
    if (!*ret_known) {
        *ret_at = end;
        return VF_OK;
    }
    if (at < 0 && errno != ENXIO)
        return vf_fail(reterr, VF_SEEK_FAILED, errno, 0, -1, offset, end - offset);
    if (at < 0) {
        /* Either a hole up to the end of the file, or the file was cut since its size was taken.
         * The second must not pass for zeros. */
        const off_t size = lseek(fd, 0, SEEK_END);
        if (size < 0)
            return vf_fail(reterr, VF_SEEK_FAILED, errno, 0, -1, offset, end - offset);
        if ((uint64_t)size < end)
            return vf_fail(reterr, VF_READ_SHORT, 0, 0, -1, (uint64_t)size,
                           end - (uint64_t)size);
    }
    *ret_at = at < 0 || (uint64_t)at > end ? end : (uint64_t)at;
    return VF_OK;
}

#else

#define SEEK_DATA 0
#define SEEK_HOLE 0

static int seek(int fd, uint64_t offset, uint64_t end, int whence, uint64_t *ret_at,
                bool *ret_known, struct vf_error *reterr)
{
    (void)fd;
    (void)offset;
    (void)whence;
    (void)reterr;
    *ret_at = end;
    *ret_known = false;
    return VF_OK;
}

#endif

int vf_file_extents(int fd, uint64_t offset, uint64_t end, uint16_t file, struct vf_extent *rows,
                    size_t max_rows, size_t *ret_count, uint64_t *ret_end,
                    struct vf_error *reterr)
{
    if (max_rows == 0 || offset > end || end > INT64_MAX)
        return vf_fail(reterr, VF_BAD_ARGUMENT, 0, 0, -1, offset, end);
    size_t count = 0;
    while (offset < end && count < max_rows) {
        uint64_t data = 0, hole = 0;
        bool known = false;
        int status = seek(fd, offset, end, SEEK_DATA, &data, &known, reterr);
        if (status != VF_OK)
            return status;
        if (known && data > offset) {
            add_row(rows, &count, offset, data, file, VF_ZERO);
            offset = data;
            continue;
        }
        status = seek(fd, offset, end, SEEK_HOLE, &hole, &known, reterr);
        if (status != VF_OK)
            return status;
        /* Someone punched a hole between the two questions: ask again, but get on. */
        if (hole == offset)
            hole = end - offset > VF_GRANULE ? offset + VF_GRANULE : end;
        add_row(rows, &count, offset, hole, file, VF_DATA);
        offset = hole;
    }
    *ret_count = count;
    return VF_OK;
}
