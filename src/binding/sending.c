/*
** sending.c: objects with a hook __mp_send in a message.
**
** An object whose metatable has the field goes as what the function there returns for
** it: a function and arguments, which the receiver calls. The walk over the values must
** run no Lua code, so all hooks are called before it, by the Lua module luamp.sending,
** and what they returned is kept in a record: a list of sections, {object, results, how
** many}, in which each stands behind those that it needs. The walk writes them before the
** values, and then finds the objects in the message already.
*/
#include "binding/encoder.h"

enum { OBJECT = 1, RESULTS, N_RESULTS };

static int put_results(mp_encoder *e, lua_Integer n) {
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(e->L, -1, i);
        if (!mp_put_value(e, -1, 0))
            return 0;
        lua_pop(e->L, 1);
    }
    return 1;
}

/* The section on top. Its object has no number before its end: it cannot be in itself. */
static int put_section(mp_encoder *e) {
    lua_State *L = e->L;
    uint64_t number;
    lua_rawgeti(L, -1, OBJECT);
    lua_rawgeti(L, -2, N_RESULTS);
    const lua_Integer n = lua_tointeger(L, -1);
    lua_rawgeti(L, -3, RESULTS);
    e->is_plain = 0;
    mp_put_byte(e, MP_TAG_SEND);
    mp_put_integer(e, n - 1);
    if (!put_results(e, n) || !mp_put_items(e))
        return 0;
    mp_put_byte(e, MP_TAG_SENT);
    mp_encoder_knows(e, lua_topointer(L, -3), &number);
    lua_pop(L, 3);
    return 1;
}

int mp_put_sections(mp_encoder *e) {
    lua_State *L = e->L;
    const int record = mp_encoder_record(e);
    if (!lua_istable(L, record))
        return 1;
    for (lua_Integer i = 1; lua_rawgeti(L, record, i) == LUA_TTABLE; i++) {
        if (!put_section(e))
            return 0;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return 1;
}

/* --- calling the hooks ---------------------------------------------------- */

static char sending_key; /* its address is the module's key in the registry */

static void push_values(lua_State *L, int first, int n) {
    lua_createtable(L, n, 0);
    for (int i = 1; i <= n; i++) {
        lua_pushvalue(L, first + i - 1);
        lua_rawseti(L, -2, i);
    }
}

static void renew_stale_names(lua_State *L) {
    mp_names_push(L);
    if (!mp_names_are_current(L, lua_gettop(L)))
        mp_names_renew(L);
    lua_pop(L, 1);
}

int mp_prepare_hooks(lua_State *L, int first, int n, int for_fresh) {
    const int record = lua_gettop(L) - 1;
    mp_wire_need_stack(L, MP_LEVEL_SLOTS);
    mp_names_address(L, for_fresh);
    renew_stale_names(L);
    mp_lib_push_part(L, &sending_key, "luamp.sending"); /* prepare(record, values, n, for_fresh) */
    lua_pushvalue(L, record);
    push_values(L, first, n);
    lua_pushinteger(L, n);
    lua_pushboolean(L, for_fresh);
    lua_call(L, 4, 2);
    const int ok = lua_toboolean(L, -1);
    lua_pop(L, 1);
    lua_getfield(L, -1, "left_out"); /* the message is without that */
    lua_replace(L, record - 1);
    lua_replace(L, record);
    return ok;
}

/* --- for the receiver ----------------------------------------------------- */

/* Pushes the field of an error object that is on top, or returns 0. */
static int push_error_field(lua_State *L, const char *name) {
    if (!lua_istable(L, -1) || !lua_getmetatable(L, -1))
        return 0;
    luaL_getmetatable(L, "luamp.error");
    int is = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    if (is) {
        lua_pushstring(L, name);
        lua_rawget(L, -2);
    }
    return is;
}

static int is_interruption(lua_State *L) {
    if (!push_error_field(L, "kind"))
        return 0;
    int is = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "interrupted") == 0;
    lua_pop(L, 1);
    return is;
}

static void raise_failure(lua_State *L, int status) {
    if (status == LUA_ERRMEM || is_interruption(L))
        lua_error(L);
    push_error_field(L, "message");
    const char *text = luaL_tolstring(L, -1, NULL);
    lua_pushfstring(L, "the function that __mp_send returned failed: %s", text);
    lua_error(L);
}

void mp_wire_call(lua_State *L, int n) {
    int status = lua_pcall(L, n, 1, 0);
    if (status != LUA_OK)
        raise_failure(L, status);
    if (lua_isnil(L, -1)) {
        lua_pushliteral(L, "the function that __mp_send returned gave nil");
        lua_error(L);
    }
}

/* --- for Lua -------------------------------------------------------------- */

int mp_hook_of(lua_State *L) {
    if ((lua_type(L, 1) != LUA_TTABLE && lua_type(L, 1) != LUA_TUSERDATA) ||
        !lua_getmetatable(L, 1))
        return 0;
    lua_pushliteral(L, "__mp_send");
    lua_rawget(L, -2);
    return 1;
}

int mp_refused_hooks(lua_State *L) {
    mp_encoder_push(L);
    lua_getiuservalue(L, -1, MP_ENCODER_REFUSED);
    lua_pushnil(L);
    lua_setiuservalue(L, -3, MP_ENCODER_REFUSED);
    return 1;
}
