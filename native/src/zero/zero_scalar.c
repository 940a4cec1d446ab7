/* The reference: every other kernel answers as this one does. */
#include "internal.h"

#include <string.h>

bool vf_zero_scalar(const uint8_t *bytes, size_t length)
{
    uint64_t seen = 0;
    while (length >= 64) {
        uint64_t words[8];
        memcpy(words, bytes, sizeof words);
        seen = words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6]
               | words[7];
        if (seen != 0)
            return false;
        bytes += 64;
        length -= 64;
    }
    for (size_t i = 0; i < length; i++)
        seen |= bytes[i];
    return seen == 0;
}
