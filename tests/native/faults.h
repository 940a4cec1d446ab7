/* No preprocessor line here: cffi reads this file as it stands. */

struct tf_call {
    int32_t fd;
    int32_t whence;
    uint64_t offset;
    uint64_t length;
    int64_t result;
};

/* The next answers of a system call ('r' pread, 'w' pwrite, 's' lseek), in order; when they are
 * used up, the system answers. os_errno > 0: fail so. Else at most `most` bytes are moved (for
 * lseek, `most` is the answer); UINT64_MAX lets a call through as it is. */
void tf_plan(char call, int32_t os_errno, uint64_t most);
/* Forget plans and records. */
void tf_reset(void);
/* What was called, in order; the first 4096 calls of each sort. */
size_t tf_calls(char call, const struct tf_call **ret_calls);

/* Page-aligned memory whose ends the address sanitizer watches. */
uint8_t *tf_allocate(size_t size);
void tf_free(uint8_t *memory);
