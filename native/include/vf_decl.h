/* Declarations only, without a preprocessor line: C includes this file, and the test build hands
 * it to cffi as it stands. */

enum vf_status {
    VF_OK = 0,
    VF_BAD_ROWS = 1,       /* a row breaks the rules of struct vf_extent; reterr->row says which */
    VF_READ_FAILED = 2,    /* reading a source failed: os_errno */
    VF_READ_SHORT = 3,     /* a source ended before a row's bytes did */
    VF_WRITE_FAILED = 4,   /* writing the target failed: os_errno */
    VF_SEEK_FAILED = 5,    /* asking for holes failed: os_errno */
    VF_BAD_ARGUMENT = 6,   /* the caller broke the contract; a defect, never the image's fault */
    VF_KERNEL_UNKNOWN = 7, /* no kernel has this name */
    VF_KERNEL_NOT_BUILT = 8, /* this build has no such kernel (another architecture) */
    VF_KERNEL_NO_CPU = 9,    /* this machine's CPU cannot run it */
    VF_DECODE_FAILED = 10    /* a compressed unit does not decode to its length: the image's fault */
};

enum vf_kind {
    VF_UNALLOCATED = 0, /* ask the layer below; never reaches this core */
    VF_ZERO = 1,
    VF_DATA = 2,
    VF_COMPRESSED = 3
};

/* What lies at [offset, offset + length) of the virtual disk. All but kind, codec and file are
 * bytes. stored_length, decoded_length, skip and codec speak of COMPRESSED rows alone. */
struct vf_extent {
    uint64_t offset;
    uint64_t length;
    uint64_t file_offset;
    uint32_t stored_length;
    uint32_t decoded_length;
    uint32_t skip;
    uint16_t file;
    uint8_t kind;
    uint8_t codec;
};

/* Where stored bytes come from: memory where it is not NULL, else a file descriptor, whose bytes
 * count from `start`. Where both are missing (fd -1), no row may name the source. Clones of a file
 * begin and end at multiples of clone_block, a power of two; 0: it cannot be cloned. */
struct vf_source {
    const uint8_t *memory;
    uint64_t size;
    uint64_t start;
    int32_t fd;
    uint32_t clone_block;
};

/* Where bytes go. The target must read as zeros before. */
struct vf_sink {
    uint64_t size;           /* nothing is written at or beyond it */
    int32_t fd;
    int32_t direct_fd;       /* the same file opened with O_DIRECT, or -1 */
    uint32_t direct_minimum; /* shorter runs go through fd */
    uint32_t allocate_ahead; /* not 0: make the blocks of a row before writing it past the cache */
};

/* 0 where `packed` begins with a stream, or with frames, of at least out_length bytes, the
 * first out_length of which are then in `out`; what follows in packed is none of its business. Any
 * other answer means that there is no such stream; `out` is undefined then. */
typedef int (*vf_decode)(void *state, uint32_t codec, const uint8_t *packed, size_t packed_length,
                         uint8_t *out, size_t out_length);

/* What decodes COMPRESSED rows, and room to do it in; one thread's own. */
struct vf_decoder {
    vf_decode decode;
    void *state;
    uint8_t *packed; /* stored bytes: those of a unit, and what follows as far as it has room */
    size_t packed_size;
    uint8_t *unit; /* a decoded unit of which only a part is wanted */
    size_t unit_size;
};

struct vf_copied {
    uint64_t read;    /* bytes taken from sources */
    uint64_t written; /* bytes written to the target */
    uint64_t zeros;   /* bytes of the granules that were looked at, found zero and left as holes */
};

struct vf_error {
    int32_t status;
    int32_t os_errno;
    int32_t file;    /* index of the source, -1 for the target */
    int32_t row;     /* index of the row, -1 where none is meant */
    uint64_t offset; /* in that file */
    uint64_t length;
};

/* A run of granules of one sort within a buffer, in bytes. */
struct vf_run {
    uint64_t offset;
    uint64_t length;
};

typedef bool (*vf_zero_kernel)(const uint8_t *bytes, size_t length);
typedef uint32_t (*vf_crc32c_kernel)(uint32_t crc, const uint8_t *bytes, size_t length);

/* ---- kernels ---------------------------------------------------------------------------- */

/* The kernel of this name ("scalar", "sse2", "avx2", "avx512", "neon"), or the best one that
 * this CPU runs for NULL. */
int vf_zero_select(const char *name, vf_zero_kernel *ret_kernel);
/* Name of the i-th kernel known to any build, preferred ones first; NULL past the last. */
const char *vf_zero_name(size_t index);

/* The same for CRC-32C ("scalar", "sse42", "arm64"). A kernel continues from crc, which is 0 for
 * the first bytes; inversion before and after is its own affair. */
int vf_crc32c_select(const char *name, vf_crc32c_kernel *ret_kernel);
const char *vf_crc32c_name(size_t index);

/* Runs of granules that are zero (or, with zeros = false, that are not), at most max_runs of
 * them, beginning at `from`: a multiple of granule, or length. Neighbours are one run. *ret_next
 * is where to go on: the end of the last run where runs is full, else `length`. The last granule
 * may be short. VF_BAD_ARGUMENT where granule or max_runs is 0. */
int vf_find_runs(const uint8_t *bytes, size_t length, size_t granule, size_t from, bool zeros,
                 vf_zero_kernel kernel, struct vf_run *runs, size_t max_runs, size_t *ret_count,
                 size_t *ret_next);

/* One's complement of the sum of all bytes but the four at `field` (none where field + 4 is
 * beyond the end): the checksum of a VHD footer (field 64) and dynamic header (field 36). */
uint32_t vf_vhd_checksum(const uint8_t *bytes, size_t length, size_t field);

/* ---- the disk's bytes -------------------------------------------------------------------- */

/* Copy rows (ascending, not overlapping, kinds DATA, ZERO and COMPRESSED) to the sink, each to the
 * offset that it has in the virtual disk, leaving holes where a granule is all zero. No two calls at work at once may touch the same granule of the
 * target. scratch is aligned to a page and scratch_size is a multiple of VF_GRANULE. decoder may be
 * NULL where no row is COMPRESSED. *copied is added to, on failure too. */
int vf_copy_segment(const struct vf_source *sources, size_t source_count,
                    const struct vf_extent *rows, size_t row_count, const struct vf_sink *sink,
                    uint8_t *scratch, size_t scratch_size, vf_zero_kernel kernel,
                    const struct vf_decoder *decoder, struct vf_copied *copied,
                    struct vf_error *reterr);

/* Let the target share the blocks of DATA rows with their source, each at the offset that it has in
 * the virtual disk, instead of copying them. `rest` has room for twice row_count rows: what was not
 * cloned, to be copied, *ret_count of them in the order of the rows: rows that cannot be cloned or
 * whose clone was refused, and the ends of others that fill no block or granule. Clones shorter than
 * `minimum` are not made. What is cloned is not looked through for zeros. No two calls at work at
 * once may touch the same granule of the target. *ret_cloned is bytes. */
int vf_clone_rows(const struct vf_source *sources, size_t source_count,
                  const struct vf_extent *rows, size_t row_count, const struct vf_sink *sink,
                  uint64_t minimum, struct vf_extent *rest, size_t *ret_count,
                  uint64_t *ret_cloned, struct vf_error *reterr);

/* The bytes that vf_clone_rows would clone if nothing refused. */
int vf_count_cloneable(const struct vf_source *sources, size_t source_count,
                       const struct vf_extent *rows, size_t row_count, uint64_t minimum,
                       uint64_t *ret_bytes, struct vf_error *reterr);

/* Write a buffer at `offset` of the target, a multiple of VF_GRANULE, leaving holes where a granule
 * is all zero. A range at which nothing was written before; other calls at work at once touch none of
 * its granules. copied->written and ->zeros are added to, on failure too. */
int vf_write_data(const struct vf_sink *sink, const uint8_t *bytes, size_t length,
                  uint64_t offset, vf_zero_kernel kernel, struct vf_copied *copied,
                  struct vf_error *reterr);

/* Fill buffer with [offset, offset + length) of the virtual disk. Where no row speaks, zeros.
 * decoder may be NULL where no row is COMPRESSED. On failure the buffer's content is undefined. */
int vf_read_segment(const struct vf_source *sources, size_t source_count,
                    const struct vf_extent *rows, size_t row_count, uint64_t offset,
                    uint8_t *buffer, size_t length, const struct vf_decoder *decoder,
                    struct vf_error *reterr);

/* Read `size` bytes at each of the offsets into one buffer of count * size bytes. VF_READ_SHORT
 * where one of them would pass source->size. */
int vf_gather(const struct vf_source *source, const uint64_t *offsets, size_t count, size_t size,
              uint8_t *buffer, struct vf_error *reterr);

/* The same rows with the DATA rows of `source`, which they call `file`, split at the holes of its
 * descriptor: what lies in a hole becomes ZERO. At most max_rows (> 0) of them, a prefix of what
 * `rows` cover. A file or system that knows no holes answers the rows as they are. VF_READ_SHORT
 * where the file ends before a row does and a hole would hide it. */
int vf_split_holes(const struct vf_source *source, uint16_t file, const struct vf_extent *rows,
                   size_t row_count, struct vf_extent *out, size_t max_rows, size_t *ret_count,
                   struct vf_error *reterr);
