#include "vhdfast.h"

uint64_t bench_plain_read(const uint8_t *bytes, size_t length, size_t rounds);
size_t bench_plain_width(void);
size_t bench_zero_bytes(vf_zero_kernel kernel, const uint8_t *bytes, size_t length, size_t rounds);
uint32_t bench_crc32c(vf_crc32c_kernel kernel, const uint8_t *bytes, size_t length, size_t rounds);
