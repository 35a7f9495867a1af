/*
** codec.h: Lua values to bytes and back. The subject of codec.c; other faces
** use it through these calls.
*/
#ifndef MP_BINDING_CODEC_H
#define MP_BINDING_CODEC_H

#include <stddef.h>

#include <sys/uio.h>

#include "binding/lib.h"

/*
** An encoded message: pieces to be written one after the other. They point
** into the encoder's buffer and into long strings of the values themselves, so
** they hold until the next call that may collect garbage.
*/
typedef struct mp_message {
    const struct iovec *pieces;
    int n_pieces;
    size_t len; /* bytes in all pieces together */
} mp_message;

/*
** Encodes the n values from stack index `first` on. Returns 1 and fills
** *message, or returns 0 with the first value that cannot be sent pushed on
** the stack. Raises only "not enough memory". Values are not changed, no
** metamethod runs.
*/
int mp_codec_encode(lua_State *L, int first, int n, mp_message *message);

/*
** Decodes a message and pushes its values. Returns their number, or -EBADMSG
** when the bytes are not a message, with nothing pushed. Raises only for
** memory. The bytes are data: nothing in them is run.
*/
int mp_codec_decode(lua_State *L, const char *bytes, size_t len);

/* Pushes the table of the codec's Lua functions, a part of luamp.core. */
int mp_codec_open(lua_State *L);

#endif
