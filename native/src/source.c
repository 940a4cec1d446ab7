/* Reading, whole or not at all: short reads and interruptions are dealt with here alone. */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Linux moves at most 2 GiB - 4 KiB in one call; staying well below keeps calls interruptible. */
#define MAX_CALL ((size_t)1 << 30)

int vf_source_read_some(const struct vf_source *sources, size_t file, uint64_t offset,
                        uint8_t *buffer, size_t least, size_t most, size_t *ret_length,
                        struct vf_error *reterr)
{
    const struct vf_source *source = &sources[file];
    const uint64_t there = offset < source->size ? source->size - offset : 0;
    size_t done = 0;
    if (source->memory != NULL) {
        if (least > there)
            return vf_fail(reterr, VF_READ_SHORT, 0, (int32_t)file, -1, offset + there,
                           least - there);
        done = most < there ? most : (size_t)there;
        if (done > 0)
            memcpy(buffer, source->memory + offset, done);
    }
    while (source->memory == NULL && done < most && done < there) {
        /* A slice ends where its source does, wherever the file ends. */
        const uint64_t left = there - done;
        size_t wanted = most - done < MAX_CALL ? most - done : MAX_CALL;
        if (wanted > left)
            wanted = (size_t)left;
        const ssize_t got =
            pread(source->fd, buffer + done, wanted, (off_t)(source->start + offset + done));
        if (got < 0) {
            if (errno == EINTR)
                continue;
            return vf_fail(reterr, VF_READ_FAILED, errno, (int32_t)file, -1, offset + done,
                           most - done);
        }
        if (got == 0)
            break;
        done += (size_t)got;
    }
    if (done < least)
        return vf_fail(reterr, VF_READ_SHORT, 0, (int32_t)file, -1, offset + done, least - done);
    *ret_length = done;
    return VF_OK;
}

int vf_source_read(const struct vf_source *sources, size_t file, uint64_t offset, uint8_t *buffer,
                   size_t length, struct vf_error *reterr)
{
    size_t done;
    return vf_source_read_some(sources, file, offset, buffer, length, length, &done, reterr);
}

int vf_gather(const struct vf_source *source, const uint64_t *offsets, size_t count, size_t size,
              uint8_t *buffer, struct vf_error *reterr)
{
    for (size_t i = 0; i < count; i++) {
        /* Offsets come from tables of hostile files; pread would call one beyond 2^63 an invalid
         * argument, as if the machine were at fault. */
        const uint64_t there = offsets[i] < source->size ? source->size - offsets[i] : 0;
        if (size > there)
            return vf_fail(reterr, VF_READ_SHORT, 0, 0, -1, offsets[i] + there, size - there);
        const int status = vf_source_read(source, 0, offsets[i], buffer + i * size, size, reterr);
        if (status != VF_OK)
            return status;
    }
    return VF_OK;
}
