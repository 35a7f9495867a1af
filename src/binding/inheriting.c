/*
** inheriting.c: the ends of pipes that a child is to hold.
**
** They are looked for in its function and arguments, in what lies in tables there and in upvalues
** of functions; but not in what has a name, modules and the global environment, which everybody
** has. The nearest come first, and the search is over when this process has no more ends, or after
** so many tables and functions that a fork would be slow: a child takes others when it uses
** them. One large table leaves room for the others.
*/
#include "binding/shared.h"

enum { SEARCHED = 100000, FROM_ONE = 10000 };
enum { F = 1, ARGS, N_ARGS, ENDS, MET, TO_VISIT, AT }; /* the stack of ends_in */

typedef struct search {
    lua_Integer n_ends, n_met;
    lua_Integer limit; /* of n_met, while one table or function is visited */
} search;

static void append(lua_State *L, int list, lua_Integer *n) {
    lua_pushvalue(L, -1);
    lua_rawseti(L, list, ++*n);
}

static int is_new(lua_State *L) {
    lua_pushvalue(L, -1);
    const int is_known = lua_rawget(L, MET) != LUA_TNIL;
    lua_pop(L, 1);
    if (is_known)
        return 0;
    lua_pushvalue(L, -1);
    lua_pushboolean(L, 1);
    lua_rawset(L, MET);
    return 1;
}

/* The value on top has been reached; pops it. */
static void meet(lua_State *L, search *s) {
    const int type = lua_type(L, -1), leads_on = type == LUA_TTABLE || type == LUA_TFUNCTION;
    if (leads_on && s->n_met < s->limit && is_new(L))
        append(L, TO_VISIT, &s->n_met);
    else if (type == LUA_TUSERDATA && mp_shared_object(L, -1) != 0 &&
             mp_shared_handle(L, -1)->kind == MP_KIND_END && is_new(L))
        append(L, ENDS, &s->n_ends);
    lua_pop(L, 1);
}

static void visit_table(lua_State *L, search *s) {
    for (lua_pushnil(L); lua_next(L, AT) != 0;) {
        meet(L, s);
        lua_pushvalue(L, -1);
        meet(L, s);
    }
    if (lua_getmetatable(L, AT))
        meet(L, s);
}

static void visit(lua_State *L, search *s) {
    s->limit = s->n_met + FROM_ONE < SEARCHED ? s->n_met + FROM_ONE : SEARCHED;
    if (lua_type(L, AT) == LUA_TTABLE)
        visit_table(L, s);
    else
        for (int i = 1; lua_getupvalue(L, AT, i) != NULL; i++)
            meet(L, s);
}

static void know_modules(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
        if (lua_type(L, -1) >= LUA_TTABLE)
            is_new(L);
    lua_pop(L, 1);
}

/* ends_in(f, args, n): a list of them, or nil when this process has no ends. */
static int ends_in(lua_State *L) {
    search s = {.limit = SEARCHED};
    if (mp_shared_n_ends() == 0)
        return 0;
    lua_settop(L, N_ARGS);
    for (int i = ENDS; i <= TO_VISIT; i++)
        lua_newtable(L);
    know_modules(L);
    lua_pushvalue(L, F);
    meet(L, &s);
    for (lua_Integer i = 1; i <= lua_tointeger(L, N_ARGS); i++) {
        lua_rawgeti(L, ARGS, i);
        meet(L, &s);
    }
    for (lua_Integer i = 1; i <= s.n_met && s.n_ends < mp_shared_n_ends(); i++) {
        lua_rawgeti(L, TO_VISIT, i);
        visit(L, &s);
        lua_settop(L, TO_VISIT);
    }
    lua_settop(L, ENDS);
    return 1;
}

void mp_inheriting_open(lua_State *L) {
    lua_pushcfunction(L, ends_in);
    lua_setfield(L, -2, "ends_in");
}
