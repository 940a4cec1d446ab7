#include "internal.h"

uint32_t vf_vhd_checksum(const uint8_t *bytes, size_t length, size_t field)
{
    const bool has_field = length >= 4 && field <= length - 4;
    uint32_t sum = 0;
    for (size_t i = 0; i < length; i++) {
        if (!has_field || i < field || i >= field + 4)
            sum += bytes[i];
    }
    return ~sum;
}
