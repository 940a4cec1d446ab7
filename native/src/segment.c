/* Rows to bytes: into the caller's buffer, or through a scratch buffer into the target.
 *
 * vf_copy_segment collects the rows that touch neighbouring granules in scratch, which stands for
 * a contiguous range of the virtual disk (a "stretch"), so that small rows that lie side by side
 * cost one write. When a row leaves a gap of a granule or more, or scratch is full, the stretch is
 * looked through for zero granules and the others are written.
 */
#include "internal.h"

#include <string.h>

struct stretch {
    uint64_t offset; /* virtual, a multiple of VF_GRANULE */
    size_t filled;   /* bytes of scratch in use; 0 where no stretch is open */
};

struct copy {
    const struct vf_source *sources;
    const struct vf_sink *sink;
    uint8_t *scratch;
    size_t scratch_size;
    vf_zero_kernel kernel;
    struct vf_copied *copied;
    struct vf_error *reterr;
    struct stretch stretch;
    struct vf_unpacker unpacker;
    uint64_t allocated_end; /* virtual; up to here zeros may lie in blocks made ahead */
};

static size_t round_up(size_t length)
{
    return (length + VF_GRANULE - 1) & ~(VF_GRANULE - 1);
}

/* ext4 and XFS let direct writers of one file work side by side only where its blocks exist, and
 * make them in longer pieces when they are asked for in longer pieces: rows that follow each other
 * in the target are one request. What turns out to hold zeros is given back in write_granules. The
 * answer is where blocks that were made end, 0 where none were. */
static uint64_t allocate(const struct vf_sink *sink, uint64_t start, uint64_t end)
{
    const uint64_t mask = VF_GRANULE - 1;
    start = (start + mask) & ~mask;
    end &= ~mask;
    if (start >= end || end - start < sink->direct_minimum)
        return 0;
    vf_sink_allocate(sink, start, end - start);
    return end;
}

static bool allocates_ahead(const struct vf_sink *sink)
{
    return sink->allocate_ahead && sink->direct_fd >= 0;
}

static void allocate_rows(struct copy *copy, const struct vf_extent *rows, size_t row_count)
{
    uint64_t start = 0, end = 0, made;
    if (!allocates_ahead(copy->sink))
        return;
    for (size_t i = 0; i < row_count; i++) {
        if (rows[i].kind == VF_ZERO)
            continue;
        if (rows[i].offset != end) {
            made = allocate(copy->sink, start, end);
            if (made > 0)
                copy->allocated_end = made;
            start = rows[i].offset;
        }
        end = rows[i].offset + rows[i].length;
    }
    made = allocate(copy->sink, start, end);
    if (made > 0)
        copy->allocated_end = made;
}

/* Leave [offset, offset + length), found zero, as a hole. */
static void skip(const struct vf_sink *sink, uint64_t offset, uint64_t length,
                 uint64_t allocated_end)
{
    if (length > 0 && offset < allocated_end)
        vf_sink_release(sink, offset, length);
}

/* Write the granules of `bytes` that are not all zero to their places from `offset` on. Up to
 * allocated_end zeros may lie in blocks made ahead, which are given back. */
static int write_granules(const struct vf_sink *sink, const uint8_t *bytes, size_t length,
                          uint64_t offset, uint64_t allocated_end, vf_zero_kernel kernel,
                          struct vf_copied *copied, struct vf_error *reterr)
{
    uint64_t written = 0, seen = 0;
    for (size_t from = 0; from < length;) {
        struct vf_run runs[64];
        size_t count;
        const int found = vf_find_runs(bytes, length, VF_GRANULE, from, false, kernel, runs,
                                       sizeof runs / sizeof runs[0], &count, &from);
        if (found != VF_OK)
            return vf_fail(reterr, VF_BAD_ARGUMENT, 0, -1, -1, offset, length);
        for (size_t i = 0; i < count; i++) {
            skip(sink, offset + seen, runs[i].offset - seen, allocated_end);
            seen = runs[i].offset + runs[i].length;
            const int status = vf_sink_write(sink, bytes + runs[i].offset, runs[i].length,
                                             offset + runs[i].offset, reterr);
            if (status != VF_OK)
                return status;
            copied->written += runs[i].length;
            written += runs[i].length;
        }
    }
    skip(sink, offset + seen, length - seen, allocated_end);
    copied->zeros += length - written;
    return VF_OK;
}

/* Write what is not zero of the open stretch and close it. */
static int flush(struct copy *copy)
{
    struct stretch *stretch = &copy->stretch;
    const size_t filled = stretch->filled;
    stretch->filled = 0;
    if (filled == 0)
        return VF_OK;

    size_t padded = round_up(filled);
    if (padded > copy->sink->size - stretch->offset)
        padded = (size_t)(copy->sink->size - stretch->offset);
    memset(copy->scratch + filled, 0, padded - filled);

    return write_granules(copy->sink, copy->scratch, padded, stretch->offset, copy->allocated_end,
                          copy->kernel, copy->copied, copy->reterr);
}

/* Make a stretch that virtual `offset` belongs to the open one, zero up to there. *ret_at is where in
 * scratch it lies. */
static int open_at(struct copy *copy, uint64_t offset, size_t *ret_at)
{
    struct stretch *stretch = &copy->stretch;
    /* Up to the end of the last granule in use, not of its last byte: a row that begins in the
     * granule after it belongs to the same write. */
    const uint64_t distance = offset - stretch->offset;
    const bool joins = stretch->filled > 0 && distance < copy->scratch_size
                       && distance / VF_GRANULE <= round_up(stretch->filled) / VF_GRANULE;
    if (!joins) {
        const int status = flush(copy);
        if (status != VF_OK)
            return status;
        stretch->offset = offset & ~(uint64_t)(VF_GRANULE - 1);
    }
    *ret_at = (size_t)(offset - stretch->offset);
    memset(copy->scratch + stretch->filled, 0, *ret_at - stretch->filled);
    return VF_OK;
}

/* Bring a row's bytes into stretches, as many as it fills: from `bytes`, or, where that is NULL,
 * from the row's place in its source. */
static int take(struct copy *copy, const struct vf_extent *row, const uint8_t *bytes)
{
    uint64_t offset = row->offset, file_offset = row->file_offset, left = row->length;
    while (left > 0) {
        size_t at;
        int status = open_at(copy, offset, &at);
        if (status != VF_OK)
            return status;
        const size_t room = copy->scratch_size - at;
        const size_t part = left < room ? (size_t)left : room;
        if (bytes != NULL) {
            memcpy(copy->scratch + at, bytes, part);
            bytes += part;
        } else {
            status = vf_source_read(copy->sources, row->file, file_offset, copy->scratch + at,
                                    part, copy->reterr);
            if (status != VF_OK)
                return status;
            copy->copied->read += part;
        }
        copy->stretch.filled = at + part;
        offset += part;
        file_offset += part;
        left -= part;
    }
    return VF_OK;
}

/* Bring a COMPRESSED row into a stretch: decoded in place where all of its unit fits there. */
static int take_compressed(struct copy *copy, const struct vf_extent *rows, size_t row_count,
                           size_t index)
{
    const struct vf_extent *row = &rows[index];
    if (row->skip == 0 && row->length == row->decoded_length) {
        size_t at;
        int status = open_at(copy, row->offset, &at);
        if (status != VF_OK)
            return status;
        if (row->length <= copy->scratch_size - at) {
            status = vf_unpack(&copy->unpacker, copy->sources, rows, row_count, index,
                               copy->scratch + at, row->decoded_length, copy->reterr);
            if (status == VF_OK)
                copy->stretch.filled = at + (size_t)row->length;
            return status;
        }
    }
    const uint8_t *bytes;
    const int status = vf_unpack_row(&copy->unpacker, copy->sources, rows, row_count, index,
                                     &bytes, copy->reterr);
    return status == VF_OK ? take(copy, row, bytes) : status;
}

int vf_copy_segment(const struct vf_source *sources, size_t source_count,
                    const struct vf_extent *rows, size_t row_count, const struct vf_sink *sink,
                    uint8_t *scratch, size_t scratch_size, vf_zero_kernel kernel,
                    const struct vf_decoder *decoder, struct vf_copied *copied,
                    struct vf_error *reterr)
{
    if (scratch_size < VF_GRANULE || (scratch_size & (VF_GRANULE - 1)) != 0
        || ((uintptr_t)scratch & (VF_GRANULE - 1)) != 0)
        return vf_fail(reterr, VF_BAD_ARGUMENT, 0, -1, -1, 0, scratch_size);
    int status = vf_check_rows(sources, source_count, rows, row_count, sink->size, reterr);
    if (status != VF_OK)
        return status;

    struct copy copy = {
        .sources = sources,
        .sink = sink,
        .scratch = scratch,
        .scratch_size = scratch_size,
        .kernel = kernel,
        .copied = copied,
        .reterr = reterr,
        .unpacker = { .decoder = decoder },
    };
    /* All rows at once, before the first is read: measured, that gains what one by one does not. */
    allocate_rows(&copy, rows, row_count);
    for (size_t i = 0; i < row_count && status == VF_OK; i++) {
        if (rows[i].kind == VF_DATA)
            status = take(&copy, &rows[i], NULL);
        else if (rows[i].kind == VF_COMPRESSED)
            status = take_compressed(&copy, rows, row_count, i);
    }
    if (status == VF_OK)
        status = flush(&copy);
    copied->read += copy.unpacker.read;
    return status;
}

int vf_write_data(const struct vf_sink *sink, const uint8_t *bytes, size_t length,
                  uint64_t offset, vf_zero_kernel kernel, struct vf_copied *copied,
                  struct vf_error *reterr)
{
    if ((offset & (VF_GRANULE - 1)) != 0 || offset > sink->size || length > sink->size - offset)
        return vf_fail(reterr, VF_BAD_ARGUMENT, 0, -1, -1, offset, length);
    const uint64_t made =
        allocates_ahead(sink) ? allocate(sink, offset, offset + length) : 0;
    return write_granules(sink, bytes, length, offset, made, kernel, copied, reterr);
}

int vf_read_segment(const struct vf_source *sources, size_t source_count,
                    const struct vf_extent *rows, size_t row_count, uint64_t offset,
                    uint8_t *buffer, size_t length, const struct vf_decoder *decoder,
                    struct vf_error *reterr)
{
    if (length > UINT64_MAX - offset)
        return vf_fail(reterr, VF_BAD_ARGUMENT, 0, -1, -1, offset, length);
    int status =
        vf_check_rows(sources, source_count, rows, row_count, UINT64_MAX, reterr);
    if (status != VF_OK)
        return status;

    /* An empty buffer may be NULL, which memset may not be given even for no bytes. */
    if (length == 0)
        return VF_OK;

    struct vf_unpacker unpacker = { .decoder = decoder };
    size_t filled = 0;
    for (size_t i = 0; i < row_count; i++) {
        const struct vf_extent *row = &rows[i];
        const uint64_t row_end = row->offset + row->length;
        if (row_end <= offset || row->kind == VF_ZERO)
            continue;
        if (row->offset >= offset + length)
            break;
        const uint64_t start = row->offset > offset ? row->offset : offset;
        const uint64_t end = row_end < offset + length ? row_end : offset + length;
        const size_t at = (size_t)(start - offset), part = (size_t)(end - start);
        memset(buffer + filled, 0, at - filled);
        if (row->kind == VF_DATA) {
            status = vf_source_read(sources, row->file, row->file_offset + (start - row->offset),
                                    buffer + at, part, reterr);
        } else if (part == row->decoded_length) {
            status = vf_unpack(&unpacker, sources, rows, row_count, i, buffer + at, part, reterr);
        } else {
            const uint8_t *bytes;
            status = vf_unpack_row(&unpacker, sources, rows, row_count, i, &bytes, reterr);
            if (status == VF_OK)
                memcpy(buffer + at, bytes + (start - row->offset), part);
        }
        if (status != VF_OK)
            return status;
        filled = at + part;
    }
    memset(buffer + filled, 0, length - filled);
    return VF_OK;
}
