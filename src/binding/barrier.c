/*
** barrier.c: mp.barrier: the engine's barriers (engine/barrier.h), with an action in Lua.
**
** The action lies encoded in the barrier, so whichever process is the last to come can run it.
** The handle keeps it once it is decoded; the process that made the barrier has the function
** itself, and so have those that were forked from it.
**
** Whatever ends a wait by an error breaks the barrier, after which that error goes on.
*/
#include "engine/barrier.h"

#include <errno.h>
#include <string.h>

#include "binding/codec.h"
#include "binding/shared.h"

static mp_handle *check(lua_State *L, const char *method) {
    return mp_shared_check(L, MP_KIND_BARRIER, "mp.barrier", method);
}

/* --- making --------------------------------------------------------------- */

/* Encodes the action at index 2, if there is one, and makes the barrier. 0, or as mp_arena_alloc.
 */
static int make(lua_State *L, mp_ref *barrier, mp_ref *hold) {
    const uint32_t parties = (uint32_t)luaL_checkinteger(L, 1);
    const double seconds = luaL_optnumber(L, 3, -1);
    mp_message m;
    if (lua_isnil(L, 2))
        return mp_barrier_make(parties, NULL, seconds, barrier, hold);
    if (!mp_codec_encode(L, 2, 1, &m)) {
        lua_pop(L, 1);
        mp_shared_unsendable(L, 2);
    }
    const mp_record action = {.pieces = m.pieces,
                              .n_pieces = m.n_pieces,
                              .len = m.len,
                              .objects = m.objects,
                              .n_objects = m.n_objects};
    return mp_barrier_make(parties, &action, seconds, barrier, hold);
}

/* new_barrier(parties, [action], [seconds]) */
static int new_barrier(lua_State *L) {
    mp_ref barrier, hold;
    lua_settop(L, 3);
    mp_handle *h = mp_shared_new(L, MP_KIND_BARRIER);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    int rc = make(L, &barrier, &hold);
    if (mp_shared_makes_room(L, rc))
        rc = make(L, &barrier, &hold);
    if (rc < 0)
        return mp_shared_fail(L, "mp.barrier", rc);
    mp_shared_set(L, h, barrier, hold);
    return 1;
}

/* --- waiting -------------------------------------------------------------- */

/* Pushes the action of the handle at index 1. */
static void push_action(lua_State *L, const mp_handle *h) {
    size_t len;
    if (lua_getiuservalue(L, 1, 1) == LUA_TFUNCTION)
        return;
    lua_pop(L, 1);
    const char *bytes = mp_barrier_action(h->object, &len);
    if (mp_codec_decode(L, bytes, len, 1) != 1)
        luaL_error(L, "mp.barrier: the action is damaged");
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, 1);
}

/* act(barrier) */
static int act(lua_State *L) {
    push_action(L, check(L, "wait"));
    lua_call(L, 0, 0);
    mp_shared_check_open(L);
    return 0;
}

/* fail(barrier, rc): what the engine says that failed. */
static int fail(lua_State *L) {
    return mp_shared_fail(L, "mp.barrier: wait", (int)lua_tointeger(L, 2));
}

/* Breaks the barrier, and raises the error on top. */
static int break_and_raise(lua_State *L, const mp_handle *h) {
    if (!h->is_closed) /* which has broken it */
        mp_barrier_break(h->object, h->hold);
    return lua_error(L);
}

static int report(lua_State *L, const mp_handle *h, int rc) {
    lua_pushcfunction(L, fail);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, rc);
    lua_pcall(L, 2, 0, 0);
    return break_and_raise(L, h);
}

static int push_broken(lua_State *L) {
    lua_pushnil(L);
    lua_pushliteral(L, "broken");
    return 2;
}

/* Pushes the place, or that it is broken. */
static int push_place(lua_State *L, int rc) {
    if (rc < 0)
        return push_broken(L);
    lua_pushinteger(L, rc);
    return 1;
}

static int run_action(lua_State *L, const mp_handle *h) {
    lua_pushcfunction(L, act);
    lua_pushvalue(L, 1);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        return break_and_raise(L, h);
    return push_place(L, mp_barrier_acted(h->object, h->hold));
}

/* Waits until the round is over, also after signals and waits in Lua. */
static int wait_until(lua_State *L, const mp_handle *h, mp_time deadline) {
    for (;;) {
        int acts;
        const int rc = mp_barrier_wait(h->object, h->hold, &acts, mp_shared_wait(deadline));
        if (acts)
            return run_action(L, h);
        if (rc > 0 || rc == -EPIPE)
            return push_place(L, rc);
        if (rc != -EINTR && rc != -ETIMEDOUT)
            return report(L, h, rc);
        const int again = mp_shared_try_on(L, rc, MP_BARRIER_WAIT, deadline);
        if (again < 0)
            return break_and_raise(L, h);
        if (!again) {
            mp_barrier_break(h->object, h->hold);
            return push_broken(L);
        }
    }
}

/* b:wait([timeout]): the place in which this process came; or nil, "broken" */
static int barrier_wait(lua_State *L) {
    const mp_handle *h = check(L, "wait");
    const double seconds = mp_barrier_seconds(h->object);
    if (mp_barrier_waits(h->hold))
        return mp_lib_raise(L, "mp.barrier: wait: this process waits there already");
    lua_settop(L, 2);
    if (lua_isnil(L, 2) && seconds >= 0) {
        lua_pushnumber(L, seconds);
        lua_replace(L, 2);
    }
    return wait_until(L, h, mp_shared_deadline(L, 2, "mp.barrier: wait"));
}

static int barrier_abort(lua_State *L) {
    const mp_handle *h = check(L, "abort");
    mp_barrier_abort(h->object);
    return 0;
}

static int barrier_reset(lua_State *L) {
    mp_barrier_reset(check(L, "reset")->object);
    return 0;
}

/* --- questions and the end ------------------------------------------------ */

static int barrier_waiting(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)mp_barrier_waiting(check(L, "waiting")->object));
    return 1;
}

static int barrier_is_broken(lua_State *L) {
    const mp_ref barrier = check(L, "is_broken")->object;
    mp_arena_sweep_dead();
    lua_pushboolean(L, mp_barrier_is_broken(barrier));
    return 1;
}

/* b:close(): this process's handle. */
static int barrier_close(lua_State *L) {
    mp_handle *h = mp_shared_handle(L, 1);
    if (h == NULL || h->kind != MP_KIND_BARRIER || !h->is_closed)
        mp_shared_close(check(L, "close"));
    return 0;
}

static int barrier_tostring(lua_State *L) {
    const mp_handle *h = luaL_checkudata(L, 1, "mp.barrier");
    if (h->is_closed) {
        lua_pushfstring(L, "mp.barrier: %p (closed)", (const void *)h);
        return 1;
    }
    const mp_ref b = check(L, "tostring")->object;
    if (mp_barrier_is_broken(b))
        lua_pushfstring(L, "mp.barrier: %p (broken)", (const void *)h);
    else
        lua_pushfstring(L, "mp.barrier: %p (%I/%I)", (const void *)h,
                        (lua_Integer)mp_barrier_waiting(b), (lua_Integer)mp_barrier_parties(b));
    return 1;
}

/* b.parties, or a method */
static int barrier_index(lua_State *L) {
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (lua_isnil(L, -1) && lua_type(L, 2) == LUA_TSTRING &&
        strcmp(lua_tostring(L, 2), "parties") == 0)
        lua_pushinteger(L, mp_barrier_parties(check(L, "parties")->object));
    return 1;
}

/* --- the face ------------------------------------------------------------- */

static const luaL_Reg methods[] = {{"wait", barrier_wait},
                                   {"abort", barrier_abort},
                                   {"reset", barrier_reset},
                                   {"waiting", barrier_waiting},
                                   {"is_broken", barrier_is_broken},
                                   {"close", barrier_close},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__tostring", barrier_tostring}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"new_barrier", new_barrier}, {NULL, NULL}};

void mp_barrier_open(lua_State *L) {
    mp_shared_class(L, "mp.barrier", methods, metamethods);
    luaL_getmetatable(L, "mp.barrier");
    lua_getfield(L, -1, "__index");
    lua_pushcclosure(L, barrier_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
