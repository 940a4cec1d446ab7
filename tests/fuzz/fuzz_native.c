/* libFuzzer target of the native core: rows and sources out of the input. What is copied must be what
 * is read, and what a model of a few lines says; what the gate refuses, neither does.
 *
 * Input: a kind byte, sizes, rows of 20 bytes each (or 40, as they are in memory), and the rest is the
 * content of the sources. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../native/codec.h"

#define MAX_ROWS 64
#define DISK ((uint64_t)256 * 1024)
#define SCRATCH ((size_t)4 * 4096)
#define UNIT ((size_t)64 * 1024)
#define PACKED ((size_t)96 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reader {
    const uint8_t *at;
    size_t left;
};

static uint64_t take(struct reader *reader, size_t width)
{
    uint64_t value = 0;
    for (size_t i = 0; i < width && reader->left > 0; i++, reader->left--)
        value |= (uint64_t)*reader->at++ << (8 * i);
    return value;
}

static void check(bool good)
{
    if (!good)
        abort();
}

/* Rows that mostly pass the gate, or whatever the bytes make of them. */
static size_t make_rows(struct reader *reader, bool plain, size_t count, struct vf_extent *rows)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        struct vf_extent *row = &rows[i];
        memset(row, 0, sizeof *row);
        if (plain) {
            for (size_t j = 0; j < sizeof *row; j++)
                ((uint8_t *)row)[j] = (uint8_t)take(reader, 1);
            continue;
        }
        row->kind = (uint8_t)take(reader, 1) % 5;
        row->codec = (uint8_t)take(reader, 1) % 3;
        row->file = (uint16_t)take(reader, 1) % 4;
        row->offset = offset + take(reader, 2);
        row->length = take(reader, 2) + 1;
        row->file_offset = take(reader, 3);
        row->stored_length = (uint32_t)take(reader, 3);
        row->decoded_length = (uint32_t)take(reader, 3);
        row->skip = (uint32_t)take(reader, 2);
        offset = row->offset + row->length;
    }
    return count;
}

/* One row's bytes by the plainest means; false where its unit does not decode. */
static bool model(const struct vf_source *sources, const uint8_t *const *contents,
                  const struct vf_extent *row, uint8_t *out)
{
    const uint8_t *bytes = contents[row->file] + sources[row->file].start + row->file_offset;
    if (row->kind == VF_DATA) {
        memcpy(out, bytes, row->length);
        return true;
    }
    if (row->decoded_length > UNIT || row->stored_length > PACKED)
        return false;
    const uint64_t there = sources[row->file].size - row->file_offset;
    const size_t stored = row->stored_length < there ? row->stored_length : (size_t)there;
    uint8_t *unit = malloc(row->decoded_length);
    check(unit != NULL);
    const bool good =
        tc_decode((void *)(uintptr_t)bytes, row->codec, bytes, stored, unit, row->decoded_length)
        == 0;
    if (good)
        memcpy(out, unit + row->skip, row->length);
    free(unit);
    return good;
}

static void check_holes(const struct vf_source *source, const struct vf_extent *rows, size_t count)
{
    struct vf_extent out[MAX_ROWS];
    struct vf_error error;
    size_t made = 0;
    if (vf_split_holes(source, 1, rows, count, out, MAX_ROWS, &made, &error) != VF_OK)
        return;
    check(made <= MAX_ROWS);
    size_t at = 0;
    uint64_t within = 0;
    for (size_t i = 0; i < made; i++) {
        check(out[i].length > 0 && out[i].offset == rows[at].offset + within);
        check(out[i].kind == rows[at].kind || (rows[at].kind == VF_DATA && out[i].kind == VF_ZERO));
        within += out[i].length;
        check(within <= rows[at].length);
        if (within == rows[at].length) {
            at++;
            within = 0;
        }
    }
}

static void check_runs(const uint8_t *bytes, size_t length, size_t granule, size_t from, bool zeros,
                       vf_zero_kernel kernel)
{
    struct vf_run runs[8];
    size_t count, next = from, covered = 0, expected = 0;
    for (size_t at = from; at < length; at += granule) {
        const size_t part = length - at < granule ? length - at : granule;
        if (vf_zero_scalar(bytes + at, part) == zeros)
            expected += part;
    }
    while (next < length) {
        const size_t before = next;
        check(vf_find_runs(bytes, length, granule, next, zeros, kernel, runs, 8, &count, &next)
              == VF_OK);
        check(next > before && count <= 8);
        for (size_t i = 0; i < count; i++)
            covered += runs[i].length;
    }
    check(covered == expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t *scratch, *packed, *unit, *disk, *expected;
    static int file = -1, target = -1;
    static vf_zero_kernel kernel;
    if (scratch == NULL) {
        scratch = aligned_alloc(4096, SCRATCH);
        packed = malloc(PACKED);
        unit = malloc(UNIT);
        disk = malloc(DISK);
        expected = malloc(DISK);
        file = memfd_create("source", 0);
        target = memfd_create("target", 0);
        check(scratch && packed && unit && disk && expected && file >= 0 && target >= 0);
        check(vf_zero_select(NULL, &kernel) == VF_OK);
    }
    struct reader reader = { data, size };
    const uint8_t kind = (uint8_t)take(&reader, 1);
    const size_t count = take(&reader, 1) % (MAX_ROWS + 1);
    const uint64_t end = 1 + (take(&reader, 3) & (DISK - 1));
    const uint64_t start = take(&reader, 1);
    struct vf_extent rows[MAX_ROWS];
    make_rows(&reader, kind & 1, count, rows);

    /* Source 0 is memory, exactly as long as it says; 1 a slice of a file; 2 nothing. */
    const size_t length = reader.left;
    uint8_t *memory = malloc(length + 1);
    check(memory != NULL);
    memcpy(memory, reader.at, length);
    memory = realloc(memory, length > 0 ? length : 1);
    check(ftruncate(file, 0) == 0 && pwrite(file, reader.at, length, 0) == (ssize_t)length);
    const uint64_t skipped = start < length ? start : length;
    /* The last of them says more than the file has: it was cut. */
    const uint64_t missing = kind & 2 ? 100 : 0;
    const struct vf_source sources[3] = {
        { .memory = memory, .size = length, .fd = -1 },
        { .fd = file, .start = skipped, .size = length - skipped + missing },
        { .fd = -1, .size = length },
    };
    const uint8_t *const contents[3] = { memory, memory, memory };

    struct vf_decoder decoder = {
        .decode = tc_decode, .state = packed, .packed = packed, .packed_size = PACKED,
        .unit = unit, .unit_size = UNIT,
    };
    struct vf_sink sink = { .size = end, .fd = target, .direct_fd = -1 };
    check(ftruncate(target, 0) == 0 && ftruncate(target, (off_t)end) == 0);
    struct vf_copied copied = { 0 };
    struct vf_error error = { 0 };
    tc_reset();
    const int gate = vf_check_rows(sources, 3, rows, count, end, &error);
    const int wrote = vf_copy_segment(sources, 3, rows, count, &sink, scratch, SCRATCH, kernel,
                                      &decoder, &copied, &error);
    check((gate == VF_BAD_ROWS) == (wrote == VF_BAD_ROWS));
    memset(disk, 0xee, end);
    const int got =
        vf_read_segment(sources, 3, rows, count, 0, disk, (size_t)end, &decoder, &error);
    if (gate == VF_OK) {
        check((got == VF_OK) == (wrote == VF_OK));
        check_holes(&sources[1], rows, count);
    }
    if (gate == VF_OK && missing == 0) {
        bool good = true;
        memset(expected, 0, end);
        for (size_t i = 0; i < count && good; i++) {
            if (rows[i].kind != VF_ZERO)
                good = model(sources, contents, &rows[i], expected + rows[i].offset);
        }
        /* A unit that is too large for the buffer of units may still fit into scratch. */
        if (good)
            check(wrote == VF_OK);
        if (good)
            check(memcmp(disk, expected, end) == 0);
        if (wrote == VF_OK) {
            memset(unit, 0, UNIT);
            for (uint64_t at = 0; at < end; at += UNIT) {
                const size_t part = end - at < UNIT ? (size_t)(end - at) : UNIT;
                check(pread(target, unit, part, (off_t)at) == (ssize_t)part);
                check(memcmp(unit, disk + at, part) == 0);
            }
        }
        /* A part of it, from anywhere. */
        const uint64_t from = (uint64_t)kind * 37 % end;
        const size_t part = (size_t)(end - from < 5000 ? end - from : 5000);
        uint8_t *window = malloc(part);
        check(window != NULL);
        if (good) {
            check(vf_read_segment(sources, 3, rows, count, from, window, part, &decoder, &error)
                  == VF_OK);
            check(memcmp(window, expected + from, part) == 0);
        }
        free(window);
    }
    check_runs(memory, length, 1 + (kind & 63), 0, kind & 64, kernel);
    free(memory);
    return 0;
}
