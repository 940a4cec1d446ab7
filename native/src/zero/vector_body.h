/* The one body of all vector kernels. A kernel's file defines
 *
 *   KERNEL, TARGET   its name, and the attribute that lets the compiler use its instructions
 *   VECTOR           the vector type
 *   LOAD(address)    a vector from any address
 *   OR(a, b)
 *   NON_ZERO(v)      whether any bit is set
 *
 * and includes this file. It is text instead of an inline function because a function inlined
 * into another must have the same target attribute.
 */
#define WIDTH sizeof(VECTOR)

/* CPUs stop prefetching at the end of a page, which is also the end of a granule: without help
 * every granule that comes from memory begins with a wait, and the narrower the vectors the longer
 * it shows. Less than a page ahead helps narrow vectors too little, two pages or more begin to cost
 * where the data is in the cache (bench/zero_ratio.py, compared in alternation). */
#define AHEAD 6144
#define CACHE_LINE 64

TARGET bool KERNEL(const uint8_t *bytes, size_t length)
{
    if (length < WIDTH)
        return vf_zero_scalar(bytes, length);
    const uint8_t *const end = bytes + length;

    /* Data mostly shows in the first bytes; this also covers what lies before the first aligned
     * address. Where bytes is aligned its first vector is read twice: it is in the first-level
     * cache by then, and a granule stays a whole number of blocks. */
    if (NON_ZERO(LOAD(bytes)))
        return false;
    const uint8_t *at = bytes + (-(uintptr_t)bytes & (WIDTH - 1));

    /* One test and one branch for eight loads: fewer loads waste time on tests, more of them read
     * too much of a granule whose data begins late. A tree, so that no OR waits for the last. */
    for (; (size_t)(end - at) >= 8 * WIDTH; at += 8 * WIDTH) {
        /* As a number, because a pointer may not even be computed past its object. */
        for (size_t line = 0; line < 8 * WIDTH; line += CACHE_LINE)
            __builtin_prefetch((const void *)((uintptr_t)at + AHEAD + line));
        const VECTOR a = OR(LOAD(at), LOAD(at + WIDTH));
        const VECTOR b = OR(LOAD(at + 2 * WIDTH), LOAD(at + 3 * WIDTH));
        const VECTOR c = OR(LOAD(at + 4 * WIDTH), LOAD(at + 5 * WIDTH));
        const VECTOR d = OR(LOAD(at + 6 * WIDTH), LOAD(at + 7 * WIDTH));
        if (NON_ZERO(OR(OR(a, b), OR(c, d))))
            return false;
    }

    /* The last vector may overlap what was seen; it never passes the end. */
    VECTOR rest = LOAD(end - WIDTH);
    for (; (size_t)(end - at) > WIDTH; at += WIDTH)
        rest = OR(rest, LOAD(at));
    return !NON_ZERO(rest);
}
