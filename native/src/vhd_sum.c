/* Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer Format", field Checksum. */
#include "internal.h"

#define FIELD_SIZE ((size_t)4)

uint32_t vf_vhd_checksum(const uint8_t *bytes, size_t length, size_t field)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < length; i++)
        sum += bytes[i];
    /* field + FIELD_SIZE may wrap: callers say "no field" with SIZE_MAX. */
    if (length >= FIELD_SIZE && field <= length - FIELD_SIZE) {
        for (size_t i = 0; i < FIELD_SIZE; i++)
            sum -= bytes[field + i];
    }
    return ~sum;
}
