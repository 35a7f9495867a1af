/*
** decode_functions.c: names and functions in a message of the family; decoder.h has what is
** shared with decode.c.
**
** Upvalues are joined by the numbers of the functions that are in the message, also of one in
** whose place there is another here.
*/
#include <string.h>

#include "binding/decoder.h"
#include "binding/shared.h"
#include "binding/names.h"
#include "engine/store.h"

/* --- what is spare -------------------------------------------------------- */

enum { MISSING = 0 }; /* where the list has why the first missing name leads to nothing */

void mp_note_spare(decoder *d) {
    lua_pushboolean(d->L, 1);
    lua_rawseti(d->L, d->objects, -(lua_Integer)d->found.n_objects - 1);
    d->has_spare = 1;
}

int mp_is_spare(decoder *d, uint64_t number) {
    int is = lua_rawgeti(d->L, d->objects, -(lua_Integer)number - 1) != LUA_TNIL;
    lua_pop(d->L, 1);
    return is;
}

void mp_use_object(decoder *d, uint64_t number) {
    if (d->is_needed || !mp_is_spare(d, number))
        return;
    d->is_needed = 1;
    if (lua_rawgeti(d->L, d->objects, MISSING) != LUA_TNIL)
        lua_error(d->L);
    lua_pop(d->L, 1);
}

/* A name leads to nothing; why is on top. Raises that, or leaves false in its place. */
static void miss(decoder *d) {
    const char *why = lua_type(d->L, -1) == LUA_TSTRING ? lua_tostring(d->L, -1) : NULL;
    if (!d->is_spare || d->is_needed || why == NULL || strcmp(why, "not enough memory") == 0)
        lua_error(d->L);
    if (d->objects != 0)
        lua_rawseti(d->L, d->objects, MISSING);
    else
        lua_pop(d->L, 1);
    lua_pushboolean(d->L, 0);
}

/* --- by name, and functions ------------------------------------------------ */

int mp_get_named(decoder *d) {
    lua_State *L = d->L;
    size_t len;
    if (!mp_get_name(d))
        return 0;
    const char *name = lua_tolstring(L, -1, &len);
    if (!mp_names_resolve(L, name, len))
        miss(d);
    lua_remove(L, -2);
    note_object(d);
    return 1;
}

/* Code that this process was taught, with its length before it. */
static const unsigned char *get_known(decoder *d) {
    uint32_t place;
    uint64_t hash;
    const unsigned char *at = take(d, sizeof place + sizeof hash);
    if (at == NULL)
        return NULL;
    memcpy(&place, at, sizeof place);
    memcpy(&hash, at + sizeof place, sizeof hash);
    return mp_store_get(place, hash);
}

/* The bytes of a function's code. A number leads to those that came before. */
static const unsigned char *get_code(decoder *d, uint32_t *len) {
    const unsigned char *tag = take(d, 1), *at = d->at;
    uint64_t number;
    if (tag == NULL)
        return NULL;
    if (*tag == MP_TAG_REF) {
        at = mp_get_numbered(d, &number) ? lua_touserdata(d->L, -1) : NULL;
        if (at == NULL)
            return NULL;
        lua_pop(d->L, 1);
        memcpy(len, at, sizeof *len);
        return at + sizeof *len;
    }
    if (*tag == MP_TAG_KNOWN)
        at = get_known(d);
    else if (*tag != MP_TAG_CODE || take(d, sizeof *len) == NULL)
        at = NULL;
    if (at == NULL)
        return NULL;
    memcpy(len, at, sizeof *len);
    lua_pushlightuserdata(d->L, (void *)at);
    note_object(d);
    lua_pop(d->L, 1);
    return *tag == MP_TAG_KNOWN ? at + sizeof *len : take(d, *len);
}

static int n_upvalues(lua_State *L) {
    lua_Debug ar;
    lua_pushvalue(L, -1);
    lua_getinfo(L, ">u", &ar);
    return ar.nups;
}

/* An upvalue is noted as the number of its function and its own there. */
static void note_upvalue(decoder *d, uint64_t function, int i) {
    lua_pushinteger(d->L, (lua_Integer)(function << 8 | (unsigned)i));
    note_object(d);
    lua_pop(d->L, 1);
}

/* Joins upvalue i of the function on top with the one whose number comes next. */
static int join_upvalue(decoder *d, int i) {
    lua_State *L = d->L;
    int is_number;
    if (!mp_get_ref(d))
        return 0;
    lua_Integer place = lua_tointegerx(L, -1, &is_number);
    lua_pop(L, 1);
    if (!is_number || lua_rawgeti(L, d->objects, (place >> 8) + 1) != LUA_TFUNCTION ||
        (place & 0xff) > n_upvalues(L))
        return 0;
    lua_upvaluejoin(L, -2, i, -1, (int)(place & 0xff));
    lua_pop(L, 1);
    return 1;
}

int mp_get_upvalues(decoder *d, uint64_t number, int depth) {
    const int n = n_upvalues(d->L);
    for (int i = 1; i <= n; i++) {
        if (d->at < d->end && *d->at == MP_TAG_UPVALUE) {
            d->at++;
            if (!join_upvalue(d, i))
                return 0;
            continue;
        }
        note_upvalue(d, number, i);
        if (d->at < d->end && *d->at == MP_TAG_NIL) {
            d->at++;
            lua_pushnil(d->L);
        } else if (!mp_get_value(d, depth + 1)) {
            return 0;
        }
        lua_setupvalue(d->L, -2, i);
    }
    return 1;
}

static int load(lua_State *L, const unsigned char *code, uint32_t len) {
    int status = luaL_loadbufferx(L, (const char *)code, len, "=?", "b");
    if (status == LUA_ERRMEM)
        lua_error(L);
    return status == LUA_OK;
}

/* The function on top has that number. */
static void keep(decoder *d, uint64_t number) {
    lua_pushvalue(d->L, -1);
    lua_rawseti(d->L, d->objects, (lua_Integer)number + 1);
}

int mp_get_function(decoder *d, int tag, int depth, int is_either) {
    const int is_later = tag == MP_TAG_LATER;
    const unsigned char *n = take(d, 1);
    const uint64_t number = d->found.n_objects;
    uint32_t len;
    mp_wire_need_stack(d->L, MP_LEVEL_SLOTS);
    lua_pushboolean(d->L, 0); /* the function comes before its code */
    note_object(d);
    lua_pop(d->L, 1);
    const unsigned char *code = get_code(d, &len);
    if (n == NULL || code == NULL || !load(d->L, code, len) || n_upvalues(d->L) != *n)
        return 0;
    if (d->objects != 0)
        keep(d, number);
    if (d->objects != 0 && is_either)
        keep(d, number - 1);
    d->found.n_items += is_later ? 1 : 0;
    return is_later || mp_get_upvalues(d, number, depth);
}

int mp_get_shared(decoder *d) {
    mp_ref object;
    const unsigned char *at = take(d, sizeof object);
    if (at == NULL)
        return 0;
    memcpy(&object, at, sizeof object);
    if (!mp_shared_push(d->L, object))
        return 0;
    note_object(d);
    return 1;
}

/* What is here by the name; then its value is spare. Else that. */
int mp_get_either(decoder *d, int depth) {
    lua_State *L = d->L;
    const int was_spare = d->is_spare;
    size_t len;
    mp_wire_need_stack(L, MP_LEVEL_SLOTS);
    if (!mp_get_name(d))
        return 0;
    const char *name = lua_tolstring(L, -1, &len);
    const int is_here = mp_names_have(L, name, len);
    if (is_here)
        lua_remove(L, -2);
    note_object(d);
    d->is_spare |= is_here;
    const unsigned char *tag = take(d, 1);
    if (tag == NULL || (*tag != MP_TAG_FUNCTION && *tag != MP_TAG_LATER) ||
        !mp_get_function(d, *tag, depth, !is_here))
        return 0;
    d->is_spare = was_spare;
    if (is_here)
        lua_pop(L, 1);
    else
        lua_remove(L, -2);
    return 1;
}
