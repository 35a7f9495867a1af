/*
** decoder.h: a message while it is read, for the parts of the codec that read: decode.c
** goes through it, decode_functions.c has what only messages of the family hold: names,
** and functions. wire.h has the format.
**
** The value of a function that has come by its name is spare: it is read, because others may
** share what is in it, but a name in it that leads to nothing here is no failure, as long as
** nothing else refers to what is spare.
*/
#ifndef MP_BINDING_DECODER_H
#define MP_BINDING_DECODER_H

#include "binding/wire.h"

/*
** A get function pushes what it read and returns 1; or returns 0 when the
** bytes are no message, and leaves on the stack whatever it had there.
*/
typedef struct decoder {
    lua_State *L;
    const unsigned char *at, *end;
    size_t owed;         /* bytes that open tables, a section and the values need: <= end - at */
    int objects;         /* stack index of the list of numbered objects, or 0 */
    int metas;           /* stack index of the list of tables and metatables, or 0 */
    int globals;         /* stack index of the table of globals, or 0 */
    mp_trailer declared; /* what there shall be */
    mp_trailer found;    /* and what there is so far */
    uint64_t n_items;    /* items that were read */
    uint64_t n_set;      /* metatables that were set */
    int is_ours;         /* whether the family has written it */
    int is_spare;        /* what is read now is */
    int has_spare;       /* some objects are: those in the list have true at minus their numbers */
    int is_needed;       /* and something else refers to one of them */
} decoder;

/* n bytes to read, or NULL. */
static inline const unsigned char *take(decoder *d, size_t n) {
    const unsigned char *at = d->at;
    if ((size_t)(d->end - at) < n)
        return NULL;
    d->at = at + n;
    return at;
}

/* The object that comes next is spare. */
void mp_note_spare(decoder *d);

/* Gives the value on top its number, if there are numbers. */
static inline void note_object(decoder *d) {
    if (d->objects == 0)
        return;
    if (d->is_spare)
        mp_note_spare(d);
    lua_pushvalue(d->L, -1);
    lua_rawseti(d->L, d->objects, (lua_Integer)++d->found.n_objects);
}

/* Whether the object of that number is spare. */
int mp_is_spare(decoder *d, uint64_t number);

/* The object is referred to by what is not spare. If it is itself, nothing may be missing. */
void mp_use_object(decoder *d, uint64_t number);

/* A name, as a string. */
int mp_get_name(decoder *d);

/* The numbered object whose number comes next; *number is that. */
int mp_get_numbered(decoder *d, uint64_t *number);

/* The same for what refers to the object. */
int mp_get_ref(decoder *d);

int mp_get_value(decoder *d, int depth);

/* --- in messages of the family -------------------------------------------- */

int mp_get_named(decoder *d);

/* The handle of an object that the family shares. */
int mp_get_shared(decoder *d);

/* After its tag. `is_either`: the number before is its own, too, for there is nothing by a name. */
int mp_get_function(decoder *d, int tag, int depth, int is_either);

int mp_get_either(decoder *d, int depth);

/* Into the function on top, whose number is known. */
int mp_get_upvalues(decoder *d, uint64_t number, int depth);

#endif
