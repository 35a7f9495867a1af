/*
** values.h: values of Lua in structures that keep them (dicts, caches, lists), for the faces of
** these. The subject of values.c.
**
** A value is encoded before anything is locked, and a copy decoded after everything is unlocked.
*/
#ifndef MP_BINDING_VALUES_H
#define MP_BINDING_VALUES_H

#include "binding/codec.h"
#include "binding/shared.h"
#include "engine/dict.h"

/* A value that is to be stored: good until the next call that may collect garbage. */
typedef struct mp_given {
    mp_value value;
    mp_message message;
    struct iovec piece;
    unsigned char scalar[MP_CODEC_SCALAR];
} mp_given;

/* Encodes the value at `index`; nil has the type MP_VALUE_NONE. Raises "unsendable" and for memory.
 */
void mp_values_give(lua_State *L, int index, mp_given *given);

/* Room for copies: on the C stack at first. */
typedef struct mp_room {
    mp_copies copies;
    _Alignas(8) char bytes[1024];
} mp_room;

void mp_values_open_room(mp_room *room);
/* After -ENOSPC: room for what there was, as a userdata on the stack. Raises for memory. */
void mp_values_make_room(lua_State *L, mp_room *room, const char *where);

/* Pushes the one value that was copied; closes the room, whatever happens. Raises in words. */
void mp_values_push(lua_State *L, mp_room *room, const char *where);
/*
** Pushes a table of all that were copied: by their keys, or, of values without keys, as a
** list; of keys alone a list of them.
*/
void mp_values_push_all(lua_State *L, mp_room *room, int keys_only, const char *where);
/* Pushes the value of an entry in hand, which is freed, whatever happens. */
void mp_values_take(lua_State *L, mp_ref block, const char *where);
void mp_values_push_word(lua_State *L, const mp_value *v);

/* How long the engine is to wait; and whether a call that returned rc is to be done again. */
mp_time mp_values_deadline(void);
int mp_values_goes_on(lua_State *L, int rc);

#endif
