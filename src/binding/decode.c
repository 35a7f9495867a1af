/*
** decode.c: bytes to Lua values, the reader of what codec.c writes; wire.h has
** the format. Functions and names are read by decode_functions.c.
**
** Its bytes are data. What the open tables are still owed, a byte for each key
** and value, never exceeds the bytes that are left: memory is taken in
** proportion to what is there, whatever the counts say. No value, key or
** metatable gets through that codec.c would not have sent.
**
** All that was made is on the stack or in what is there, so the collector may
** run at any time; and so may the functions of sections, which a message of the
** family has before its values.
*/
#include "binding/codec.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "binding/decoder.h"
#include "engine/frame.h"

enum { MAX_VALUES = 1000000 }; /* Lua's stack holds no more */

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

int mp_get_name(decoder *d) {
    const unsigned char *tag = take(d, 1);
    return tag != NULL && (*tag >= MP_TAG_STRING ? get_string(d, (size_t)(*tag - MP_TAG_STRING))
                                                 : *tag == MP_TAG_STRING16 && get_string16(d));
}

int mp_get_numbered(decoder *d, uint64_t *number) {
    const unsigned char *tag = take(d, 1);
    if (d->objects == 0 || tag == NULL || !get_integer(d, *tag))
        return 0;
    *number = (uint64_t)lua_tointeger(d->L, -1);
    lua_pop(d->L, 1);
    if (*number >= d->found.n_objects)
        return 0;
    lua_rawgeti(d->L, d->objects, (lua_Integer)*number + 1);
    return 1;
}

int mp_get_ref(decoder *d) {
    uint64_t number;
    if (!mp_get_numbered(d, &number))
        return 0;
    if (d->has_spare && !d->is_spare)
        mp_use_object(d, number);
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

/* --- tables --------------------------------------------------------------- */

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
    if (d->found.n_metas == d->declared.n_metas || !get_value(d, depth + 1))
        return 0;
    if (!lua_istable(L, -1)) { /* but what a section gave, or a name that leads to nothing */
        if (!d->is_spare)
            return d->is_ours &&
                   luaL_error(L, "__mp_send of a metatable made a %s", luaL_typename(L, -1));
        lua_pop(L, 1);
        lua_pushnil(L);
    }
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

/* What is written by a tag up to that of long strings. */
static int get_scalar(decoder *d, int tag) {
    switch (tag) {
    case MP_TAG_FALSE:
    case MP_TAG_TRUE:
        lua_pushboolean(d->L, tag == MP_TAG_TRUE);
        return 1;
    case MP_TAG_FLOAT:
        return get_float(d);
    case MP_TAG_STRING16:
        return get_string16(d);
    case MP_TAG_STRING64:
        return get_string64(d);
    default:
        return get_integer(d, tag);
    }
}

static int get_value(decoder *d, int depth) {
    if (d->at == d->end)
        return 0;
    int tag = *d->at++;
    if (tag >= MP_TAG_STRING)
        return get_string(d, (size_t)(tag - MP_TAG_STRING));
    if (tag <= MP_TAG_STRING64)
        return get_scalar(d, tag);
    switch (tag) {
    case MP_TAG_TABLE:
    case MP_TAG_TABLE64:
    case MP_TAG_META:
    case MP_TAG_ERROR:
        return get_table(d, tag, depth, 1);
    case MP_TAG_DEFER:
        return get_defer(d);
    case MP_TAG_REF:
        return mp_get_ref(d);
    case MP_TAG_SHARED:
        return d->is_ours && mp_get_shared(d);
    case MP_TAG_NAMED:
        return d->is_ours && mp_get_named(d);
    case MP_TAG_FUNCTION:
    case MP_TAG_LATER:
        return d->is_ours && depth <= MP_MAX_DEPTH && mp_get_function(d, tag, depth, 0);
    case MP_TAG_EITHER:
        return d->is_ours && depth <= MP_MAX_DEPTH && mp_get_either(d, depth);
    default:
        return 0;
    }
}

int mp_get_value(decoder *d, int depth) {
    return get_value(d, depth);
}

/* The head and the trailer. Leaves the number of values in `owed`. */
static int get_head(decoder *d) {
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

/* The next n values that are owed, nil among them. */
static int get_list(decoder *d, size_t n) {
    if (!mp_codec_has_room(d->L, (int)n + MP_LEVEL_SLOTS))
        luaL_error(d->L, "%d values are too many for Lua's stack", (int)n);
    while (n-- > 0) {
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

/* A global's name and value, to be set when all is whole, or its section. */
static int get_global(decoder *d) {
    lua_State *L = d->L;
    d->at++;
    d->found.n_items++;
    mp_wire_need_stack(L, MP_LEVEL_SLOTS);
    if (!get_value(d, 0) || lua_type(L, -1) != LUA_TSTRING || !get_value(d, 0))
        return 0;
    lua_rawset(L, d->globals);
    lua_pushnil(L); /* in place of an object */
    return 1;
}

/* Sets those that are not there, once. */
static void set_globals(decoder *d) {
    lua_State *L = d->L;
    if (d->globals == 0)
        return;
    lua_pushglobaltable(L);
    for (lua_pushnil(L); lua_next(L, d->globals); lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        if (lua_rawget(L, -4) == LUA_TNIL) {
            lua_pushvalue(L, -3);
            lua_pushvalue(L, -3);
            lua_rawset(L, -6);
        }
        lua_pop(L, 1);
    }
    lua_newtable(L);
    lua_replace(L, d->globals);
    lua_pop(L, 1);
}

static int get_item(decoder *d) {
    uint64_t number;
    const unsigned char *tag;
    d->n_items++;
    d->is_spare = 0;
    if (d->at < d->end && *d->at == MP_TAG_GLOBAL)
        return d->globals != 0 && get_global(d);
    if (!mp_get_numbered(d, &number))
        return 0;
    d->is_spare = d->has_spare && mp_is_spare(d, number);
    if (lua_isfunction(d->L, -1) && !lua_iscfunction(d->L, -1))
        return d->is_ours && mp_get_upvalues(d, number, 0);
    return lua_istable(d->L, -1) && (tag = take(d, 1)) != NULL && get_table(d, *tag, 0, 0);
}

static int get_items(decoder *d) {
    while (d->n_items < d->declared.n_items) {
        if (!get_item(d))
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
    for (; d->n_set < d->found.n_metas; d->n_set++) {
        const lua_Integer i = (lua_Integer)d->n_set;
        lua_rawgeti(L, d->metas, 2 * i + 1);
        lua_rawgeti(L, d->metas, 2 * i + 2);
        if (lua_topointer(L, -1) != checked) {
            if (!d->is_ours && (has_field(L, "__gc") || has_field(L, "__close")))
                return 0;
            checked = lua_topointer(L, -1);
        }
        lua_setmetatable(L, -2);
        lua_pop(L, 1);
    }
    return 1;
}

/* --- sections ------------------------------------------------------------- */

/*
** What is called may do anything, and decode as well: all that it could reach is whole,
** and the lists it cannot reach.
*/
static int get_section(decoder *d) {
    const unsigned char *tag = take(d, 1);
    if (tag == NULL || !get_integer(d, *tag))
        return 0;
    const uint64_t n = (uint64_t)lua_tointeger(d->L, -1);
    lua_pop(d->L, 1);
    const size_t left = (size_t)(d->end - d->at);
    if (n >= MAX_VALUES || d->owed > left || n >= left - d->owed)
        return 0;
    d->owed += n + 1;
    if (!get_list(d, n + 1))
        return 0;
    while (d->at < d->end && *d->at != MP_TAG_SENT) {
        if (!get_item(d))
            return 0;
        lua_pop(d->L, 1);
    }
    d->is_spare = 0;
    if (take(d, 1) == NULL || !set_metas(d))
        return 0;
    set_globals(d);
    if (!lua_isfunction(d->L, -(int)n - 1))
        return 0;
    mp_wire_call(d->L, (int)n);
    note_object(d);
    lua_pop(d->L, 1);
    return 1;
}

static int get_sections(decoder *d) {
    while (d->is_ours && d->at < d->end && *d->at == MP_TAG_SEND) {
        d->at++;
        if (!get_section(d))
            return 0;
    }
    return 1;
}

static int get_message(decoder *d) {
    return get_sections(d) && get_list(d, d->owed) && get_items(d) && d->at == d->end &&
           memcmp(&d->found, &d->declared, sizeof(mp_trailer)) == 0 && set_metas(d);
}

/* Raises in words what is wrong with it. */
static void open_frame(lua_State *L, const char **bytes, size_t *len) {
    const char *wrong = mp_frame_open(bytes, len);
    if (wrong != NULL)
        luaL_error(L, "not a luamp frame: %s", wrong);
}

/* A message of one scalar, the short way. Returns whether it is one. */
static int decode_scalar(lua_State *L, const char *bytes, size_t len) {
    const unsigned char *at = (const unsigned char *)bytes;
    decoder d = {.L = L, .at = at + 2, .end = at + len};
    if (len < 2 || at[0] != 1 || len > 2 + MP_SHORT)
        return 0;
    const int tag = at[1], top = lua_gettop(L);
    int has = tag == MP_TAG_FLOAT    ? get_float(&d)
              : tag >= MP_TAG_STRING ? get_string(&d, (size_t)(tag - MP_TAG_STRING))
                                     : get_integer(&d, tag);
    if (has && d.at == d.end)
        return 1;
    lua_settop(L, top);
    return 0;
}

int mp_codec_decode(lua_State *L, const char *bytes, size_t len, int is_ours) {
    if (!is_ours)
        open_frame(L, &bytes, &len);
    else if (decode_scalar(L, bytes, len))
        return 1;
    const unsigned char *at = (const unsigned char *)bytes;
    decoder d = {.L = L, .at = at, .end = at + len, .is_ours = is_ours};
    const int top = lua_gettop(L);
    if (!get_head(&d))
        return -EBADMSG;
    mp_wire_need_stack(L, MP_LEVEL_SLOTS);
    const int n = (int)d.owed;
    d.objects = push_list(L, d.declared.n_objects);
    d.metas = push_list(L, 2 * d.declared.n_metas);
    d.globals = is_ours && d.declared.n_items > 0 ? push_list(L, 1) : 0;
    const int lists = lua_gettop(L) - top;
    if (!get_message(&d)) {
        lua_settop(L, top);
        return -EBADMSG;
    }
    set_globals(&d);
    if (lists > 0) {
        lua_rotate(L, top + 1, n);
        lua_settop(L, top + n);
    }
    return n;
}
