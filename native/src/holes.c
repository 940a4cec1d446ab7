/* Where the file system has holes in a source, asked for the ranges that rows read. */
#include "internal.h"

#include <errno.h>
#include <unistd.h>

#if defined(SEEK_DATA) && defined(SEEK_HOLE)

/* What is known of the file so far: [start, end) is all data, or all hole. Rows mostly follow each
 * other in the file too, so one answer of the file system serves many of them. */
struct known {
    uint64_t start;
    uint64_t end;
    bool data;
};

static int seek(int fd, uint64_t offset, int whence, uint64_t *ret_at, struct vf_error *reterr)
{
    off_t at;
    do {
        at = lseek(fd, (off_t)offset, whence);
    } while (at < 0 && errno == EINTR);
    if (at < 0 && errno != ENXIO)
        return vf_fail(reterr, VF_SEEK_FAILED, errno, 0, -1, offset, 0);
    *ret_at = at < 0 ? UINT64_MAX : (uint64_t)at;
    return VF_OK;
}

/* Make *known say what lies at `offset`. */
static int look(int fd, uint64_t offset, struct known *known, struct vf_error *reterr)
{
    if (offset >= known->start && offset < known->end)
        return VF_OK;
    uint64_t data = offset, hole = offset;
    int status = seek(fd, offset, SEEK_DATA, &data, reterr);
    if (status != VF_OK)
        return status;
    if (data > offset) {
        *known = (struct known){.start = offset, .end = data, .data = false};
        return VF_OK;
    }
    status = seek(fd, offset, SEEK_HOLE, &hole, reterr);
    if (status != VF_OK)
        return status;
    /* Someone punched a hole between the two questions: read it as data, but get on. */
    if (hole == offset)
        hole = offset + VF_GRANULE;
    *known = (struct known){.start = offset, .end = hole, .data = true};
    return VF_OK;
}

int vf_split_holes(int fd, uint16_t file, const struct vf_extent *rows, size_t row_count,
                   struct vf_extent *out, size_t max_rows, size_t *ret_count,
                   struct vf_error *reterr)
{
    struct known known = {0};
    size_t count = 0;
    for (size_t i = 0; i < row_count; i++) {
        struct vf_extent rest = rows[i];
        while (rest.length > 0) {
            if (count == max_rows) {
                *ret_count = count;
                return VF_OK;
            }
            struct vf_extent part = rest;
            if (rest.kind == VF_DATA && rest.file == file) {
                const int status = look(fd, rest.file_offset, &known, reterr);
                if (status != VF_OK)
                    return status;
                const uint64_t left = known.end - rest.file_offset;
                if (left < part.length)
                    part.length = left;
                if (!known.data) {
                    part.kind = VF_ZERO;
                    part.file = 0;
                    part.file_offset = 0;
                }
            }
            out[count++] = part;
            rest.offset += part.length;
            rest.file_offset += part.length;
            rest.length -= part.length;
        }
    }
    *ret_count = count;
    return VF_OK;
}

#else

int vf_split_holes(int fd, uint16_t file, const struct vf_extent *rows, size_t row_count,
                   struct vf_extent *out, size_t max_rows, size_t *ret_count,
                   struct vf_error *reterr)
{
    (void)fd;
    (void)file;
    (void)reterr;
    *ret_count = row_count < max_rows ? row_count : max_rows;
    for (size_t i = 0; i < *ret_count; i++)
        out[i] = rows[i];
    return VF_OK;
}

#endif
