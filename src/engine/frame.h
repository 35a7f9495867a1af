/*
** frame.h: bytes that come without proof of where they come from.
**
** What the family does not control may be damaged, or be something else. So it comes in a
** frame: a head, and behind it the payload, which is whatever the writer put there.
**
**   head  u64 magic "luampfrm", u32 checksum, u32 version of the format, u64 length of the
**         payload; words are little endian
**
** Promise: a frame is checked whole before anything of it is used, and one that was changed is
** refused
**   - always, if the changed bits lie within 32 in a row (so after each change of one bit);
**   - always, if bytes are missing at its end, or there are more;
**   - else with a probability of 1 - 2^-32: by accident, that is. A checksum is no signature, so
**     a reader takes nothing for granted in the payload of a sound frame.
**
** The checksum is CRC-32C (Castagnoli 1993; RFC 3720, appendix B.4, has examples) of the
** head with 0 in its place, and the payload: the remainder of these bits, as a polynomial, on
** division by 0x1edc6f41 + x^32. That has the terms x^32 and 1, so it divides no polynomial of
** fewer than 33 bits, times any power of x: such a change has another checksum. One that lies
** across the edge of the checksum itself reaches into the magic or the version, and they are
** compared.
*/
#ifndef MP_ENGINE_FRAME_H
#define MP_ENGINE_FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

typedef struct mp_frame_head {
    uint64_t magic;
    uint32_t checksum, version;
    uint64_t len;
} mp_frame_head;

/* The head of the frame that has these pieces for its payload. */
mp_frame_head mp_frame_make(const struct iovec *pieces, int n);

/*
** Checks the frame in *bytes, and leaves there and in *len what is its payload. Returns NULL, or
** in words what is wrong with it.
*/
const char *mp_frame_open(const char **bytes, size_t *len);

#endif
