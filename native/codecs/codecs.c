/* Other people's decompressors behind the one function that the core calls.
 *
 * Streams come from many writers: they may have slack behind them, lack a final block, or hold more
 * than the disk has room for. libdeflate wants them exact, so what it refuses zlib decides.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#include "codecs.h"

struct state {
    struct libdeflate_decompressor *deflate;
    ZSTD_DCtx *zstd;
    z_stream inflate[2]; /* raw, with a zlib header */
    int has_inflate[2];
};

void *vfc_create(void)
{
    struct state *state = calloc(1, sizeof *state);
    if (state == NULL)
        return NULL;
    state->deflate = libdeflate_alloc_decompressor();
    state->zstd = ZSTD_createDCtx();
    if (state->deflate == NULL || state->zstd == NULL) {
        vfc_destroy(state);
        return NULL;
    }
    return state;
}

void vfc_destroy(void *opaque)
{
    struct state *state = opaque;
    if (state == NULL)
        return;
    libdeflate_free_decompressor(state->deflate);
    ZSTD_freeDCtx(state->zstd);
    for (int i = 0; i < 2; i++) {
        if (state->has_inflate[i])
            (void)inflateEnd(&state->inflate[i]);
    }
    free(state);
}

/* Bytes behind those that are wanted: a writer's padding, and no reason to work for hours. */
#define MAX_EXCESS (4u << 20)

/* Go on behind a full output, to the checksum that follows all of it. What ends before is accepted:
 * the input may have been cut behind what is wanted. */
static int is_rest_sound(z_stream *stream)
{
    uint8_t spare[4096];
    for (uint32_t excess = 0; excess <= MAX_EXCESS;) {
        const uInt before = stream->avail_in;
        stream->next_out = spare;
        stream->avail_out = sizeof spare;
        const int answer = inflate(stream, Z_FINISH);
        const uInt made = (uInt)sizeof spare - stream->avail_out;
        if (answer == Z_STREAM_END)
            return 1;
        if (answer != Z_OK && answer != Z_BUF_ERROR)
            return 0;
        if (made == 0 && stream->avail_in == before)
            return 1;
        excess += made;
    }
    return 0;
}

/* Until the output is full; a stream that ends before is too short. What follows behind it counts
 * where a checksum covers it. */
static int inflate_plain(struct state *state, int has_header, const uint8_t *packed,
                         size_t packed_length, uint8_t *out, size_t out_length)
{
    z_stream *stream = &state->inflate[has_header];
    if (packed_length > UINT32_MAX || out_length > UINT32_MAX)
        return -1;
    if (!state->has_inflate[has_header]) {
        memset(stream, 0, sizeof *stream);
        if (inflateInit2(stream, has_header ? MAX_WBITS : -MAX_WBITS) != Z_OK)
            return -1;
        state->has_inflate[has_header] = 1;
    } else if (inflateReset(stream) != Z_OK) {
        return -1;
    }
    stream->next_in = (z_const Bytef *)packed;
    stream->avail_in = (uInt)packed_length;
    stream->next_out = out;
    stream->avail_out = (uInt)out_length;
    const int answer = inflate(stream, Z_FINISH);
    if (answer == Z_NEED_DICT || answer == Z_MEM_ERROR || answer == Z_STREAM_ERROR)
        return -1;
    /* Without a header there is nothing to learn behind a full output: a stream that lacks its final
     * block has slack there, which is no next block. */
    if (stream->avail_out != 0 || (answer == Z_DATA_ERROR && has_header))
        return -1;
    return !has_header || answer == Z_STREAM_END || is_rest_sound(stream) ? 0 : -1;
}

/* libzstd may be built to read frames from before RFC 8878 too: older code, with its own holes. */
static int is_zstd_frame(const uint8_t *packed, size_t packed_length)
{
    if (packed_length < 4)
        return 0;
    const uint32_t magic = packed[0] | (uint32_t)packed[1] << 8 | (uint32_t)packed[2] << 16
                           | (uint32_t)packed[3] << 24;
    return magic == ZSTD_MAGICNUMBER
           || (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

static int zstd_plain(struct state *state, const uint8_t *packed, size_t packed_length,
                      uint8_t *out, size_t out_length)
{
    ZSTD_inBuffer in = { .src = packed, .size = packed_length, .pos = 0 };
    ZSTD_outBuffer result = { .dst = out, .size = out_length, .pos = 0 };
    if (ZSTD_isError(ZSTD_DCtx_reset(state->zstd, ZSTD_reset_session_only)))
        return -1;
    size_t answer = 0; /* as it is where a frame has ended */
    while (result.pos < result.size) {
        if (in.pos == in.size || (answer == 0 && !is_zstd_frame(packed + in.pos, in.size - in.pos)))
            return -1;
        const size_t in_before = in.pos, out_before = result.pos;
        answer = ZSTD_decompressStream(state->zstd, &result, &in);
        if (ZSTD_isError(answer))
            return -1;
        if (in.pos == in_before && result.pos == out_before)
            return -1;
    }
    return 0;
}

/* Frame by frame in one go each, which spares libzstd its own copy of the window. */
static int zstd_frames(struct state *state, const uint8_t *packed, size_t packed_length,
                       uint8_t *out, size_t out_length)
{
    size_t at = 0, done = 0;
    while (done < out_length) {
        if (!is_zstd_frame(packed + at, packed_length - at))
            return -1;
        const size_t frame = ZSTD_findFrameCompressedSize(packed + at, packed_length - at);
        if (ZSTD_isError(frame) || frame == 0)
            return -1;
        const size_t got = ZSTD_decompressDCtx(state->zstd, out + done, out_length - done,
                                               packed + at, frame);
        if (ZSTD_isError(got))
            return -1;
        at += frame;
        done += got;
    }
    return 0;
}

int vfc_decode_plain(void *opaque, uint32_t codec, const uint8_t *packed, size_t packed_length,
                     uint8_t *out, size_t out_length)
{
    struct state *state = opaque;
    switch (codec) {
    case VFC_DEFLATE:
    case VFC_ZLIB:
        return inflate_plain(state, codec == VFC_ZLIB, packed, packed_length, out, out_length);
    case VFC_ZSTD:
        return zstd_plain(state, packed, packed_length, out, out_length);
    default:
        return -1;
    }
}

int vfc_decode(void *opaque, uint32_t codec, const uint8_t *packed, size_t packed_length,
               uint8_t *out, size_t out_length)
{
    struct state *state = opaque;
    size_t used;
    int done = 0;
    switch (codec) {
    case VFC_DEFLATE:
        done = libdeflate_deflate_decompress_ex(state->deflate, packed, packed_length, out,
                                                out_length, &used, NULL)
               == LIBDEFLATE_SUCCESS;
        break;
    case VFC_ZLIB:
        done = libdeflate_zlib_decompress_ex(state->deflate, packed, packed_length, out,
                                             out_length, &used, NULL)
               == LIBDEFLATE_SUCCESS;
        break;
    case VFC_ZSTD:
        done = zstd_frames(state, packed, packed_length, out, out_length) == 0;
        break;
    default:
        return -1;
    }
    return done ? 0 : vfc_decode_plain(opaque, codec, packed, packed_length, out, out_length);
}
