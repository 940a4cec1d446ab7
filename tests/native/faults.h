/* No preprocessor line here: cffi reads this file as it stands. */

struct tf_call {
    int32_t fd;
    int32_t whence;
    uint64_t offset;
    uint64_t length;
    int64_t result;
};

/* The next answers of a system call ('r' pread, 'w' pwrite, 's' lseek, 'c' ioctl with FICLONERANGE),
 * in order; when they are used up, the system answers, or, to 'c', a file system that can clone.
 * os_errno > 0: fail so. Else at most `most` bytes are moved (for lseek, `most` is the answer; a
 * clone of more fails after them, for want of room); UINT64_MAX lets a call through as it is. */
void tf_plan(char call, int32_t os_errno, uint64_t most);
/* What clones are aligned to on the file system that is played, in bytes; 4096 after a reset. */
extern uint64_t tf_clone_block;
/* Forget plans and records. */
void tf_reset(void);
/* What was called, in order; the first 4096 calls of each sort. */
size_t tf_calls(char call, const struct tf_call **ret_calls);

/* Page-aligned memory whose ends the address sanitizer watches. */
uint8_t *tf_allocate(size_t size);
void tf_free(uint8_t *memory);
