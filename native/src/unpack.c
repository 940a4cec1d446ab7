/* Compressed units to bytes: which stored bytes to read, and what is kept between rows. */
#include "internal.h"

#include <string.h>

/* Units lie next to each other in most images, with a little slack between them: so much of it is
 * read along rather than skipped. */
#define MAX_GAP ((uint64_t)16384)

/* How many bytes from the unit of rows[row] on hold it and those that follow it closely. */
static size_t span(const struct vf_extent *rows, size_t row_count, size_t row, size_t room)
{
    const uint64_t start = rows[row].file_offset;
    uint64_t end = start + rows[row].stored_length;
    for (size_t i = row + 1; i < row_count; i++) {
        const struct vf_extent *next = &rows[i];
        if (next->kind != VF_COMPRESSED)
            continue;
        const uint64_t next_end = next->file_offset + next->stored_length;
        if (next->file != rows[row].file || next->file_offset < start
            || next->file_offset > end + MAX_GAP || next_end - start > room)
            break;
        if (next_end > end)
            end = next_end;
    }
    return (size_t)(end - start);
}

int vf_unpack(struct vf_unpacker *unpacker, const struct vf_source *sources,
              const struct vf_extent *rows, size_t row_count, size_t row, uint8_t *out,
              size_t length, struct vf_error *reterr)
{
    const struct vf_decoder *decoder = unpacker->decoder;
    const struct vf_extent *wanted = &rows[row];
    if (decoder == NULL || wanted->stored_length > decoder->packed_size)
        return vf_fail(reterr, VF_BAD_ARGUMENT, 0, wanted->file, (int64_t)row, wanted->file_offset,
                       wanted->stored_length);

    const bool is_here = unpacker->packed_length > 0 && unpacker->packed_file == wanted->file
                         && wanted->file_offset >= unpacker->packed_offset
                         && wanted->file_offset - unpacker->packed_offset
                                    + wanted->stored_length
                                <= unpacker->packed_length;
    if (!is_here) {
        size_t got;
        unpacker->packed_length = 0;
        const int status = vf_source_read_some(
            sources, wanted->file, wanted->file_offset, decoder->packed, 1,
            span(rows, row_count, row, decoder->packed_size), &got, reterr);
        if (status != VF_OK)
            return status;
        unpacker->packed_file = wanted->file;
        unpacker->packed_offset = wanted->file_offset;
        unpacker->packed_length = got;
        unpacker->read += got;
    }
    const size_t at = (size_t)(wanted->file_offset - unpacker->packed_offset);
    const size_t there = unpacker->packed_length - at;
    const size_t packed_length = wanted->stored_length < there ? wanted->stored_length : there;
    if (decoder->decode(decoder->state, wanted->codec, decoder->packed + at, packed_length, out,
                        length)
        != 0)
        return vf_fail(reterr, VF_DECODE_FAILED, 0, wanted->file, (int64_t)row,
                       wanted->file_offset, length);
    return VF_OK;
}

int vf_unpack_row(struct vf_unpacker *unpacker, const struct vf_source *sources,
                  const struct vf_extent *rows, size_t row_count, size_t row,
                  const uint8_t **ret_bytes, struct vf_error *reterr)
{
    const struct vf_decoder *decoder = unpacker->decoder;
    const struct vf_extent *wanted = &rows[row], *held = unpacker->unit;
    if (decoder == NULL || wanted->decoded_length > decoder->unit_size)
        return vf_fail(reterr, VF_BAD_ARGUMENT, 0, wanted->file, (int64_t)row, wanted->file_offset,
                       wanted->decoded_length);
    /* Rows of one unit follow each other where an overlay covers its middle: it is decoded once. */
    const bool is_held = held != NULL && held->file == wanted->file
                         && held->file_offset == wanted->file_offset
                         && held->stored_length == wanted->stored_length
                         && held->decoded_length == wanted->decoded_length
                         && held->codec == wanted->codec;
    if (!is_held) {
        unpacker->unit = NULL;
        const int status = vf_unpack(unpacker, sources, rows, row_count, row, decoder->unit,
                                     wanted->decoded_length, reterr);
        if (status != VF_OK)
            return status;
        unpacker->unit = wanted;
    }
    *ret_bytes = decoder->unit + wanted->skip;
    return VF_OK;
}
