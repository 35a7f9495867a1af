/*
** wire.h: the bytes of a message, for its writer codec.c and its reader
** decode.c.
**
**   message  head section... value... item... [trailer]
**   head     a byte: the number of values, or MANY and then that number as
**            a u64; with the bit LINKED when there is a trailer
**   section  SEND, the number of arguments (as an integer is written), a
**            function, its arguments, item..., SENT; numbered. What the function
**            returns is an object of the message: one with a hook __mp_send
**   value    a tag, which may hold a small integer or a short length, and
**            what the list of tags says
**   item     the number of a deferred object (as an integer is written), then
**            that table like a value, or that function's upvalues; or GLOBAL, a
**            name and the value that it has unless the receiver has another
**   trailer  the numbers of objects, items and METAs, for which the reader
**            makes lists in the right size. With no REF and no DEFER the first
**            is 0: trees are read without a list
**
** A table is: n_run and n_pairs; the values of the keys 1, 2, ... n_run; then
** key, value, key, value. Tables and long strings are numbered 0, 1, ... in
** the order in which they begin, and one that comes again is a REF.
**
** So are functions, their code (which comes again as a REF, too) and each of
** their upvalues: a new one is its value, one that a function before shares is
** UPVALUE with its number. NAMED stands for an object that the receiver has
** itself; names.h says how it is called. Code that the receiver was taught before is
** KNOWN, by where that has it (engine/store.h). A Lua function that the receiver may not have
** is EITHER its name or, if nothing of that name is loaded there, its value. Both are
** numbered; the first number is what a REF to the function has.
**
** A section is read as a whole, its items, metatables and globals with it, before
** its function is called; so the sections stand in an order in which each has
** what it needs from others before it.
**
** A message from outside the family may have none of these. It comes in a frame
** (engine/frame.h), which is checked whole before.
**
** Tables and functions lie at most MP_MAX_DEPTH deep in one another, so that both sides may
** recurse. One below that is written as DEFER (the reader makes it empty),
** and what it holds comes after the values, in an item of its own.
**
** Words are in native order, which is little endian.
*/
#ifndef MP_BINDING_WIRE_H
#define MP_BINDING_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "binding/lib.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "messages are little endian");
_Static_assert(sizeof(lua_Integer) == 8 && sizeof(lua_Number) == 8, "numbers have 64 bits");
_Static_assert(sizeof(size_t) == 8, "lengths have 64 bits");

enum {
    MP_MANY = 0x7f,
    MP_LINKED = 0x80,
    MP_MAX_DEPTH = 100,
};

enum mp_tag {
    /* 0x00 to 0x7f: the integers 0 to 127; to 0x9f: -32 to -1 */
    MP_TAG_NIL = 0xa0, /* only as a value of the message itself, an argument or an upvalue */
    MP_TAG_FALSE,
    MP_TAG_TRUE,
    MP_TAG_INT16,
    MP_TAG_INT32,
    MP_TAG_INT64,
    MP_TAG_FLOAT,
    MP_TAG_STRING16,      /* u16 length, bytes */
    MP_TAG_STRING64,      /* u64 length, bytes; numbered */
    MP_TAG_TABLE,         /* u8 n_run, u8 n_pairs, run, pairs; numbered */
    MP_TAG_TABLE64,       /* u64 n_run, u64 n_pairs, run, pairs; numbered */
    MP_TAG_META,          /* a table as above, then its metatable: a table, REF or DEFER */
    MP_TAG_ERROR,         /* a table as above, which is an error object of luamp */
    MP_TAG_DEFER,         /* a table whose contents come later; numbered */
    MP_TAG_REF,           /* the number (as an integer is written) of an object before */
    MP_TAG_NAMED,         /* a name, as a string; numbered */
    MP_TAG_FUNCTION,      /* u8 n_upvalues, code, upvalues; numbered */
    MP_TAG_LATER,         /* u8 n_upvalues, code: a function whose upvalues come later; numbered */
    MP_TAG_CODE,          /* u32 length, bytes; numbered */
    MP_TAG_UPVALUE,       /* the number of an upvalue before */
    MP_TAG_GLOBAL,        /* in place of an item: a name and a value */
    MP_TAG_SEND,          /* begins a section */
    MP_TAG_SENT,          /* ends it */
    MP_TAG_EITHER,        /* a name, as a string, then FUNCTION or LATER; numbered */
    MP_TAG_KNOWN,         /* u32 place, u64 hash: in place of CODE; numbered */
    MP_TAG_SHARED,        /* u64 place in the arena of an object that the family shares; numbered */
    MP_TAG_STRING = 0xc0, /* to 0xff: strings of 0 to 63 bytes */
    MP_SHORT = 0xff - MP_TAG_STRING,
};

typedef struct mp_trailer {
    uint64_t n_objects, n_items, n_metas;
} mp_trailer;

/*
** Slots of Lua's stack that a level of tables takes on either side: the
** table, a key, a value, and some for the calls made with them and for errors.
*/
#define MP_LEVEL_SLOTS 10

/* Room for n more slots on the stack, or raises "not enough memory". */
void mp_wire_need_stack(lua_State *L, int n);

/* Writes a tag and n bytes; an integer. Returns how many bytes that is. */
size_t mp_wire_word(unsigned char *to, int tag, const void *bytes, size_t n);
size_t mp_wire_integer(unsigned char *to, lua_Integer value);

/*
** Calls the function of a section below its n arguments on top, and leaves what it returns.
** Raises in words what it raised, or that it was nil; an interruption and "not enough
** memory" as they are.
*/
void mp_wire_call(lua_State *L, int n);

#endif
