/* No preprocessor line here: cffi reads this file as it stands. */

/* A decoder simple enough to foretell, with a memory of what it was asked. Codecs: */
enum {
    TC_XOR = 1, /* every byte with 0x55; wants out_length bytes, ignores what follows */
    TC_RUNS = 2 /* pairs of a count less one and a byte */
};

struct tc_call {
    uint32_t codec;
    uint32_t first; /* of packed, the byte */
    uint64_t packed_at; /* in the decoder's buffer, which state points at */
    uint64_t packed_length;
    uint64_t out; /* the address */
    uint64_t out_length;
};

int tc_decode(void *state, uint32_t codec, const uint8_t *packed, size_t packed_length,
              uint8_t *out, size_t out_length);

/* Fail at the call of this number, counted from 0; UINT64_MAX at none. */
void tc_plan(uint64_t failing);
void tc_reset(void);
/* What was asked, in order; the first 4096 calls. */
size_t tc_calls(const struct tc_call **ret_calls);
