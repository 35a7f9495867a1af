/*
** value.h: values at rest in the family's memory, in blocks of their own, and copies of them.
**
** A number or a boolean is one word, which one store replaces; any other value is bytes, which
** never change, with holds on the objects in it. What precedes the value in its block is its
** owner's (dict.h, list.h).
**
** A value is read while its owner's lock is held, so it is copied, and used when that is given
** back. A copy holds the objects in it, by holds that were made before the lock was taken: in the
** lock they are tied, which takes no memory. Who finds the room too small says what it needs.
*/
#ifndef MP_ENGINE_VALUE_H
#define MP_ENGINE_VALUE_H

#include <sys/uio.h>

#include "engine/arena.h"

enum mp_value_type {
    MP_VALUE_NONE = 0,
    MP_VALUE_INTEGER,
    MP_VALUE_FLOAT,
    MP_VALUE_BOOLEAN,
    MP_VALUE_BYTES
};

/* A value to be stored: a word; or bytes in pieces, and the objects in them. */
typedef struct mp_value {
    uint32_t type;
    uint64_t word;
    const struct iovec *pieces;
    int n_pieces;
    size_t len;
    const mp_ref *objects;
    size_t n_objects;
} mp_value;

/* What begins a block with a value. */
typedef struct mp_stored {
    uint32_t type;
    uint32_t offset; /* of its bytes, from here */
    uint64_t len;
    _Atomic uint64_t word;
} mp_stored;

/* One value of a copy, with its key; the bytes of both follow. */
typedef struct mp_copied {
    uint32_t type, key_type;
    uint64_t word;
    uint64_t key_len, len;
    char bytes[];
} mp_copied;

/* Copies, one after the other. */
typedef struct mp_copies {
    char *bytes; /* the caller's, aligned as mp_copied */
    size_t size;
    size_t len;       /* what they take, or would take */
    mp_ref holder;    /* a block in hand with the holds; 0: none */
    mp_ref next_hold; /* of those that are not tied */
    size_t n_room, n_objects;
} mp_copies;

static inline mp_stored *mp_value_at(mp_ref block) {
    return mp_arena_bytes(block);
}

/*
** A block in hand with the value, behind `before` bytes that are the owner's, the mp_stored
** first. 0, or as mp_arena_alloc.
*/
int mp_value_make(size_t before, const mp_value *v, mp_ref *block);

/* Begins anew: in the lock, before the first of them is added. */
void mp_value_copies_begin(mp_copies *c);
/* Adds the value in a block, or, with block 0, a word, with its key. In the lock. */
void mp_value_copies_add(mp_copies *c, mp_ref block, const mp_value *word, uint32_t key_type,
                         const void *key, size_t key_len);
/* Whether all that was added has found room: 0, or -ENOSPC. */
int mp_value_copies_end(const mp_copies *c);

/* The holds go, and what was copied with them. */
void mp_value_copies_drop(mp_copies *c);
/* Room for as many objects as there were. 0, or as mp_arena_alloc. */
int mp_value_copies_make_holds(mp_copies *c);

/* How many bytes a copy takes. */
static inline size_t mp_value_copies_size(size_t key_len, size_t len) {
    return (sizeof(mp_copied) + key_len + len + 7) & ~(size_t)7;
}

#endif
