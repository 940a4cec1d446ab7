/* Eight bytes at a time through eight tables ("slicing by 8"): each table says what one byte does to
 * the checksum when so many more bytes follow it. For CPUs without a CRC instruction, and the
 * reference for those with one.
 */
#include "internal.h"

/* The checksum is linear: what a byte does is the XOR of what its bits do. So eight numbers make a
 * table, the compiler makes the other 248, and 8 KiB of digits need not be read by anyone. The
 * numbers are x to the powers 39, 38, ... 32 modulo the polynomial 0x1edc6f41, bits reversed, then
 * 47 ... 40 and so on. */
#define BIT(n, bit, number) ((n) >> (bit) & 1 ? UINT32_C(number) : 0)
#define BYTE(n, a, b, c, d, e, f, g, h)                                                           \
    (BIT(n, 0, a) ^ BIT(n, 1, b) ^ BIT(n, 2, c) ^ BIT(n, 3, d) ^ BIT(n, 4, e) ^ BIT(n, 5, f)      \
     ^ BIT(n, 6, g) ^ BIT(n, 7, h))
#define BYTES_4(n, ...)                                                                           \
    BYTE(n, __VA_ARGS__), BYTE(n + 1, __VA_ARGS__), BYTE(n + 2, __VA_ARGS__),                     \
        BYTE(n + 3, __VA_ARGS__)
#define BYTES_16(n, ...)                                                                          \
    BYTES_4(n, __VA_ARGS__), BYTES_4(n + 4, __VA_ARGS__), BYTES_4(n + 8, __VA_ARGS__),            \
        BYTES_4(n + 12, __VA_ARGS__)
#define BYTES_64(n, ...)                                                                          \
    BYTES_16(n, __VA_ARGS__), BYTES_16(n + 16, __VA_ARGS__), BYTES_16(n + 32, __VA_ARGS__),       \
        BYTES_16(n + 48, __VA_ARGS__)
#define SLICE(...)                                                                                \
    {                                                                                             \
        BYTES_64(0, __VA_ARGS__), BYTES_64(64, __VA_ARGS__), BYTES_64(128, __VA_ARGS__),          \
            BYTES_64(192, __VA_ARGS__)                                                            \
    }

static const uint32_t table[8][256] = {
    SLICE(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf,
          0x105ec76f, 0x20bd8ede, 0x417b1dbc, 0x82f63b78),
    SLICE(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8,
          0x3fc5f181, 0x7f8be302, 0xff17c604, 0xfbc3faf9),
    SLICE(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5,
          0x70a27d8a, 0xe144fb14, 0xc76580d9, 0x8b277743),
    SLICE(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6,
          0xe964b13d, 0xd725148b, 0xaba65fe7, 0x52a0c93f),
    SLICE(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91,
          0x8f2261d3, 0x1ba8b557, 0x37516aae, 0x6ea2d55c),
    SLICE(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f,
          0xc00c303e, 0x85f4168d, 0x0e045beb, 0x1c08b7d6),
    SLICE(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53,
          0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a, 0xf56e0ef4),
    SLICE(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da,
          0x847609b4, 0x0d006599, 0x1a00cb32, 0x34019664),
};

static uint32_t load_le32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16
           | (uint32_t)bytes[3] << 24;
}

uint32_t vf_crc32c_scalar(uint32_t crc, const uint8_t *bytes, size_t length)
{
    crc = ~crc;
    for (; length >= 8; bytes += 8, length -= 8) {
        const uint32_t low = crc ^ load_le32(bytes), high = load_le32(bytes + 4);
        crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff]
              ^ table[4][low >> 24] ^ table[3][high & 0xff] ^ table[2][high >> 8 & 0xff]
              ^ table[1][high >> 16 & 0xff] ^ table[0][high >> 24];
    }
    for (; length > 0; bytes++, length--)
        crc = table[0][(crc ^ *bytes) & 0xff] ^ crc >> 8;
    return ~crc;
}
