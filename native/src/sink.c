/* Writing, whole or not at all. */
#include "internal.h"

#include <errno.h>
#include <unistd.h>

#if defined(__linux__)

#include <fcntl.h>

void vf_sink_allocate(const struct vf_sink *sink, uint64_t offset, uint64_t length)
{
    (void)!fallocate(sink->fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
}

void vf_sink_release(const struct vf_sink *sink, uint64_t offset, uint64_t length)
{
    (void)!fallocate(sink->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                     (off_t)length);
}

#else

void vf_sink_allocate(const struct vf_sink *sink, uint64_t offset, uint64_t length)
{
    (void)sink;
    (void)offset;
    (void)length;
}

void vf_sink_release(const struct vf_sink *sink, uint64_t offset, uint64_t length)
{
    (void)sink;
    (void)offset;
    (void)length;
}

#endif

#define MAX_CALL ((size_t)1 << 30)

int vf_sink_write(const struct vf_sink *sink, const uint8_t *bytes, size_t length,
                  uint64_t offset, struct vf_error *reterr)
{
    const uint64_t granule_mask = VF_GRANULE - 1;
    bool direct = sink->direct_fd >= 0 && length >= sink->direct_minimum
                  && ((offset | length | (uintptr_t)bytes) & granule_mask) == 0;
    while (length > 0) {
        const size_t wanted = length < MAX_CALL ? length : MAX_CALL;
        const ssize_t put =
            pwrite(direct ? sink->direct_fd : sink->fd, bytes, wanted, (off_t)offset);
        if (put < 0) {
            if (errno == EINTR)
                continue;
            /* The file system wants a coarser alignment than a granule, or takes O_DIRECT at
             * open and refuses it here: the page cache does the same work. */
            if (direct && errno == EINVAL) {
                direct = false;
                continue;
            }
            return vf_fail(reterr, VF_WRITE_FAILED, errno, -1, -1, offset, length);
        }
        if (put == 0)
            return vf_fail(reterr, VF_WRITE_FAILED, EIO, -1, -1, offset, length);
        bytes += put;
        offset += (uint64_t)put;
        length -= (size_t)put;
        if (((offset | (uintptr_t)bytes) & granule_mask) != 0)
            direct = false; /* a short direct write left us between granules */
    }
    return VF_OK;
}
