/* Global state is fine here: each test resets it, and tests run one after the other. */
#include <stddef.h>
#include <stdint.h>

#include "codec.h"

#include <string.h>

#define MAX_CALLS 4096

static struct tc_call calls[MAX_CALLS];
static size_t count;
static uint64_t to_fail = UINT64_MAX;

void tc_plan(uint64_t failing)
{
    to_fail = failing;
}

void tc_reset(void)
{
    count = 0;
    to_fail = UINT64_MAX;
}

size_t tc_calls(const struct tc_call **ret_calls)
{
    *ret_calls = calls;
    return count < MAX_CALLS ? count : MAX_CALLS;
}

static int runs(const uint8_t *packed, size_t packed_length, uint8_t *out, size_t out_length)
{
    size_t done = 0;
    for (size_t at = 0; at + 2 <= packed_length && done < out_length; at += 2) {
        const size_t length = (size_t)packed[at] + 1;
        const size_t part = length < out_length - done ? length : out_length - done;
        memset(out + done, packed[at + 1], part);
        done += part;
    }
    return done == out_length ? 0 : -1;
}

int tc_decode(void *state, uint32_t codec, const uint8_t *packed, size_t packed_length,
              uint8_t *out, size_t out_length)
{
    if (count < MAX_CALLS)
        calls[count] = (struct tc_call){
            codec,         packed_length > 0 ? packed[0] : 0,
            (uint64_t)(packed - (const uint8_t *)state), packed_length,
            (uintptr_t)out, out_length,
        };
    /* The last stored byte is looked at whatever becomes of it, as real decoders may. */
    volatile uint8_t last = packed_length > 0 ? packed[packed_length - 1] : 0;
    (void)last;
    if (count++ == to_fail) {
        memset(out, 0xdb, out_length);
        return -1;
    }
    if (codec == TC_RUNS)
        return runs(packed, packed_length, out, out_length);
    if (codec != TC_XOR || packed_length < out_length)
        return -1;
    for (size_t i = 0; i < out_length; i++)
        out[i] = packed[i] ^ 0x55;
    return 0;
}
