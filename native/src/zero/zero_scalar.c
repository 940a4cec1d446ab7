/* The reference that every other kernel must equal, and what they use below one vector. */
#include "internal.h"

#include <string.h>

bool vf_zero_scalar(const uint8_t *bytes, size_t length)
{
    /* Counted by length: no bytes may be at NULL, which has no end to compute. */
    for (; length >= 64; bytes += 64, length -= 64) {
        uint64_t words[8];
        memcpy(words, bytes, sizeof words);
        if ((words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7])
            != 0)
            return false;
    }
    uint8_t any = 0;
    for (size_t i = 0; i < length; i++)
        any |= bytes[i];
    return any == 0;
}
