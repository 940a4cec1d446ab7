/* The reference that every other kernel must equal, and what they use below one vector. */
#include "internal.h"

#include <string.h>

bool vf_zero_scalar(const uint8_t *bytes, size_t length)
{
    const uint8_t *const end = bytes + length;
    while (end - bytes >= 64) {
        uint64_t words[8];
        memcpy(words, bytes, sizeof words);
        if ((words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7])
            != 0)
            return false;
        bytes += sizeof words;
    }
    uint8_t any = 0;
    while (bytes != end)
        any |= *bytes++;
    return any == 0;
}
