/* Declarations only, without a preprocessor line: codecs.c includes this file, and cffi reads it. */

/* The numbers of enum Codec in vhdfast/extents.py, and of vf_extent.codec. */
enum {
    VFC_DEFLATE = 1, /* RFC 1951 */
    VFC_ZLIB = 2,    /* RFC 1950 */
    VFC_ZSTD = 3     /* RFC 8878: one frame or several */
};

/* What one thread needs to decode; NULL where memory is short. */
void *vfc_create(void);
void vfc_destroy(void *state);

/* struct vf_decoder.decode with the quick libraries: 0 where packed begins with a stream of at least
 * out_length bytes. */
int vfc_decode(void *state, uint32_t codec, const uint8_t *packed, size_t packed_length,
               uint8_t *out, size_t out_length);

/* The same by other code: zlib's inflate, and the streaming interface of libzstd. What --verify
 * reads with. It refuses some streams that RFC 1951 forbids and libdeflate takes. */
int vfc_decode_plain(void *state, uint32_t codec, const uint8_t *packed, size_t packed_length,
                     uint8_t *out, size_t out_length);
