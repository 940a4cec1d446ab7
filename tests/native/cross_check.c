/* Every kernel that runs here against answers known without it: exits 0 and names the kernels it
 * checked. A program of its own, so that it can run on another architecture's emulator, and so that
 * the address sanitizer sees buffers that end exactly where the data ends. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void fail(const char *kernel, size_t alignment, size_t length, size_t position)
{
    fprintf(stderr, "%s: wrong at alignment %zu, length %zu, position %zu\n", kernel, alignment,
            length, position);
    exit(1);
}

static void check_zero(const char *name, vf_zero_kernel kernel, size_t alignment, size_t length,
                       size_t step)
{
    /* What stands before and behind the data is not zero, so that reading it shows. */
    uint8_t *block = aligned_alloc(64, 8192);
    uint8_t *exact = malloc(length + 1);
    if (block == NULL || exact == NULL)
        abort();
    memset(block, 0xff, 8192);
    uint8_t *bytes = block + alignment;
    memset(bytes, 0, length);
    memset(exact, 0, length + 1);
    if (!kernel(bytes, length) || !kernel(exact + 1, length))
        fail(name, alignment, length, length);
    for (size_t position = 0; position < length; position += step) {
        bytes[position] = 1;
        if (kernel(bytes, length))
            fail(name, alignment, length, position);
        bytes[position] = 0;
    }
    if (length > 0) {
        bytes[length - 1] = 0x80;
        if (kernel(bytes, length))
            fail(name, alignment, length, length - 1);
    }
    free(exact);
    free(block);
}

/* Buffers that begin behind, or end before, a page that must not be touched: where there is no
 * address sanitizer, as under an emulator, a kernel that reads a byte too far dies here. */
static void check_zero_at_the_edge(const char *name, vf_zero_kernel kernel)
{
    const size_t page = 65536; /* a multiple of every size of page in use */
    uint8_t *const area = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED || mprotect(area + page, page, PROT_READ | PROT_WRITE) != 0)
        abort();
    for (size_t length = 0; length < 4200; length++) {
        uint8_t *const starts[] = { area + page, area + 2 * page - length };
        for (size_t i = 0; i < 2; i++) {
            if (!kernel(starts[i], length))
                fail(name, i, length, length);
            if (length == 0)
                continue;
            starts[i][length - 1] = 1;
            if (kernel(starts[i], length))
                fail(name, i, length, length - 1);
            starts[i][length - 1] = 0;
        }
    }
    munmap(area, 3 * page);
}

static uint32_t crc32c_by_bits(uint32_t crc, const uint8_t *bytes, size_t length)
{
    crc = ~crc;
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    return ~crc;
}

static void check_crc32c(const char *name, vf_crc32c_kernel kernel)
{
    uint8_t bytes[512];
    uint32_t noise = 1;
    for (size_t i = 0; i < sizeof bytes; i++) {
        noise = noise * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(noise >> 24);
    }
    for (size_t alignment = 0; alignment < 16; alignment++)
        for (size_t length = 0; length < 300; length++)
            if (kernel(0x12345678, bytes + alignment, length)
                != crc32c_by_bits(0x12345678, bytes + alignment, length))
                fail(name, alignment, length, 0);
}

int main(void)
{
    for (size_t i = 0; vf_zero_name(i) != NULL; i++) {
        vf_zero_kernel kernel;
        if (vf_zero_select(vf_zero_name(i), &kernel) != VF_OK)
            continue;
        for (size_t alignment = 0; alignment < 64; alignment++) {
            for (size_t length = 0; length < 300; length++)
                check_zero(vf_zero_name(i), kernel, alignment, length, 1);
            for (size_t length = 505; length < 520; length++)
                check_zero(vf_zero_name(i), kernel, alignment, length, 7);
            for (size_t length = 4090; length < 4103; length++)
                check_zero(vf_zero_name(i), kernel, alignment, length, 61);
        }
        check_zero_at_the_edge(vf_zero_name(i), kernel);
        printf("zero %s\n", vf_zero_name(i));
    }
    for (size_t i = 0; vf_crc32c_name(i) != NULL; i++) {
        vf_crc32c_kernel kernel;
        if (vf_crc32c_select(vf_crc32c_name(i), &kernel) != VF_OK)
            continue;
        check_crc32c(vf_crc32c_name(i), kernel);
        printf("crc32c %s\n", vf_crc32c_name(i));
    }
    return 0;
}
