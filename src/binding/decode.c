/*
** decode.c: bytes to Lua values, the reader of what codec.c writes; wire.h has
** the format.
**
** Its bytes are data. What the open tables are still owed, a byte for each key
** and value, never exceeds the bytes that are left: memory is taken in
** proportion to what is there, whatever the counts say. No value, key or
** metatable gets through that codec.c would not have sent.
**
** All that was made is on the stack or in what is there, so the collector may
** run at any time.
*/
#include "binding/codec.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "binding/wire.h"

enum { MAX_VALUES = 1000000 }; /* Lua's stack holds no more */

/*
** A get function pushes what it read and returns 1; or returns 0 when the
** bytes are no message, and leaves on the stack whatever it had there.
*/
typedef struct decoder {
    lua_State *L;
    const unsigned char *at, *end;
    size_t owed;         /* bytes that open tables and the values still need: <= end - at */
    int objects;         /* stack index of the list of numbered objects, or 0 */
    int metas;           /* stack index of the list of tables and metatables, or 0 */
    mp_trailer declared; /* what there shall be */
    mp_trailer found;    /* and what there is so far */
} decoder;

/* n bytes to read, or NULL. */
static inline const unsigned char *take(decoder *d, size_t n) {
    const unsigned char *at = d->at;
    if ((size_t)(d->end - at) < n)
        return NULL;
    d->at = at + n;
    return at;
}

/* Gives the value on top its number, if there are numbers. */
static void note_object(decoder *d) {
    if (d->objects == 0)
        return;
    lua_pushvalue(d->L, -1);
    lua_rawseti(d->L, d->objects, (lua_Integer)++d->found.n_objects);
}

static int get_integer(decoder *d, int tag) {
    lua_Integer value;
    const unsigned char *at;
    if (tag < MP_TAG_NIL) {
        value = tag <= 127 ? tag : tag - MP_TAG_NIL;
    } else if (tag == MP_TAG_INT16 && (at = take(d, 2)) != NULL) {
        int16_t word;
        memcpy(&word, at, sizeof(word));
        value = word;
    } else if (tag == MP_TAG_INT32 && (at = take(d, 4)) != NULL) {
        int32_t word;
        memcpy(&word, at, sizeof(word));
        value = word;
    } else if (tag == MP_TAG_INT64 && (at = take(d, 8)) != NULL) {
        memcpy(&value, at, sizeof(value));
    } else {
        return 0;
    }
    lua_pushinteger(d->L, value);
    return 1;
}

static int get_float(decoder *d) {
    lua_Number value;
    const unsigned char *at = take(d, sizeof(value));
    if (at == NULL)
        return 0;
    memcpy(&value, at, sizeof(value));
    lua_pushnumber(d->L, value);
    return 1;
}

static int get_string(decoder *d, size_t len) {
    const unsigned char *at = take(d, len);
    if (at == NULL)
        return 0;
    lua_pushlstring(d->L, (const char *)at, len);
    return 1;
}

static int get_string16(decoder *d) {
    uint16_t len;
    const unsigned char *at = take(d, sizeof(len));
    if (at == NULL)
        return 0;
    memcpy(&len, at, sizeof(len));
    return get_string(d, len);
}

static int get_string64(decoder *d) {
    uint64_t len;
    const unsigned char *at = take(d, sizeof(len));
    if (at == NULL)
        return 0;
    memcpy(&len, at, sizeof(len));
    if (!get_string(d, len))
        return 0;
    note_object(d);
    return 1;
}

/* Pushes the numbered object that is named next. */
static int get_ref(decoder *d) {
    const unsigned char *tag = take(d, 1);
    if (d->objects == 0 || tag == NULL || !get_integer(d, *tag))
        return 0;
    uint64_t number = (uint64_t)lua_tointeger(d->L, -1);
    lua_pop(d->L, 1);
    if (number >= d->found.n_objects)
        return 0;
    lua_rawgeti(d->L, d->objects, (lua_Integer)number + 1);
    return 1;
}

static int get_defer(decoder *d) {
    if (d->objects == 0)
        return 0;
    d->found.n_items++;
    lua_newtable(d->L);
    note_object(d);
    return 1;
}

static int get_value(decoder *d, int depth);

static inline int get_owed(decoder *d, int depth) {
    d->owed--;
    return get_value(d, depth);
}

/* Into the table on top. nil is no value here, and NaN no key. */
static int get_fields(decoder *d, uint64_t n_run, uint64_t n_pairs, int depth) {
    lua_State *L = d->L;
    for (uint64_t i = 1; i <= n_run; i++) {
        if (!get_owed(d, depth + 1))
            return 0;
        lua_rawseti(L, -2, (lua_Integer)i);
    }
    while (n_pairs-- > 0) {
        int is_float = d->at < d->end && *d->at == MP_TAG_FLOAT;
        if (!get_owed(d, depth + 1))
            return 0;
        if (is_float && lua_tonumber(L, -1) != lua_tonumber(L, -1))
            return 0;
        if (!get_owed(d, depth + 1))
            return 0;
        lua_rawset(L, -3);
    }
    return 1;
}

/* The two numbers at the head of a table, with the bytes for so many still there. */
static int get_counts(decoder *d, int tag, uint64_t n[2]) {
    const unsigned char *at;
    if (tag == MP_TAG_TABLE && (at = take(d, 2)) != NULL) {
        n[0] = at[0];
        n[1] = at[1];
    } else if (tag == MP_TAG_TABLE64 && (at = take(d, 16)) != NULL) {
        memcpy(n, at, 16);
    } else {
        return 0;
    }
    size_t left = (size_t)(d->end - d->at);
    if (d->owed > left || n[0] > left - d->owed || n[1] > (left - d->owed - n[0]) / 2)
        return 0;
    d->owed += n[0] + 2 * n[1];
    return 1;
}

/* The metatable of the table on top: noted, to be set when it is whole. */
static int get_meta(decoder *d, int depth) {
    lua_State *L = d->L;
    if (d->found.n_metas == d->declared.n_metas || !get_value(d, depth + 1) || !lua_istable(L, -1))
        return 0;
    lua_Integer i = (lua_Integer)d->found.n_metas++;
    lua_rawseti(L, d->metas, 2 * i + 2);
    lua_pushvalue(L, -1);
    lua_rawseti(L, d->metas, 2 * i + 1);
    return 1;
}

static int get_error_meta(decoder *d) {
    if (luaL_getmetatable(d->L, "luamp.error") != LUA_TTABLE)
        return 0;
    lua_setmetatable(d->L, -2);
    return 1;
}

/* A table: a new one, or the contents of the one on top. */
static int get_table(decoder *d, int tag, int depth, int is_new) {
    uint64_t n[2];
    int kind = tag;
    if (kind == MP_TAG_META || kind == MP_TAG_ERROR) {
        const unsigned char *next = take(d, 1);
        tag = next == NULL ? MP_TAG_NIL : *next;
    }
    if (depth == MP_MAX_DEPTH || !get_counts(d, tag, n))
        return 0;
    mp_wire_need_stack(d->L, MP_LEVEL_SLOTS);
    if (is_new) {
        lua_createtable(d->L, (int)(n[0] < INT_MAX ? n[0] : INT_MAX),
                        (int)(n[1] < INT_MAX ? n[1] : INT_MAX));
        note_object(d);
    }
    if (!get_fields(d, n[0], n[1], depth))
        return 0;
    return kind == MP_TAG_META ? get_meta(d, depth) : kind == MP_TAG_ERROR ? get_error_meta(d) : 1;
}

static int get_value(decoder *d, int depth) {
    if (d->at == d->end)
        return 0;
    int tag = *d->at++;
    if (tag < MP_TAG_NIL)
        return get_integer(d, tag);
    if (tag >= MP_TAG_STRING)
        return get_string(d, (size_t)(tag - MP_TAG_STRING));
    switch (tag) {
    case MP_TAG_FALSE:
    case MP_TAG_TRUE:
        lua_pushboolean(d->L, tag == MP_TAG_TRUE);
        return 1;
    case MP_TAG_INT16:
    case MP_TAG_INT32:
    case MP_TAG_INT64:
        return get_integer(d, tag);
    case MP_TAG_FLOAT:
        return get_float(d);
    case MP_TAG_STRING16:
        return get_string16(d);
    case MP_TAG_STRING64:
        return get_string64(d);
    case MP_TAG_TABLE:
    case MP_TAG_TABLE64:
    case MP_TAG_META:
    case MP_TAG_ERROR:
        return get_table(d, tag, depth, 1);
    case MP_TAG_DEFER:
        return get_defer(d);
    case MP_TAG_REF:
        return get_ref(d);
    default:
        return 0;
    }
}

/* The head and the trailer. Leaves the number of values in `owed`. */
static int get_frame(decoder *d) {
    const unsigned char *at = take(d, 1);
    if (at == NULL)
        return 0;
    int head = *at;
    d->owed = head & MP_MANY;
    if (d->owed == MP_MANY) {
        if ((at = take(d, sizeof(uint64_t))) == NULL)
            return 0;
        memcpy(&d->owed, at, sizeof(uint64_t));
    }
    if (head & MP_LINKED) {
        if ((size_t)(d->end - d->at) < sizeof(mp_trailer))
            return 0;
        d->end -= sizeof(mp_trailer);
        memcpy(&d->declared, d->end, sizeof(mp_trailer));
    }
    const size_t left = (size_t)(d->end - d->at);
    const mp_trailer *t = &d->declared;
    return d->owed <= left && d->owed <= MAX_VALUES && t->n_objects <= left && t->n_items <= left &&
           t->n_metas <= left / 4;
}

static int push_list(lua_State *L, uint64_t n) {
    if (n == 0)
        return 0;
    lua_createtable(L, n < INT_MAX ? (int)n : INT_MAX, 0);
    return lua_gettop(L);
}

static int get_values(decoder *d) {
    mp_wire_need_stack(d->L, (int)d->owed + MP_LEVEL_SLOTS);
    while (d->owed > 0) {
        if (d->at < d->end && *d->at == MP_TAG_NIL) {
            d->at++;
            d->owed--;
            lua_pushnil(d->L);
        } else if (!get_owed(d, 0)) {
            return 0;
        }
    }
    return 1;
}

static int get_items(decoder *d) {
    for (uint64_t i = 0; i < d->declared.n_items; i++) {
        const unsigned char *tag;
        if (!get_ref(d) || !lua_istable(d->L, -1) || (tag = take(d, 1)) == NULL ||
            !get_table(d, *tag, 0, 0))
            return 0;
        lua_pop(d->L, 1);
    }
    return 1;
}

/* Has the table on top the field? Its metatable is not asked. */
static int has_field(lua_State *L, const char *name) {
    lua_pushstring(L, name);
    int has = lua_rawget(L, -2) != LUA_TNIL;
    lua_pop(L, 1);
    return has;
}

/* Sets the metatables, now that they are whole: none may have a finalizer. */
static int set_metas(decoder *d) {
    lua_State *L = d->L;
    const void *checked = NULL;
    for (lua_Integer i = 0; i < (lua_Integer)d->found.n_metas; i++) {
        lua_rawgeti(L, d->metas, 2 * i + 1);
        lua_rawgeti(L, d->metas, 2 * i + 2);
        if (lua_topointer(L, -1) != checked) {
            if (has_field(L, "__gc") || has_field(L, "__close"))
                return 0;
            checked = lua_topointer(L, -1);
        }
        lua_setmetatable(L, -2);
        lua_pop(L, 1);
    }
    return 1;
}

static int get_message(decoder *d) {
    return get_values(d) && get_items(d) && d->at == d->end &&
           memcmp(&d->found, &d->declared, sizeof(mp_trailer)) == 0 && set_metas(d);
}

int mp_codec_decode(lua_State *L, const char *bytes, size_t len) {
    const unsigned char *at = (const unsigned char *)bytes;
    decoder d = {.L = L, .at = at, .end = at + len};
    const int top = lua_gettop(L);
    if (!get_frame(&d))
        return -EBADMSG;
    mp_wire_need_stack(L, MP_LEVEL_SLOTS);
    const int n = (int)d.owed;
    d.objects = push_list(L, d.declared.n_objects);
    d.metas = push_list(L, 2 * d.declared.n_metas);
    const int lists = lua_gettop(L) - top;
    if (!get_message(&d)) {
        lua_settop(L, top);
        return -EBADMSG;
    }
    if (lists > 0) {
        lua_rotate(L, top + 1, n);
        lua_settop(L, top + n);
    }
    return n;
}
