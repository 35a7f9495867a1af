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
    size_t len;              /* bytes in all pieces together */
    const uint64_t *objects; /* shared ones that are in it, by their places in the arena */
    size_t n_objects;
    int is_plain; /* the receiver needs nothing for it but memory: no names, functions and handles
                   */
} mp_message;

/*
** Encodes the n values from stack index `first` on. Returns 1 and fills
** *message, or returns 0 with the first value that cannot be sent pushed on
** the stack. Values are not changed, and no metamethod runs but __mp_send: where
** there are such hooks, they are called before anything is encoded. Raises "not
** enough memory", and an interruption that a hook was ended by.
*/
int mp_codec_encode(lua_State *L, int first, int n, mp_message *message);

/* Pushes a message that was encoded just now as one string. */
void mp_codec_push(lua_State *L, const mp_message *message);

/*
** The message of one value at `index`, if that is a scalar (no string of more than 63 bytes),
** which needs no encoder: writes it to `bytes` and returns its length; else 0.
*/
enum { MP_CODEC_SCALAR = 2 + 63 };
size_t mp_codec_scalar(lua_State *L, int index, unsigned char bytes[static MP_CODEC_SCALAR]);

/* The first byte of a message has the number of its values there, if that is small. */
enum { MP_CODEC_COUNT = 0x7f };

/*
** Pushes the value of such a message if that is a number or a boolean, which takes no memory and
** cannot fail: whether it is one.
*/
int mp_codec_plain(lua_State *L, const char *bytes, size_t len);

/* The same as mp_codec_encode for a receiver with a fresh interpreter, that has nothing but what it
 * can require. */
int mp_codec_encode_fresh(lua_State *L, int first, int n, mp_message *message);

/* And for one that this process's forkserver makes: it refers to code that is in the store of
 * that (engine/store.h) now, so that it goes there once. */
int mp_codec_encode_server(lua_State *L, int first, int n, mp_message *message);

/*
** Decodes a message and pushes its values. Returns their number, or -EBADMSG
** when the bytes are not a message, with nothing pushed.
**
** `is_ours` says that the family has written the bytes, by what no other can write to:
** then they may hold code, names for which a module is loaded, and functions that are
** called. Bytes without that proof are a frame (engine/frame.h) with a message: it is checked
** whole before the first of them is decoded, and then they are data, and nothing in them is run.
**
** Raises for memory, an interruption, and an error in words for a frame that is not sound, a name
** that leads to nothing here or a function that fails.
*/
int mp_codec_decode(lua_State *L, const char *bytes, size_t len, int is_ours);

/*
** A short text of the values in a message of the family, from the one numbered `from` on, goes
** into `to`, which has that room, and gets a 0. It is made from the bytes alone: nothing is
** decoded, and nothing can fail.
*/
void mp_codec_glimpse(const char *bytes, size_t len, uint64_t from, char *to, size_t room);

/* Whether the stack has room for n values more. Raises "not enough memory" if it is that. */
int mp_codec_has_room(lua_State *L, int n);

/* Puts the codec's Lua functions into the table on top, luamp.core. */
void mp_codec_open(lua_State *L);

#endif
