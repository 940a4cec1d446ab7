/* Stands between the core and the C library (ld --wrap): records calls and fails as planned. Global
 * state is fine here: each test resets it, and tests run one after the other. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "faults.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/types.h>

#define MAX_PLANS 64
#define MAX_CALLS 4096

struct plan {
    int32_t os_errno;
    uint64_t most;
};

struct spy {
    struct plan plans[MAX_PLANS];
    size_t planned, used;
    struct tf_call calls[MAX_CALLS];
    size_t count;
};

static struct spy reads, writes, seeks, clones;

static struct spy *spy_of(char call)
{
    return call == 'r' ? &reads : call == 'w' ? &writes : call == 's' ? &seeks : &clones;
}

void tf_plan(char call, int32_t os_errno, uint64_t most)
{
    struct spy *spy = spy_of(call);
    if (spy->planned == MAX_PLANS)
        abort();
    spy->plans[spy->planned++] = (struct plan){ os_errno, most };
}

void tf_reset(void)
{
    reads.planned = reads.used = reads.count = 0;
    writes.planned = writes.used = writes.count = 0;
    seeks.planned = seeks.used = seeks.count = 0;
    clones.planned = clones.used = clones.count = 0;
    tf_clone_block = 4096;
}

size_t tf_calls(char call, const struct tf_call **ret_calls)
{
    const struct spy *spy = spy_of(call);
    *ret_calls = spy->calls;
    return spy->count;
}

static struct plan next_plan(struct spy *spy)
{
    return spy->used < spy->planned ? spy->plans[spy->used++] : (struct plan){ 0, UINT64_MAX };
}

static int64_t record(struct spy *spy, int fd, int whence, uint64_t offset, uint64_t length,
                      int64_t result)
{
    if (spy->count < MAX_CALLS)
        spy->calls[spy->count++] = (struct tf_call){ fd, whence, offset, length, result };
    return result;
}

ssize_t __real_pread(int fd, void *buffer, size_t length, off_t offset);
ssize_t __wrap_pread(int fd, void *buffer, size_t length, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t length, off_t offset);
ssize_t __real_pwrite(int fd, const void *bytes, size_t length, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t length, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t length, off_t offset);
off_t __real_lseek(int fd, off_t offset, int whence);
off_t __wrap_lseek(int fd, off_t offset, int whence);
off_t __wrap_lseek64(int fd, off_t offset, int whence);

/* errno is set last: recording must not disturb what the core will look at. */
static int64_t fail(struct spy *spy, int fd, int whence, uint64_t offset, uint64_t length,
                    int os_errno)
{
    record(spy, fd, whence, offset, length, -1);
    errno = os_errno;
    return -1;
}

ssize_t __wrap_pread(int fd, void *buffer, size_t length, off_t offset)
{
    const struct plan plan = next_plan(&reads);
    if (plan.os_errno != 0)
        return fail(&reads, fd, 0, (uint64_t)offset, length, plan.os_errno);
    if (plan.most == 0)
        return record(&reads, fd, 0, (uint64_t)offset, length, 0);
    const size_t most = length < plan.most ? length : (size_t)plan.most;
    return record(&reads, fd, 0, (uint64_t)offset, length,
                  __real_pread(fd, buffer, most, offset));
}

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    const struct plan plan = next_plan(&writes);
    if (plan.os_errno != 0)
        return fail(&writes, fd, 0, (uint64_t)offset, length, plan.os_errno);
    if (plan.most == 0)
        return record(&writes, fd, 0, (uint64_t)offset, length, 0);
    const size_t most = length < plan.most ? length : (size_t)plan.most;
    return record(&writes, fd, 0, (uint64_t)offset, length,
                  __real_pwrite(fd, bytes, most, offset));
}

off_t __wrap_lseek(int fd, off_t offset, int whence)
{
    const struct plan plan = next_plan(&seeks);
    if (plan.os_errno != 0)
        return fail(&seeks, fd, whence, (uint64_t)offset, 0, plan.os_errno);
    const off_t at =
        plan.most != UINT64_MAX ? (off_t)plan.most : __real_lseek(fd, offset, whence);
    return record(&seeks, fd, whence, (uint64_t)offset, 0, at);
}

ssize_t __wrap_pread64(int fd, void *buffer, size_t length, off_t offset)
{
    return __wrap_pread(fd, buffer, length, offset);
}

ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t length, off_t offset)
{
    return __wrap_pwrite(fd, bytes, length, offset);
}

off_t __wrap_lseek64(int fd, off_t offset, int whence)
{
    return __wrap_lseek(fd, offset, whence);
}

uint64_t tf_clone_block = 4096;

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

/* What a file system with reflinks does, as ioctl_ficlonerange(2) says, on any file system: ranges
 * that are not aligned are refused, others have the source's bytes afterwards. */
static int64_t clone_like_a_file_system(int fd, const struct file_clone_range *range, uint64_t most)
{
    const uint64_t places = range->src_offset | range->src_length | range->dest_offset;
    if (places % tf_clone_block != 0)
        return EINVAL;
    for (uint64_t done = 0; done < range->src_length && done < most;) {
        uint8_t bytes[512];
        if (__real_pread((int)range->src_fd, bytes, sizeof bytes,
                         (off_t)(range->src_offset + done))
            != sizeof bytes)
            return EINVAL; /* beyond the end of the source */
        if (__real_pwrite(fd, bytes, sizeof bytes, (off_t)(range->dest_offset + done))
            != sizeof bytes)
            return EIO;
        done += sizeof bytes;
    }
    return most < range->src_length ? ENOSPC : 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list more;
    va_start(more, request);
    void *argument = va_arg(more, void *);
    va_end(more);
    if (request != FICLONERANGE)
        return __real_ioctl(fd, request, argument);
    const struct file_clone_range *range = argument;
    const struct plan plan = next_plan(&clones);
    const int64_t failed = plan.os_errno != 0 ? plan.os_errno
                                              : clone_like_a_file_system(fd, range, plan.most);
    if (failed != 0)
        return (int)fail(&clones, fd, 0, range->dest_offset, range->src_length, (int)failed);
    return (int)record(&clones, fd, 0, range->dest_offset, range->src_length, 0);
}

uint8_t *tf_allocate(size_t size)
{
    void *memory;
    return posix_memalign(&memory, 4096, size) == 0 ? memory : NULL;
}

void tf_free(uint8_t *memory)
{
    free(memory);
}
