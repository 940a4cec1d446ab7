/* The native core of vhdfast: it touches the bytes of the disk and decides nothing.
 *
 * Plain C11. Nothing here allocates, prints, exits, calls back or keeps state, except the CPU's
 * feature bits, which are read once. Every function may be called from any number of threads at
 * once. The caller owns every buffer and every file descriptor.
 *
 * Functions return a vf_status; results go through ret_* parameters, which are untouched on
 * failure unless said otherwise; details of a failure go to *reterr.
 */
#ifndef VHDFAST_H
#define VHDFAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vf_decl.h"

/* The unit in which zeros are looked for and holes are left. A power of two. */
#define VF_GRANULE ((size_t)4096)

_Static_assert(sizeof(struct vf_extent) == 40, "mirrored by vhdfast.extents.EXTENT");

#endif
