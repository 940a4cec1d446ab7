/* Reading, whole or not at all: short reads and interruptions are dealt with here alone. */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Linux moves at most 2 GiB - 4 KiB in one call; staying well below keeps calls interruptible. */
#define MAX_CALL ((size_t)1 << 30)

int vf_source_read(const struct vf_source *sources, size_t file, uint64_t offset, uint8_t *buffer,
                   size_t length, struct vf_error *reterr)
{
    const struct vf_source *source = &sources[file];
    if (source->memory != NULL) {
        const uint64_t there = offset < source->size ? source->size - offset : 0;
        if (length > there)
            return vf_fail(reterr, VF_READ_SHORT, 0, (int32_t)file, -1, offset + there,
                           length - there);
        memcpy(buffer, source->memory + offset, length);
        return VF_OK;
    }
    while (length > 0) {
        const size_t wanted = length < MAX_CALL ? length : MAX_CALL;
        const ssize_t got = pread(source->fd, buffer, wanted, (off_t)offset);
        if (got < 0) {
            if (errno == EINTR)
                continue;
            return vf_fail(reterr, VF_READ_FAILED, errno, (int32_t)file, -1, offset, length);
        }
        if (got == 0)
            return vf_fail(reterr, VF_READ_SHORT, 0, (int32_t)file, -1, offset, length);
        buffer += got;
        offset += (uint64_t)got;
        length -= (size_t)got;
    }
    return VF_OK;
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
