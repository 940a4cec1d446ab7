/* libFuzzer target of native/codecs: both decoders on the same bytes.
 *
 * Input: the codec (1 byte), the wanted length (3 bytes), the stream. */
#include <stddef.h>
#include <stdint.h>

#include "codecs.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LENGTH ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int good)
{
    if (!good)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void *state;
    if (state == NULL)
        state = vfc_create();
    check(state != NULL);
    if (size < 4)
        return 0;
    const uint32_t codec = data[0] % 5;
    const size_t length = (data[1] | (size_t)data[2] << 8 | (size_t)data[3] << 16) % MAX_LENGTH;
    /* Memory of its own for each: the sanitizer sees a byte too many. */
    const size_t packed_length = size - 4;
    uint8_t *packed = malloc(packed_length > 0 ? packed_length : 1);
    uint8_t *quick = malloc(length > 0 ? length : 1), *plain = malloc(length > 0 ? length : 1);
    check(packed != NULL && quick != NULL && plain != NULL);
    memcpy(packed, data + 4, packed_length);
    const int one = vfc_decode(state, codec, packed, packed_length, quick, length);
    const int other = vfc_decode_plain(state, codec, packed, packed_length, plain, length);
    /* Both quick libraries take some streams that their formats forbid: libdeflate length codes 286
     * and 287, libzstd in one go blocks that are larger than the window. */
    check(one == other || one == 0);
    if (other == 0)
        check(memcmp(quick, plain, length) == 0);
    /* What has begun does not change what is made of the next stream: a state decodes many. */
    const int again = vfc_decode(state, codec, packed, packed_length, plain, length);
    check(again == one);
    free(packed);
    free(quick);
    free(plain);
    return 0;
}
