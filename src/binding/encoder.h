/*
** encoder.h: a message while it is written, for the parts of the codec that
** write: encoder.c has its memory, codec.c walks the values, functions.c writes
** functions. wire.h has the format.
**
** Encoding runs no Lua code: no metamethod, and no call that steps the
** collector, so no finalizer changes a table under the walk, or encodes.
*/
#ifndef MP_BINDING_ENCODER_H
#define MP_BINDING_ENCODER_H

#include <string.h>
#include <sys/uio.h>

#include "binding/names.h"
#include "binding/wire.h"

/*
** The encoder: all memory that encoding takes, one userdata in the registry.
** A message that begins sets anew all but the memory, which is whole at every
** moment: an encode that raised leaves nothing to mend.
**
** `slots` finds the number of an object by its address: open addressing, at
** most half full. A slot is in use when its serial number is not below
** `base`; the next message has a higher base, so nothing needs clearing.
**
** In `pieces`, one of the buffer and one of a string alternate. Until the
** message is finished, a piece of the buffer has only its end, in iov_len.
*/
typedef struct mp_slot {
    const void *object;
    uint64_t serial;
} mp_slot;

/* A set of numbers up to 255: of upvalues, of which a function has no more, and of constants. */
typedef struct mp_bits {
    uint64_t words[4];
} mp_bits;

static inline void mp_bits_add(mp_bits *b, unsigned i) {
    b->words[i / 64] |= (uint64_t)1 << i % 64;
}

static inline int mp_bits_has(const mp_bits *b, unsigned i) {
    return (int)(b->words[i / 64] >> i % 64 & 1);
}

static inline int mp_bits_any(const mp_bits *b) {
    return (b->words[0] | b->words[1] | b->words[2] | b->words[3]) != 0;
}

/* Code that is in the message, at its offset in the buffer. */
typedef struct mp_code {
    uint64_t hash, serial;
    mp_bits env; /* the upvalues that are the global environment */
    size_t at, len;
} mp_code;

/* The name of a global that code uses, at its offset in the buffer; len is 0 in a free place. */
typedef struct mp_used {
    size_t at, len;
} mp_used;

typedef struct mp_encoder {
    lua_State *L;
    int self; /* stack index of this userdata */
    unsigned char *bytes;
    size_t len, size;
    struct iovec *pieces;
    size_t n_pieces, size_pieces;
    mp_slot *slots;
    size_t n_slots;        /* a power of two, or 0 */
    uint64_t base, serial; /* this message gave out the serials [base, serial) */
    mp_code *codes;
    size_t n_codes, size_codes;
    lua_Integer n_deferred; /* in the list of deferred objects */
    lua_Integer n_items;    /* of them whose contents are written */
    size_t n_searched;      /* codes whose globals are written */
    mp_used *used;          /* globals of codes: open addressing, at most half full */
    size_t n_used, size_used;
    uint64_t *objects; /* that the family shares, and that are in the message */
    size_t n_objects, size_objects;
    int is_plain; /* so far: see mp_message */
    uint64_t n_refs, n_metas, n_globals;
    const void *environment; /* the global one */
    unsigned get_global;     /* the instruction by which code reads a global */
    const void *error_meta;  /* the metatable of error objects, once asked for */
    mp_names *names;
    int names_are_current; /* whether that was looked at, for this message */
    int is_stale;          /* they are not: the message begins anew with others */
    int is_fresh;          /* the receiver has a fresh interpreter */
    int is_hooked;         /* a hook __mp_send is to be called first: then it begins anew */
    int is_unsought;       /* modules are to be looked for first: then it begins anew */
    int is_sought;         /* that was done, for this message */
    int owner;             /* stack index of what may be left out and is written; or 0 */
    char *flat;            /* a message that is pushed as one string */
} mp_encoder;

/*
** Below the encoder on the stack stand, while it encodes, what hooks gave (sending.c), or nil;
** and below that the set of what is left out of the message, or nil: globals, by their names,
** and the values of functions that go by name, too.
*/
static inline int mp_encoder_record(const mp_encoder *e) {
    return e->self - 1;
}

static inline int mp_encoder_left_out(const mp_encoder *e) {
    return e->self - 2;
}

/* The user values of the encoder: three names, the list of deferred objects, the index of
 * objects by name, and what hooks gave for the last message that was refused, or nil. The list
 * has two entries for each object: itself and its owner, or false. */
enum {
    MP_ENCODER_GC = 1,
    MP_ENCODER_CLOSE,
    MP_ENCODER_SEND,
    MP_ENCODER_DEFERRED,
    MP_ENCODER_NAMES,
    MP_ENCODER_REFUSED,
};

enum { MP_BIG = 32 * 1024 }; /* strings from here on are not copied */

/* Raises "not enough memory". */
int mp_raise_memory(lua_State *L);

/* Pushes the state's encoder. */
mp_encoder *mp_encoder_push(lua_State *L);

/* Pushes the encoder, ready for a message. What collects, does so in here. */
mp_encoder *mp_encoder_begin(lua_State *L);

/*
** After a message, also a refused one. Its bytes stay for the caller. A list
** of deferred objects would keep them alive: it goes, the next message brings
** another.
*/
void mp_encoder_end(mp_encoder *e);

/* Is the object in the message already? Then *number is its number; else it gets the next. */
int mp_encoder_knows(mp_encoder *e, const void *object, uint64_t *number);

/* Makes room for n more bytes. */
void mp_encoder_grow(mp_encoder *e, size_t n);

/* A shared object is in the message. */
void mp_encoder_shares(mp_encoder *e, uint64_t object);

/* The next piece of the message: a string that is not copied, or NULL. */
void mp_encoder_piece(mp_encoder *e, const char *s, size_t len);

/* `more` bytes come in at the offset `at`: what follows moves up. */
void mp_encoder_insert(mp_encoder *e, size_t at, size_t more);

/* The contents of the object at `index` come later. */
void mp_encoder_defer(mp_encoder *e, int index);

/* Whether what is at `index` is left out of the message, because it cannot be sent. */
int mp_encoder_leaves_out(const mp_encoder *e, int index);

/* The end of the buffer, where n more bytes have room. */
static inline unsigned char *mp_encoder_room(mp_encoder *e, size_t n) {
    if (e->size - e->len < n)
        mp_encoder_grow(e, n);
    return e->bytes + e->len;
}

static inline void mp_put_byte(mp_encoder *e, int byte) {
    *mp_encoder_room(e, 1) = (unsigned char)byte;
    e->len++;
}

/* A tag and the n low bytes of a word. */
static inline void mp_put_word(mp_encoder *e, int tag, const void *word, size_t n) {
    unsigned char *to = mp_encoder_room(e, 1 + n);
    *to = (unsigned char)tag;
    memcpy(to + 1, word, n);
    e->len += 1 + n;
}

void mp_put_integer(mp_encoder *e, lua_Integer value);

/* MP_TAG_REF, or another tag that a number follows. */
void mp_put_ref(mp_encoder *e, int tag, uint64_t number);

/* Writes a value. Returns 1, or 0 with one that cannot be sent on top of the stack. */
int mp_put_value(mp_encoder *e, int index, int depth);

/*
** For this process's forkserver: in place of code that it is to know (engine/store.h) comes where
** it has that.
*/
void mp_put_known(mp_encoder *e);

/* Writes the Lua function at `index`, which is numbered already. Returns as mp_put_value. */
int mp_put_function(mp_encoder *e, int index, int depth);

/*
** The globals that code from the index `from` on uses, up to that before `upto`, and that not
** every receiver has. Returns as mp_put_value; a global's value has that for its owner.
*/
int mp_put_globals(mp_encoder *e, size_t from, size_t upto);

/*
** The objects of hooks that are prepared, of the record below the encoder on the stack,
** each as a section. Returns as mp_put_value.
*/
int mp_put_sections(mp_encoder *e);

/* The items that are due: what was deferred, and globals. Returns as mp_put_value. */
int mp_put_items(mp_encoder *e);

/*
** Calls the hooks among the n values from `first` on. The record on top of the stack, or nil,
** has what hooks of this message gave before; it is replaced. Returns 0 when one failed.
*/
int mp_prepare_hooks(lua_State *L, int first, int n, int for_fresh);

/* hook_of(object): its hook, or nil. */
int mp_hook_of(lua_State *L);

/* refused_hooks(): the record of the last refused message, once; or nil. */
int mp_refused_hooks(lua_State *L);

/* globals_of(f): a list of the names of the globals that are to go with the Lua function. */
int mp_globals_of(lua_State *L);

/* names_used(f): the names that its code looks up as globals, each behind its length, 4 bytes. */
int mp_names_used(lua_State *L);

/* The number of the instruction that reads a global, as this Lua's compiler has it. */
unsigned mp_globals_instruction(lua_State *L);

/* The upvalues of a deferred function, on top of the stack. Returns as mp_put_value. */
int mp_put_upvalues(mp_encoder *e, int index, int depth);

#endif
