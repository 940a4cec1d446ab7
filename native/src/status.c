#include "internal.h"

int vf_fail(struct vf_error *reterr, enum vf_status status, int os_errno, int32_t file,
            int64_t row, uint64_t offset, uint64_t length)
{
    *reterr = (struct vf_error){
        .status = (int32_t)status,
        .os_errno = (int32_t)os_errno,
        .file = file,
        .row = row > INT32_MAX ? INT32_MAX : (int32_t)row,
        .offset = offset,
        .length = length,
    };
    return status;
}
