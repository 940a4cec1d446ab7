/* Where the file system has holes in a source, asked for the ranges that rows read. */
#include "internal.h"

#include <errno.h>
#include <unistd.h>

/* What is known of the file so far: [start, end) is all data, or all hole. Rows mostly follow each
 * other in the file too, so one answer of the file system serves many of them. */
struct known {
    uint64_t start;
    uint64_t end;
    bool data;
};

#if defined(SEEK_DATA) && defined(SEEK_HOLE)

static off_t seek(int fd, uint64_t offset, int whence)
{
    off_t at;
    do {
        at = lseek(fd, (off_t)offset, whence);
    } while (at < 0 && errno == EINTR);
    return at;
}

/* Make *known say what lies at `offset` of the file. */
static int look(int fd, uint64_t offset, struct known *known, struct vf_error *reterr)
{
    const off_t data = seek(fd, offset, SEEK_DATA);
    if (data < 0 && (errno == EINVAL || errno == EOPNOTSUPP)) {
        /* Block devices and some file systems know no holes and say so in one of these ways. */
        *known = (struct known){ .start = offset, .end = UINT64_MAX, .data = true };
        return VF_OK;
    }
    if (data < 0 && errno == ENXIO) {
        /* Either a hole up to the end of the file, or the file was cut since its size was taken.
         * The second must not pass for zeros. */
        const off_t size = seek(fd, 0, SEEK_END);
        if (size >= 0 && (uint64_t)size <= offset)
            return vf_fail(reterr, VF_READ_SHORT, 0, 0, -1, (uint64_t)size,
                           offset - (uint64_t)size + 1);
        if (size >= 0) {
            *known = (struct known){ .start = offset, .end = (uint64_t)size, .data = false };
            return VF_OK;
        }
    }
    if (data < 0)
        return vf_fail(reterr, VF_SEEK_FAILED, errno, 0, -1, offset, 0);
    if ((uint64_t)data > offset) {
        *known = (struct known){ .start = offset, .end = (uint64_t)data, .data = false };
        return VF_OK;
    }
    const off_t hole = seek(fd, offset, SEEK_HOLE);
    if (hole < 0 && errno != ENXIO)
        return vf_fail(reterr, VF_SEEK_FAILED, errno, 0, -1, offset, 0);
    /* Someone punched a hole or cut the file between the two questions, or a file system answers
     * with what lies before the question: take a granule for data, which reading will judge, and
     * get on. A row without length would never end. */
    const uint64_t end = hole > 0 && (uint64_t)hole > offset ? (uint64_t)hole : offset + VF_GRANULE;
    *known = (struct known){ .start = offset, .end = end, .data = true };
    return VF_OK;
}

#else

static int look(int fd, uint64_t offset, struct known *known, struct vf_error *reterr)
{
    (void)fd;
    (void)reterr;
    *known = (struct known){ .start = offset, .end = UINT64_MAX, .data = true };
    return VF_OK;
}

#endif

int vf_split_holes(const struct vf_source *source, uint16_t file, const struct vf_extent *rows,
                   size_t row_count, struct vf_extent *out, size_t max_rows, size_t *ret_count,
                   struct vf_error *reterr)
{
    struct known known = { 0 };
    size_t count = 0;
    for (size_t i = 0; i < row_count; i++) {
        struct vf_extent rest = rows[i];
        while (rest.length > 0 && count < max_rows) {
            struct vf_extent part = rest;
            if (rest.kind == VF_DATA && rest.file == file) {
                const uint64_t at = source->start + rest.file_offset;
                if (at < known.start || at >= known.end) {
                    const int status = look(source->fd, at, &known, reterr);
                    if (status != VF_OK) {
                        /* Offsets of a slice count from its start, as those of its reads do. */
                        reterr->offset -= source->start < reterr->offset ? source->start
                                                                         : reterr->offset;
                        return status;
                    }
                }
                const uint64_t left = known.end - at;
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
