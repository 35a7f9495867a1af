/*
** semaphore.c: mp.semaphore and mp.bounded_semaphore: the engine's semaphores
** (engine/semaphore.h), acquired as acquiring.c says.
*/
#include "engine/semaphore.h"

#include "binding/acquiring.h"

/* new_semaphore(is_bounded, value) */
static int new_semaphore(lua_State *L) {
    mp_ref semaphore, hold;
    const int is_bounded = lua_toboolean(L, 1);
    const uint64_t value = (uint64_t)luaL_checkinteger(L, 2);
    const enum mp_kind kind = is_bounded ? MP_KIND_BOUNDED : MP_KIND_SEMAPHORE;
    mp_handle *h = mp_shared_new(L, kind);
    int rc = mp_semaphore_make(is_bounded, value, &semaphore, &hold);
    if (mp_shared_makes_room(L, rc))
        rc = mp_semaphore_make(is_bounded, value, &semaphore, &hold);
    if (rc < 0)
        return mp_shared_fail(L, mp_shared_names[kind], rc);
    mp_shared_set(L, h, semaphore, hold);
    return 1;
}

static int acquire(const mp_handle *h, mp_time deadline) {
    return mp_semaphore_acquire(h->object, h->hold, deadline);
}

static int release(const mp_handle *h) {
    return mp_semaphore_release(h->object, h->hold, 1);
}

/* s:release([k]) */
static int semaphore_release(lua_State *L) {
    const mp_handle *h = mp_acquiring_check(L, "release");
    int is_integer = 1;
    const lua_Integer n = lua_isnoneornil(L, 2) ? 1 : lua_tointegerx(L, 2, &is_integer);
    if (!is_integer || lua_type(L, 2) == LUA_TSTRING || n < 1)
        return mp_lib_raise(
            L, "%s: release: the number of units must be an integer from 1 on, not %s",
            mp_shared_names[h->kind],
            lua_type(L, 2) == LUA_TNUMBER ? lua_tostring(L, 2) : luaL_typename(L, 2));
    const int rc = mp_semaphore_release(h->object, h->hold, (uint64_t)n);
    return rc < 0 ? mp_acquiring_fail(L, h, "release", rc) : 0;
}

/* s:value(): how many units are free. */
static int semaphore_value(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)mp_semaphore_value(mp_acquiring_check(L, "value")->object));
    return 1;
}

static void push_state(lua_State *L, mp_ref semaphore) {
    lua_pushfstring(L, "%I", (lua_Integer)mp_semaphore_value(semaphore));
    if (mp_semaphore_is_bounded(semaphore))
        lua_pushfstring(L, "%s/%I", lua_tostring(L, -1),
                        (lua_Integer)mp_semaphore_bound(semaphore));
}

static int semaphore_tostring(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    if (h != NULL && h->is_closed)
        lua_pushliteral(L, "closed");
    else
        push_state(L, mp_acquiring_check(L, "tostring")->object);
    return mp_shared_describe(L);
}

static const mp_acquirable acquirable = {.acquire = acquire, .release = release};

static const luaL_Reg methods[] = {MP_ACQUIRING,
                                   {"release", semaphore_release},
                                   {"value", semaphore_value},
                                   {"close", mp_shared_drop},
                                   {"pollfd", mp_shared_pollfd},
                                   {"events", mp_shared_events},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__tostring", semaphore_tostring}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"new_semaphore", new_semaphore}, {NULL, NULL}};

void mp_semaphore_open(lua_State *L) {
    mp_acquirables[MP_KIND_SEMAPHORE] = mp_acquirables[MP_KIND_BOUNDED] = &acquirable;
    mp_shared_class(L, mp_shared_names[MP_KIND_SEMAPHORE], methods, metamethods);
    mp_shared_class(L, mp_shared_names[MP_KIND_BOUNDED], methods, metamethods);
    luaL_setfuncs(L, functions, 0);
}
